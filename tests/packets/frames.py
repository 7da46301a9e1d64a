"""Frames as clients send them, crafted by scapy: an implementation of the protocols that is not ours. Their family of IP is
that of the VIP that they are sent to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from ipaddress import IPv4Address, IPv6Address
from operator import truediv
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from lbctl.core.model import Address
from tests.packets.hashes import filter_bit
from tests.packets.wire import C_TAG, S_TAG, frame_of
from tests.packets.world import DICOM, OWN_MAC, SYSLOG, VIP, VIP6, backend_mac

CLIENT, CLIENT6 = IPv4Address("10.0.0.1"), IPv6Address("2001:db8:1::76")
"""Chosen such that both of them have the same backends: see `owner`."""
CLIENT_PORT = 40_000
CLIENT_MAC = bytes.fromhex("020a00000001")
OTHER_MAC = bytes.fromhex("0200020200bb")
BROADCAST = b"\xff" * 6
FOREIGN, FOREIGN6 = IPv4Address("198.51.100.7"), IPv6Address("2001:db8:ffff::7")

UNSERVED = 999
IP_OPTIONS = (IPOption_RR(length=11, pointer=4, routers=["0.0.0.0", "0.0.0.0"]), IPOption_NOP())
EXTENSIONS = (
    IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]),
    IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(12))]),
)
ROUTING = IPv6ExtHdrRouting(type=253, segleft=0, addresses=["2001:db8::1"])
TCP_OPTIONS = (("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7))
ETHERNET_HEADER = 14
DATAGRAM = 0x1234
"""The identification that the fragments of one datagram have in common."""
Tagging = Sequence[tuple[int, int]]
"""TPID, then priority, DEI and VLAN id; the outer one first."""
ONE_TAG: Tagging = ((C_TAG, 0xA014),)
TWO_TAGS: Tagging = ((S_TAG, 0x600A), (C_TAG, 0xE00B))
PRIORITY_TAG: Tagging = ((C_TAG, 0xC000),)


def colliding_with(vip: Address) -> Address:
    """A foreign address whose bit in the filter is the VIP's: the hash, backwards."""
    if isinstance(vip, IPv4Address):
        inverse = pow(0x9E3779B1, -1, 1 << 32)
        candidates = ((filter_bit(vip) << 16 | low) * inverse & 0xFFFFFFFF for low in range(1 << 16))
        found = (IPv4Address(candidate.to_bytes(4, "little")) for candidate in candidates)
        return next(address for address in found if address != vip and address.is_global)
    others = (IPv6Address(int(FOREIGN6) + number) for number in range(1 << 22))
    return next(address for address in others if filter_bit(address) == filter_bit(vip))


COLLIDING, COLLIDING6 = colliding_with(VIP), colliding_with(VIP6)


def ether(payload: Any, *, source: bytes = CLIENT_MAC, destination: bytes = OWN_MAC, tags: Tagging = ()) -> bytes:
    """A whole frame."""
    return tagged(bytes(Ether(src=source.hex(":"), dst=destination.hex(":")) / payload), tags)


def tagged(frame: bytes, tags: Tagging) -> bytes:
    """The frame with tags before those that it has."""
    return frame[:12] + b"".join(word.to_bytes(2, "big") for tag in tags for word in tag) + frame[12:]


def packet(
    payload: Any,
    *,
    client: Address = CLIENT,
    vip: Address = VIP,
    source: bytes = CLIENT_MAC,
    destination: bytes = OWN_MAC,
    tags: Tagging = (),
    ip_options: Sequence[Any] = (),
    protocol: int | None = None,
    **fields: Any,
) -> bytes:
    """An IP packet in a frame. ``ip_options`` are those of IPv4, or extension headers of IPv6; ``fields`` are scapy's of the
    header. ``protocol`` is for what scapy does not know."""
    ends = {"src": str(client), "dst": str(vip)}
    if vip.version == 4:
        number = {} if protocol is None else {"proto": protocol}
        headers = [IP(**ends, options=list(ip_options), **number, **fields)]
    else:
        headers = [IPv6(**ends, **fields), *(extension.copy() for extension in ip_options)]
        if protocol is not None:
            headers[-1].nh = protocol
    return ether(reduce(truediv, [*headers, payload]), source=source, destination=destination, tags=tags)


def tcp(
    flags: str = "A",
    port: int = DICOM,
    *,
    client_port: int = CLIENT_PORT,
    seq: int = 1,
    ack: int = 0,
    options: Any = (),
    data: bytes = b"",
    **rest: Any,
) -> bytes:
    """A TCP segment; ``flags`` as scapy and tcpdump write them, ``rest`` goes to `packet`."""
    header = TCP(sport=client_port, dport=port, flags=flags, seq=seq, ack=ack, options=list(options))
    return packet(header / Raw(data), **rest)


