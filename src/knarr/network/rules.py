"""The packet rules of the service proxy as a whole: one table a cluster and address family. Pure.

``Table`` holds every service's fragment, hands out places in the maps of endpoints, and says as nft text
either everything (``full``) or what changed since the last time it was asked (``changes``), which is as long
as the change and not as the cluster. Upstream counterpart: the partial syncs of
``pkg/proxy/nftables/proxier.go``.

Where a packet goes: ``prerouting`` (from pods and from outside) and ``output`` (from this node) first pass
the firewall of load balancers, then the translation of addresses, then the check of what was not translated:
a service without endpoints is refused at once, also a port that a service does not have.

Neighbours: ``service_rules`` makes the fragments, ``nft`` applies the text.
Invariants: an element that several services claim belongs to the one that claimed it first; ``full`` applied
to nothing and all ``changes`` applied one after the other give the same table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knarr.network.families import Family
from knarr.network.service_rules import Balance, Fragment

__all__ = ["Slots", "Table", "TableConfig"]

#: Upstream's mark for packets whose source is rewritten on the way out.
MASQUERADE_MARK = "0x4000"
#: How many elements one nft command takes; more in one are not faster.
ELEMENTS_A_COMMAND = 20_000

_MAPS = ("service-ips", "no-endpoint-services", "firewall-ips")
_PROTOCOLS = ("tcp", "udp", "sctp")
_PORT_MAPS = ("service-nodeports", "no-endpoint-nodeports")


@dataclass(frozen=True, slots=True)
class TableConfig:
    """What a table is made for. ``service_cidrs`` empty: only known service addresses are guarded."""

    name: str
    family: Family
    pod_cidrs: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()


class Slots:
    """Places in the maps of endpoints: a block of consecutive numbers for each chain."""

    def __init__(self) -> None:
        self._next = 0
        self._blocks: dict[str, tuple[int, int]] = {}
        self._free: dict[int, list[int]] = {}

    def block(self, owner: str, count: int) -> int:
        """The first number of the owner's block, which has room for ``count``; it moves only to grow."""
        first, room = self._blocks.get(owner, (0, 0))
        if count <= room:
            return first
        self.release(owner)
        room = 1 << max(count - 1, 1).bit_length()
        free = self._free.get(room)
        if free:
            first = free.pop()
        else:
            first, self._next = self._next, self._next + room
        self._blocks[owner] = (first, room)
        return first

    def release(self, owner: str) -> None:
        if owner in self._blocks:
            first, room = self._blocks.pop(owner)
            self._free.setdefault(room, []).append(first)


