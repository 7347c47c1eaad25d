"""Questions and answers on the wire, by ``dnslib``. Pure: bytes in, bytes out.

Neighbours: ``zone`` knows the answers, ``dns`` moves the bytes.
Invariant: an answer over UDP is never longer than the asker said it can take (512 bytes unless EDNS says
more).
"""

from __future__ import annotations

from dataclasses import dataclass

import dnslib
from dnslib import CLASS, EDNS0, QTYPE, RCODE, RR

from knarr.network.records import Record
from knarr.network.zone import NEGATIVE_TTL_S, TTL_S, Answer, Zone

__all__ = ["Query", "failure", "fit", "parse", "respond", "rewrite_id"]

#: Never more over UDP, whatever the asker offers: larger datagrams get lost in fragments.
MAX_UDP_BYTES = 1_232
MIN_UDP_BYTES = 512
OPT = 41
BADVERS = 16

_DATA = {"A": dnslib.A, "AAAA": dnslib.AAAA, "CNAME": dnslib.CNAME, "PTR": dnslib.PTR, "NS": dnslib.NS}


@dataclass(slots=True)
class Query:
    """A question that can be answered. ``name`` is lower case, without the final dot."""

    record: dnslib.DNSRecord
    name: str
    kind: str
    udp_bytes: int


def parse(packet: bytes) -> Query | bytes | None:
    """The question in a packet; or the answer to one that is refused; None for what deserves no answer."""
    try:
        record = dnslib.DNSRecord.parse(packet)
    except (dnslib.DNSError, ValueError, UnicodeError, IndexError):
        return _malformed(packet)
    if record.header.qr:
        return None
    if record.header.opcode != 0:
        return failure(record, RCODE.NOTIMP)
    if len(record.questions) != 1:
        return failure(record, RCODE.FORMERR)
    question = record.questions[0]
    if question.qclass not in (CLASS.IN, 255):
        return failure(record, RCODE.REFUSED)
    option = next((extra for extra in record.ar if extra.rtype == OPT), None)
    if option is not None and option.edns_ver != 0:
        return _bad_version(record)
    offered = option.edns_len if option is not None else MIN_UDP_BYTES
    name = str(question.qname).rstrip(".").lower()
    kind = QTYPE.forward.get(question.qtype, f"TYPE{question.qtype}")
    return Query(record, name, kind, min(max(offered, MIN_UDP_BYTES), MAX_UDP_BYTES))


def respond(query: Query, answer: Answer, zone: Zone) -> dnslib.DNSRecord:
    """The answer as a message, with who is in charge of the zone where there is nothing to tell."""
    reply = _reply(query.record, answer.code)
    reply.header.aa = 1
    # The name comes back as it was spelled: some resolvers check that.
    spelled = str(query.record.q.qname)
    for record in answer.records:
        reply.add_answer(_wire(record, spelled if record.name == query.name else record.name))
    for record in answer.additional:
        reply.add_ar(_wire(record, record.name))
    if not answer.records and query.name == zone.zone and query.kind == "SOA":
        reply.add_answer(_authority(zone, TTL_S))
    elif not answer.records and not answer.alias:
        reply.add_auth(_authority(zone, NEGATIVE_TTL_S))
    _add_option(query.record, reply)
    return reply


def fit(reply: dnslib.DNSRecord, limit: int) -> bytes:
    """The message's bytes; what does not fit is left out, and the message says so."""
    packet = bytes(reply.pack())
    if len(packet) <= limit:
        return packet
    # Additional records are a courtesy: leaving them out is no truncation.
    reply.ar = [extra for extra in reply.ar if extra.rtype == OPT]
    packet = bytes(reply.pack())
    while len(packet) > limit and reply.rr:
        reply.header.tc = 1
        del reply.rr[-max(len(reply.rr) // 8, 1) :]
        packet = bytes(reply.pack())
    return packet


def failure(record: dnslib.DNSRecord, code: int) -> bytes:
    """An answer that has only a code."""
    reply = _reply(record, code)
    _add_option(record, reply)
    return bytes(reply.pack())


def rewrite_id(packet: bytes, number: int) -> bytes:
    """The same message under another number."""
    return number.to_bytes(2, "big") + packet[2:]


def _reply(record: dnslib.DNSRecord, code: int) -> dnslib.DNSRecord:
    reply = record.reply(ra=1, aa=0)
    reply.rr = []
    reply.header.rcode = code
    return reply


def _add_option(record: dnslib.DNSRecord, reply: dnslib.DNSRecord) -> None:
    if any(extra.rtype == OPT for extra in record.ar):
        reply.add_ar(EDNS0(udp_len=MAX_UDP_BYTES))


def _bad_version(record: dnslib.DNSRecord) -> bytes:
    reply = _reply(record, BADVERS & 0xF)
    reply.add_ar(EDNS0(udp_len=MAX_UDP_BYTES, ext_rcode=BADVERS >> 4))
    return bytes(reply.pack())


def _malformed(packet: bytes) -> bytes | None:
    if len(packet) < 12 or packet[2] & 0x80:
        return None
    header = dnslib.DNSHeader(id=int.from_bytes(packet[:2], "big"), qr=1, ra=1, rcode=RCODE.FORMERR)
    return bytes(dnslib.DNSRecord(header).pack())


def _wire(record: Record, name: str) -> RR:
    if record.type == "SRV":
        priority, weight, port, target = record.data.split(" ")
        data = dnslib.SRV(int(priority), int(weight), int(port), target)
    elif record.type == "TXT":
        data = dnslib.TXT(record.data)
    else:
        data = _DATA[record.type](record.data)
    return RR(name, getattr(QTYPE, record.type), rdata=data, ttl=TTL_S)


def _authority(zone: Zone, ttl_s: int) -> RR:
    times = (zone.serial, 7_200, 1_800, 86_400, NEGATIVE_TTL_S)
    data = dnslib.SOA(f"ns.dns.{zone.zone}", f"hostmaster.{zone.zone}", times)
    return RR(zone.zone, QTYPE.SOA, rdata=data, ttl=ttl_s)
