"""What a VIP answers on a port without a service (RFC 9293 section 3.5.2, RFC 1122 section 3.2.2), put together by scapy."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from lbctl.dataplane.layout import Reason
from tests.packets.rig import FOR_ANSWERS, FOR_RESETS
from tests.packets.wire import ACK, FIN, RST, SYN, UDP, Ipv4, ipv4_in
from tests.packets.wire import TCP as TCP_PROTOCOL

RESET_BYTES = 14 + 20 + 20
UNREACHABLE_BYTES = 14 + 20 + 8 + 20 + 8
ANSWERS = {
    Reason.NO_SERVICE: (FOR_ANSWERS, Reason.WRONG_PORT),
    Reason.EMPTY: (FOR_ANSWERS, Reason.TURNED_AWAY),
    Reason.DEAD: (FOR_RESETS, Reason.RESET),
}
"""Instead of silence: whose token it takes, and what is said."""


def answer_to(frame: bytes) -> bytes | None:
    """The answer to an IPv4 packet for a VIP that nobody takes; ``None`` if it must be dropped without one."""
    ip = ipv4_in(frame)
    if ip is None or not _is_single_host(ip.source):
        return None
    if ip.protocol == TCP_PROTOCOL:
        return _reset(frame, ip)
    return _unreachable(frame, ip) if ip.protocol == UDP and ip.header_bytes == 20 else None


def _is_single_host(address: IPv4Address) -> bool:
    return 0 < address.packed[0] < 224 and not address.is_loopback


def _reset(frame: bytes, ip: Ipv4) -> bytes | None:
    sequence, acknowledged, offset, flags = struct.unpack_from(">IIBB", ip.transport, 4)
    data_bytes = ip.total_bytes - ip.header_bytes - (offset >> 4) * 4
    if flags & RST or offset >> 4 < 5 or data_bytes < 0:
        return None
    if flags & ACK:
        return _framed(frame, ip, _segment(ip, flags="R", seq=acknowledged))
    length = data_bytes + bool(flags & SYN) + bool(flags & FIN)
    return _framed(frame, ip, _segment(ip, flags="RA", seq=0, ack=sequence + length & 0xFFFFFFFF))


def _segment(ip: Ipv4, **fields: Any) -> Any:
    client_port, vip_port = ip.ports
    return TCP(sport=vip_port, dport=client_port, window=0, **fields)


def _unreachable(frame: bytes, ip: Ipv4) -> bytes:
    """It quotes the IP header and the 8 bytes behind it, and nothing of the padding."""
    return _framed(frame, ip, ICMP(type=3, code=3) / Raw(ip.data[:28]))


def _framed(frame: bytes, ip: Ipv4, payload: Any) -> bytes:
    header = IP(src=str(ip.destination), dst=str(ip.source), id=0, flags="DF", ttl=64)
    return bytes(Ether(src=frame[:6].hex(":"), dst=frame[6:12].hex(":")) / header / payload)
