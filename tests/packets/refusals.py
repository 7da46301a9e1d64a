"""What a VIP answers on a port without a service (RFC 9293 section 3.5.2, RFC 1122 section 3.2.2, RFC 4443 section 3.1), put
together by scapy."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Raw

from lbctl.core.model import Address
from lbctl.dataplane.layout import Reason
from tests.packets.wire import ACK, FIN, IPV4_BYTES, IPV6_BYTES, RST, SYN, UDP, Datagram, Frame, frame_of
from tests.packets.wire import TCP as TCP_PROTOCOL
from tests.packets.world import FOR_ANSWERS, FOR_RESETS

RESET_BYTES = {4: 14 + 20 + 20, 6: 14 + 40 + 20}
UNREACHABLE_BYTES = {4: 14 + 20 + 8 + 20 + 8, 6: 14 + 40 + 8 + 40 + 8}
"""By the version of IP, of a frame without tags."""
ANSWERS = {
    Reason.NO_SERVICE: (FOR_ANSWERS, Reason.WRONG_PORT),
    Reason.EMPTY: (FOR_ANSWERS, Reason.TURNED_AWAY),
    Reason.DEAD: (FOR_RESETS, Reason.RESET),
}
"""Instead of silence: whose token it takes, and what is said."""


def answer_to(data: bytes) -> bytes | None:
    """The answer to a packet for a VIP that nobody takes; ``None`` if it must be dropped without one."""
    frame = frame_of(data)
    ip = frame.ip if frame else None
    if frame is None or ip is None or not _is_single_host(ip.source):
        return None
    if ip.protocol == TCP_PROTOCOL:
        return _reset(frame, ip)
    is_plain = ip.header_bytes == (IPV4_BYTES if ip.version == 4 else IPV6_BYTES)
    return _unreachable(frame, ip) if ip.protocol == UDP and is_plain else None


def _is_single_host(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return 0 < address.packed[0] < 224 and not address.is_loopback
    return not (address.is_unspecified or address.is_loopback or address.is_multicast)


def _reset(frame: Frame, ip: Datagram) -> bytes | None:
    sequence, acknowledged, offset, flags = struct.unpack_from(">IIBB", ip.transport, 4)
    data_bytes = ip.total_bytes - ip.header_bytes - (offset >> 4) * 4
    if flags & RST or offset >> 4 < 5 or data_bytes < 0:
        return None
    if flags & ACK:
        return _framed(frame, ip, _segment(ip, flags="R", seq=acknowledged))
    length = data_bytes + bool(flags & SYN) + bool(flags & FIN)
    return _framed(frame, ip, _segment(ip, flags="RA", seq=0, ack=sequence + length & 0xFFFFFFFF))


def _segment(ip: Datagram, **fields: Any) -> Any:
    client_port, vip_port = ip.ports
    return TCP(sport=vip_port, dport=client_port, window=0, **fields)


def _unreachable(frame: Frame, ip: Datagram) -> bytes:
    """It quotes the IP header and the 8 bytes behind it, and nothing of the padding."""
    message = ICMP(type=3, code=3) if ip.version == 4 else ICMPv6DestUnreach(code=4)
    return _framed(frame, ip, message / Raw(ip.data[: ip.header_bytes + 8]))


def _framed(frame: Frame, ip: Datagram, payload: Any) -> bytes:
    """Back to the station that sent it, by the VLAN that it came in by."""
    ends = {"src": str(ip.destination), "dst": str(ip.source)}
    header = IP(**ends, id=0, flags="DF", ttl=64) if ip.version == 4 else IPv6(**ends, hlim=64)
    return frame.source + frame.destination + frame.data[12 : frame.header_bytes] + bytes(header / payload)
