"""TCP resets in another's name: for clients that would wait for a server that is gone, and for servers that are to let go of
their clients. Pure bytes, and a raw socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from lbctl.network.refusals import explained

TTL = 64
_PROTOCOL = 6
_RST = 0x5004  # a header of five words; RST
_SIZE = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """A reset from ``source`` to ``destination``. ``seq`` must be what the receiver expects next (RFC 5961 section 3)."""

    source: IPv4Address
    source_port: int
    destination: IPv4Address
    destination_port: int
    seq: int
    mark: int = 0
    """Of the probe path that leads to the server, when it is the server that is told."""


def packet_of(reset: Reset) -> bytes:
    """The IPv4 packet (RFC 791, RFC 9293), 40 bytes with both checksums."""
    addresses = reset.source.packed + reset.destination.packed
    head = struct.pack(">BBHHHBBH", 0x45, 0, _SIZE, 0, 0x4000, TTL, _PROTOCOL, 0)
    ports = struct.pack(">HHII", reset.source_port, reset.destination_port, reset.seq, 0)
    segment = ports + struct.pack(">HHHH", _RST, 0, 0, 0)
    pseudo = addresses + struct.pack(">HH", _PROTOCOL, len(segment))
    tcp = segment[:16] + struct.pack(">H", _checksum(pseudo + segment)) + segment[18:]
    return head[:10] + struct.pack(">H", _checksum(head + addresses)) + addresses + tcp


def _checksum(octets: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def send(resets: Iterable[Reset]) -> int:
    """Send them by ordinary routing; returns how many the kernel took. `NetworkError` if no raw socket can be had."""
    sent = 0
    with explained("open a raw socket"), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for reset in resets:
            try:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, reset.mark)
                raw.sendto(packet_of(reset), (str(reset.destination), 0))
                sent += 1
            except OSError:  # no route to this client now: it finds out by itself
                continue
    return sent