class Table:
    """The rules of one cluster for one address family."""

    def __init__(self, config: TableConfig) -> None:
        self.config = config
        self._slots = Slots()
        self._fragments: dict[str, Fragment] = {}
        self._chains: dict[str, tuple[str, ...]] = {}
        self._sets: dict[str, str] = {}
        self._elements: dict[tuple[str, str], dict[str, str]] = {}
        # What stood there before the first change since the text was last taken.
        self._old_chains: dict[str, tuple[str, ...] | None] = {}
        self._old_sets: dict[str, str | None] = {}
        self._old_elements: dict[tuple[str, str], str | None] = {}

    def put(self, service: str, fragment: Fragment) -> None:
        """Replace the share of a service, named ``namespace/name``; an empty fragment removes it."""
        old = self._fragments.pop(service, None) or Fragment()
        chains, pools = self._place(fragment)
        old_chains = old.chains.keys() - fragment.chains.keys()
        for chain in old_chains:
            self._set_chain(chain, None)
            self._slots.release(chain)
        for chain, rules in chains.items():
            self._set_chain(chain, rules)
        for name in old.sets.keys() - fragment.sets.keys():
            self._set_set(name, None)
        for name, declaration in fragment.sets.items():
            self._set_set(name, declaration)
        before = {(where, key) for where, part in old.elements.items() for key in part}
        elements = {**fragment.elements, **pools}
        after = {(where, key): value for where, part in elements.items() for key, value in part.items()}
        for place in before - after.keys():
            self._set_element(place, service, None)
        for place, value in after.items():
            self._set_element(place, service, value)
        if chains or elements:
            self._fragments[service] = Fragment(fragment.chains, fragment.sets, elements)

    @property
    def services(self) -> Iterable[str]:
        """The services that have a share."""
        return self._fragments.keys()

    def _place(self, fragment: Fragment) -> tuple[dict[str, tuple[str, ...]], dict[str, dict[str, str]]]:
        """The chains with their rules as text, and the elements of the maps of endpoints they draw from."""
        chains: dict[str, tuple[str, ...]] = {}
        pools: dict[str, dict[str, str]] = {}
        for chain, rules in fragment.chains.items():
            texts: list[str] = []
            for rule in rules:
                if isinstance(rule, Balance):
                    first = self._slots.block(chain, len(rule.targets))
                    pool = f"endpoints-{rule.protocol}"
                    numbered = {str(first + at): target for at, target in enumerate(rule.targets)}
                    pools.setdefault(pool, {}).update(numbered)
                    turn = f"numgen inc mod {len(rule.targets)} offset {first}"
                    ip = self.config.family.ip
                    texts.append(f"meta l4proto {rule.protocol} dnat {ip} to {turn} map @{pool}")
                else:
                    texts.append(rule)
            chains[chain] = tuple(texts)
        return chains, pools

    def _set_chain(self, name: str, rules: tuple[str, ...] | None) -> None:
        current = self._chains.get(name)
        if current != rules:
            self._old_chains.setdefault(name, current)
            if rules is None:
                del self._chains[name]
            else:
                self._chains[name] = rules

    def _set_set(self, name: str, declaration: str | None) -> None:
        current = self._sets.get(name)
        if current != declaration:
            self._old_sets.setdefault(name, current)
            if declaration is None:
                del self._sets[name]
            else:
                self._sets[name] = declaration

    def _set_element(self, place: tuple[str, str], owner: str, value: str | None) -> None:
        claims = self._elements.get(place, {})
        current = next(iter(claims.values()), None)
        claims = (
            {**claims, owner: value} if value is not None else {o: v for o, v in claims.items() if o != owner}
        )
        if claims:
            self._elements[place] = claims
        else:
            self._elements.pop(place, None)
        if next(iter(claims.values()), None) != current:
            self._old_elements.setdefault(place, current)

    # -- as text --

    def full(self) -> str:
        """One transaction that replaces whatever table of this name there is."""
        self._forget_changes()
        table = f"{self.config.family.ip} {self.config.name}"
        lines = [f"add table {table}", f"delete table {table}", *self._skeleton()]
        lines += [f"add set {table} {name} {{ {text} }}" for name, text in sorted(self._sets.items())]
        lines += [f"add chain {table} {chain}" for chain in sorted(self._chains)]
        for chain, rules in sorted(self._chains.items()):
            lines += [f"add rule {table} {chain} {rule}" for rule in rules]
        lines += self._element_lines(
            "add", [(place, next(iter(claims.values()))) for place, claims in self._elements.items()]
        )
        return "\n".join(lines) + "\n"

    def changes(self) -> str:
        """One transaction from the last text to now; empty if nothing changed."""
        table = f"{self.config.family.ip} {self.config.name}"
        gone: list[tuple[tuple[str, str], str]] = []
        come: list[tuple[tuple[str, str], str]] = []
        for place, before in self._old_elements.items():
            now = next(iter(self._elements.get(place, {}).values()), None)
            if before is not None and now != before:
                gone.append((place, ""))
            if now is not None and now != before:
                come.append((place, now))
        chains = {name: old for name, old in self._old_chains.items() if self._chains.get(name) != old}
        sets = {name: old for name, old in self._old_sets.items() if self._sets.get(name) != old}
        self._forget_changes()
        # What is named must exist before the name is used, and must be unused before it goes.
        lines = self._element_lines("delete", gone)
        lines += [f"flush chain {table} {name}" for name, old in sorted(chains.items()) if old is not None]
        lines += [f"delete set {table} {name}" for name, old in sorted(sets.items()) if old is not None]
        lines += [f"add set {table} {n} {{ {self._sets[n]} }}" for n in sorted(sets) if n in self._sets]
        lines += [f"add chain {table} {name}" for name, old in sorted(chains.items()) if old is None]
        for name in sorted(chains):
            lines += [f"add rule {table} {name} {rule}" for rule in self._chains.get(name, ())]
        lines += self._element_lines("add", come)
        lines += [f"delete chain {table} {name}" for name in sorted(chains) if name not in self._chains]
        return "\n".join(lines) + "\n" if lines else ""

    def _forget_changes(self) -> None:
        self._old_chains.clear()
        self._old_sets.clear()
        self._old_elements.clear()

    def _element_lines(self, verb: str, elements: Sequence[tuple[tuple[str, str], str]]) -> list[str]:
        grouped: dict[str, list[str]] = {}
        for (where, key), value in elements:
            grouped.setdefault(where, []).append(f"{key} : {value}" if value else key)
        table = f"{self.config.family.ip} {self.config.name}"
        lines = []
        for where, items in sorted(grouped.items()):
            items.sort()
            for at in range(0, len(items), ELEMENTS_A_COMMAND):
                some = ", ".join(items[at : at + ELEMENTS_A_COMMAND])
                lines.append(f"{verb} element {table} {where} {{ {some} }}")
        return lines

    def _skeleton(self) -> list[str]:
        """What is there whatever the services are."""
        family, config = self.config.family, self.config
        table = f"{family.ip} {config.name}"
        address = family.address_type
        lines = [f"add table {table}"]
        lines += [
            f"add map {table} {name} {{ type {address} . inet_proto . inet_service : verdict ; }}"
            for name in _MAPS
        ]
        lines += [
            f"add map {table} {name} {{ type inet_proto . inet_service : verdict ; }}" for name in _PORT_MAPS
        ]
        lines += [
            f"add set {table} cluster-ips {{ type {address} ; }}",
            f"add set {table} hairpin {{ type {address} . {address} ; }}",
            f"add set {table} pod-cidrs {{ type {address} ; flags interval ; auto-merge ; }}",
        ]
        # One map a protocol: nft takes a port's protocol from the map's declaration.
        turn = f"typeof numgen inc mod 65536 : {family.ip} daddr"
        lines += [f"add map {table} endpoints-{p} {{ {turn} . {p} dport ; }}" for p in _PROTOCOLS]
        if config.pod_cidrs:
            lines.append(f"add element {table} pod-cidrs {{ {', '.join(config.pod_cidrs)} }}")
        for chain, (hook, rules) in self._base_chains().items():
            lines.append(f"add chain {table} {chain}" + (f" {{ {hook} ; policy accept ; }}" if hook else ""))
            lines += [f"add rule {table} {chain} {rule}" for rule in rules]
        return lines

    def _base_chains(self) -> dict[str, tuple[str, list[str]]]:
        family = self.config.family
        ip, where = family.ip, f"{family.ip} daddr . meta l4proto . th dport"
        local = f"fib daddr type local {ip} daddr != {family.loopback} meta l4proto . th dport"
        unallocated = [
            f"{ip} daddr {cidr} reject with {family.icmp} {'type ' if ip == 'ip' else ''}{_UNREACHABLE[ip]}"
            for cidr in self.config.service_cidrs
        ]
        # Who is a stranger can only be told where the pods' range is known.
        off_cluster = (
            [f"{ip} saddr @pod-cidrs return", "jump mark-for-masquerade"] if self.config.pod_cidrs else []
        )
        return {
            "mark-for-masquerade": ("", [f"meta mark set mark or {MASQUERADE_MARK}"]),
            "mark-off-cluster": ("", off_cluster),
            "reject-now": (
                "",
                ["meta l4proto tcp reject with tcp reset", f"reject with {family.icmp} port-unreachable"],
            ),
            "services": (
                "",
                [
                    f"{ip} daddr @cluster-ips jump mark-off-cluster",
                    f"{where} vmap @service-ips",
                    f"{local} vmap @service-nodeports",
                ],
            ),
            "unserved": (
                "",
                [
                    f"{where} vmap @no-endpoint-services",
                    f"{local} vmap @no-endpoint-nodeports",
                    f"{ip} daddr @cluster-ips goto reject-now",
                    *unallocated,
                ],
            ),
            "firewall-prerouting": (
                "type filter hook prerouting priority -110",
                [f"ct state new {where} vmap @firewall-ips"],
            ),
            "firewall-output": (
                "type filter hook output priority -110",
                [f"ct state new {where} vmap @firewall-ips"],
            ),
            "nat-prerouting": ("type nat hook prerouting priority -100", ["jump services"]),
            "nat-output": ("type nat hook output priority -100", ["jump services"]),
            "filter-prerouting": ("type filter hook prerouting priority -90", ["ct state new jump unserved"]),
            "filter-output": ("type filter hook output priority -90", ["ct state new jump unserved"]),
            "nat-postrouting": (
                "type nat hook postrouting priority 100",
                [
                    f"ct status dnat {ip} saddr . {ip} daddr @hairpin masquerade fully-random",
                    f"meta mark and {MASQUERADE_MARK} == 0 return",
                    f"meta mark set mark xor {MASQUERADE_MARK}",
                    "masquerade fully-random",
                ],
            ),
        }


#: What a service address that belongs to no service answers.
_UNREACHABLE = {"ip": "host-unreachable", "ip6": "addr-unreachable"}