def udp(port: int = SYSLOG, *, client_port: int = CLIENT_PORT, data: bytes = b"<14>", **rest: Any) -> bytes:
    """A datagram."""
    return packet(UDP(sport=client_port, dport=port) / Raw(data), **rest)


def ping(*, identifier: int = 7, data: bytes = bytes(56), vip: Address = VIP, **rest: Any) -> bytes:
    """An echo request."""
    message = ICMP(type=8, id=identifier, seq=1) if vip.version == 4 else ICMPv6EchoRequest(id=identifier, seq=1)
    return packet(message / Raw(data), vip=vip, **rest)


def pong(
    *, identifier: int = 7, data: bytes = bytes(56), vip: Address = VIP, client: Address = CLIENT, **rest: Any
) -> bytes:
    """The echo reply that must be the answer to the same `ping`."""
    message = ICMP(type=0, id=identifier, seq=1) if vip.version == 4 else ICMPv6EchoReply(id=identifier, seq=1)
    fields = rest | ({"ttl": 64} if vip.version == 4 else {"hlim": 64})
    return packet(message / Raw(data), client=vip, vip=client, source=OWN_MAC, destination=CLIENT_MAC, **fields)


def fragment(
    offset: int,
    *,
    more: bool = True,
    protocol: int = 17,
    data: bytes = bytes(16),
    id: int = DATAGRAM,
    vip: Address = VIP,
    ip_options: Sequence[Any] = (),
    **rest: Any,
) -> bytes:
    """A later fragment, ``offset`` in units of 8 bytes; ``rest`` goes to `packet`."""
    if vip.version == 4:
        fields = {"frag": offset, "flags": "MF" if more else "", "id": id}
        return packet(Raw(data), protocol=protocol, vip=vip, ip_options=ip_options, **(fields | rest))
    header = IPv6ExtHdrFragment(offset=offset, m=more, id=id)
    return packet(Raw(data), protocol=protocol, vip=vip, ip_options=[*ip_options, header], **rest)


def first(
    payload: Any, *, id: int = DATAGRAM, vip: Address = VIP, ip_options: Sequence[Any] = (), **rest: Any
) -> bytes:
    """The first fragment of a datagram that begins with that; ``rest`` goes to `packet`."""
    if vip.version == 4:
        return packet(payload, flags="MF", id=id, vip=vip, ip_options=ip_options, **rest)
    return packet(payload, vip=vip, ip_options=[*ip_options, IPv6ExtHdrFragment(m=1, id=id)], **rest)


def first_fragment(port: int = SYSLOG, *, client_port: int = CLIENT_PORT, **rest: Any) -> bytes:
    """The first one of a UDP datagram."""
    return first(UDP(sport=client_port, dport=port) / Raw(bytes(16)), **rest)


def padded(frame: bytes, size: int = 60) -> bytes:
    """The frame as a NIC pads it on the wire."""
    return frame + bytes(max(0, size - len(frame)))


def cut(frame: bytes, transport_bytes: int, *, honest: bool) -> bytes:
    """The frame, ended after so many bytes of transport header; ``honest`` if the length in the IP header says so, too."""
    whole = frame_of(frame)
    assert whole is not None
    assert whole.ip is not None
    short = frame[: whole.header_bytes + whole.ip.header_bytes + transport_bytes]
    return with_length(short, whole.ip.header_bytes + transport_bytes) if honest else short


def with_length(frame: bytes, total_bytes: int) -> bytes:
    """The frame with another claim of how long its IP packet is, from the fixed header on."""
    is_ipv4 = frame[12:14] == b"\x08\x00"
    at, claim = (16, total_bytes) if is_ipv4 else (18, max(0, total_bytes - 40))
    return patched(frame, at, claim.to_bytes(2, "big"))


def patched(frame: bytes, at: int, value: bytes) -> bytes:
    """The frame with other bytes at an offset. Checksums stay as they were."""
    return frame[:at] + value + frame[at + len(value) :]


def addressed_to(frame: bytes, address: Address) -> bytes:
    """The frame, which has no tags, with another destination of its family."""
    return patched(frame, 30 if address.version == 4 else 38, address.packed)


def forwarded(frame: bytes, backend: int) -> bytes:
    """The frame as a backend on its segment must receive it: nothing but the two MACs differs."""
    return backend_mac(backend) + OWN_MAC + frame[12:]
