"""The cluster's DNS zone in memory: keeps records by their owner and answers questions. Pure.

A name without records of its own still exists when there are names below it; that decides between "no such
name" and "no such record". Names of pods (``10-0-0-1.namespace.pod.cluster.local``) are computed, not kept.
Upstream counterpart: CoreDNS' kubernetes plugin as kubeadm configures it (``pods insecure``). Neighbours:
``records`` makes the records, ``dns_message`` packs the answers.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from knarr.network.records import Record, zone_records

__all__ = ["Answer", "Zone"]

#: kubeadm's ``ttl 30`` for records; the plugin's own 5 for "no such name".
TTL_S = 30
NEGATIVE_TTL_S = 5
#: How many aliases are followed inside the zone.
MAX_ALIASES = 8

NOERROR, NXDOMAIN = 0, 3


@dataclass(slots=True)
class Answer:
    """``alias`` is the name outside the zone at which an answer has to be continued, if there is one."""

    code: int
    records: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)
    alias: str = ""


class Zone:
    """All names of one cluster."""

    def __init__(self, zone: str, dns_addresses: Iterable[str] = ()) -> None:
        self.zone = zone.rstrip(".").lower()
        self.serial = 1
        self._owned: dict[str, tuple[Record, ...]] = {}
        self._records: dict[tuple[str, str], dict[Record, int]] = {}
        #: How many records stand at a name or below it.
        self._weight: dict[str, int] = {}
        self.put("zone", zone_records(self.zone, dns_addresses))

    def put(self, owner: str, records: Iterable[Record]) -> bool:
        """Replace the records of an owner (a service, a namespace); whether anything changed."""
        new = tuple(records)
        old = self._owned.pop(owner, ())
        if new:
            self._owned[owner] = new
        if old == new:
            return False
        for record in new:
            self._count(record, 1)
        for record in old:
            self._count(record, -1)
        self.serial += 1
        return True

    def _count(self, record: Record, step: int) -> None:
        place = self._records.setdefault((record.name, record.type), {})
        place[record] = place.get(record, 0) + step
        if not place[record]:
            del place[record]
            if not place:
                del self._records[record.name, record.type]
        name = record.name
        while name:
            weight = self._weight.get(name, 0) + step
            if weight:
                self._weight[name] = weight
            else:
                self._weight.pop(name, None)
            name = name.partition(".")[2]

    def owns(self, name: str) -> bool:
        """Whether this zone, or a reverse name it knows, has the say about a name."""
        return name == self.zone or name.endswith(f".{self.zone}") or (name, "PTR") in self._records

    def exists(self, name: str) -> bool:
        return name in self._weight

    def ask(self, name: str, kind: str) -> Answer:
        """Answer a question about a name that this zone ``owns``."""
        answer = Answer(NOERROR)
        for _ in range(MAX_ALIASES):
            found = self._find(name, kind)
            if found is None:
                answer.code = NOERROR if answer.records else NXDOMAIN
                return answer
            if found or kind == "CNAME":
                answer.records += found
                break
            alias = next(iter(self._records.get((name, "CNAME"), ())), None)
            if alias is None:
                break
            answer.records.append(alias)
            name = alias.data
            if not self.owns(name):
                answer.alias = name
                break
        if kind == "SRV":
            hosts = dict.fromkeys(
                record.data.rpartition(" ")[2] for record in answer.records if record.type == "SRV"
            )
            answer.additional = [
                r for host in hosts for t in ("A", "AAAA") for r in self._records.get((host, t), ())
            ]
        return answer

    def _find(self, name: str, kind: str) -> list[Record] | None:
        """The records of a name; None when there is no such name."""
        if name not in self._weight and name != self.zone:
            address = self._pod_address(name)
            if not address:
                return None
            wanted = "AAAA" if ":" in address else "A"
            return [Record(name, wanted, address)] if kind == wanted else []
        return list(self._records.get((name, kind), ()))

    def _pod_address(self, name: str) -> str:
        """The address that ``10-0-0-1.namespace.pod.zone`` spells, if there is such a namespace."""
        label, _, rest = name.partition(".")
        if rest.partition(".")[2] != f"pod.{self.zone}" or (rest, "") not in self._records:
            return ""
        for separator in (".", ":"):
            try:
                return str(ipaddress.ip_address(label.replace("-", separator)))
            except ValueError:
                continue
        return ""
