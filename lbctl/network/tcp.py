"""TCP segments in another's name: resets for clients that would wait for a server that is gone, and for servers that are to
let go of their clients; keep-alives that ask a client whether it is still there. Pure bytes, and a raw socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from lbctl.core.model import Address
from lbctl.network.checksum import checksum, transport_checksum
from lbctl.network.refusals import explained

TTL = 64
_PROTOCOL = 6
_HEADER = 0x5000  # of five words
_SIZE = 20
_IPV4_SIZE = 20
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment without data, from ``source`` to ``destination``."""

    FLAGS: ClassVar[int]

    source: Address
    source_port: int
    destination: Address
    destination_port: int
    seq: int
    ack: int = 0
    mark: int = 0
    """Of the probe path that leads to the server, when it is the server that is meant."""


class Reset(Segment):
    """The connection is over. ``seq`` must be what the receiver expects next (RFC 5961 section 3)."""

    FLAGS = 0x004
    __slots__ = ()


class KeepAlive(Segment):
    """A question (RFC 1122 section 4.2.3.6): whoever has the connection answers with an acknowledgement, whoever has it no more
    with a reset. ``seq`` is one less than what the receiver expects next, so that nothing else comes of it."""

    FLAGS = 0x010
    __slots__ = ()


def packet_of(segment: Segment) -> bytes:
    """The packet with its checksums: 40 bytes of IPv4 (RFC 791), or 60 of IPv6 (RFC 8200)."""
    header = _ipv4_header if segment.source.version == 4 else _ipv6_header
    return header(segment) + _tcp(segment)


def _tcp(segment: Segment) -> bytes:
    """RFC 9293 section 3.1, without options."""
    ports = struct.pack(">HHII", segment.source_port, segment.destination_port, segment.seq, segment.ack)
    unsummed = ports + struct.pack(">HHHH", _HEADER | segment.FLAGS, 0, 0, 0)
    total = transport_checksum(unsummed, source=segment.source, destination=segment.destination, protocol=_PROTOCOL)
    return unsummed[:16] + struct.pack(">H", total) + unsummed[18:]


def _ipv4_header(segment: Segment) -> bytes:
    addresses = segment.source.packed + segment.destination.packed
    head = struct.pack(">BBHHHBBH", 0x45, 0, _IPV4_SIZE + _SIZE, 0, 0x4000, TTL, _PROTOCOL, 0)
    return head[:10] + struct.pack(">H", checksum(head + addresses)) + addresses


def _ipv6_header(segment: Segment) -> bytes:
    head = struct.pack(">IHBB", 6 << 28, _SIZE, _PROTOCOL, TTL)
    return head + segment.source.packed + segment.destination.packed


def send(segments: Iterable[Segment]) -> int:
    """Send them by ordinary routing; returns how many the kernel took. `NetworkError` if no raw socket can be had."""
    by_family: dict[int, list[Segment]] = {}
    for segment in segments:
        by_family.setdefault(segment.destination.version, []).append(segment)
    return sum(_send(_FAMILIES[version], some) for version, some in by_family.items())


def _send(family: socket.AddressFamily, segments: Iterable[Segment]) -> int:
    sent = 0
    # Of this protocol the whole packet is ours to say, its source too, in both families.
    with explained("open a raw socket"), socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for segment in segments:
            try:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, segment.mark)
                raw.sendto(packet_of(segment), (str(segment.destination), 0))
                sent += 1
            except OSError:  # no route to this client now: it finds out by itself
                continue
    return sent
