"""TCP segments in another's name: resets for clients that would wait for a server that is gone, and for servers that are to
let go of their clients; keep-alives that ask a client whether it is still there. Pure bytes, and a raw socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import ClassVar

from lbctl.network.refusals import explained

TTL = 64
_PROTOCOL = 6
_HEADER = 0x5000  # of five words
_SIZE = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment without data, from ``source`` to ``destination``."""

    FLAGS: ClassVar[int]

    source: IPv4Address
    source_port: int
    destination: IPv4Address
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
    """The IPv4 packet (RFC 791, RFC 9293), 40 bytes with both checksums."""
    addresses = segment.source.packed + segment.destination.packed
    head = struct.pack(">BBHHHBBH", 0x45, 0, _SIZE, 0, 0x4000, TTL, _PROTOCOL, 0)
    ports = struct.pack(">HHII", segment.source_port, segment.destination_port, segment.seq, segment.ack)
    rest = ports + struct.pack(">HHHH", _HEADER | segment.FLAGS, 0, 0, 0)
    pseudo = addresses + struct.pack(">HH", _PROTOCOL, len(rest))
    tcp = rest[:16] + struct.pack(">H", _checksum(pseudo + rest)) + rest[18:]
    return head[:10] + struct.pack(">H", _checksum(head + addresses)) + addresses + tcp


def _checksum(octets: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def send(segments: Iterable[Segment]) -> int:
    """Send them by ordinary routing; returns how many the kernel took. `NetworkError` if no raw socket can be had."""
    sent = 0
    with explained("open a raw socket"), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for segment in segments:
            try:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, segment.mark)
                raw.sendto(packet_of(segment), (str(segment.destination), 0))
                sent += 1
            except OSError:  # no route to this client now: it finds out by itself
                continue
    return sent
