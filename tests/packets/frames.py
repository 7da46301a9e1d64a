"""Frames as clients send them, crafted by scapy: an implementation of the protocols that is not ours."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from lbctl.dataplane.rows import filter_bit
from tests.packets.rig import OWN_MAC, VIP, backend_mac

CLIENT = IPv4Address("10.0.0.1")
CLIENT_PORT = 40_000
CLIENT_MAC = bytes.fromhex("020a00000001")
OTHER_MAC = bytes.fromhex("0200020200bb")
BROADCAST = b"\xff" * 6
FOREIGN = IPv4Address("198.51.100.7")
FAR_VIP = IPv4Address("192.0.2.200")
"""A VIP that is answered for on another interface."""

DICOM, SYSLOG, UNSERVED = 104, 514, 999
IP_OPTIONS = (IPOption_RR(length=11, pointer=4, routers=["0.0.0.0", "0.0.0.0"]), IPOption_NOP())
TCP_OPTIONS = (("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7))
ETHERNET_HEADER, IP_HEADER = 14, 20
DATAGRAM = 0x1234
"""The identification that the fragments of one datagram have in common."""


def colliding_address() -> IPv4Address:
    """A foreign address whose bit in the filter is the VIP's: the hash, backwards."""
    word, bit = filter_bit(VIP)
    inverse = pow(0x9E3779B1, -1, 1 << 32)
    candidates = (((word << 6 | bit) << 16 | low) * inverse & 0xFFFFFFFF for low in range(1 << 16))
    found = next(a for a in (IPv4Address(c.to_bytes(4, "little")) for c in candidates) if a != VIP and a.is_global)
    assert filter_bit(found) == (word, bit)
    return found


COLLIDING = colliding_address()


def ether(payload: Any, *, source: bytes = CLIENT_MAC, destination: bytes = OWN_MAC) -> bytes:
    """A whole frame."""
    return bytes(Ether(src=_text(source), dst=_text(destination)) / payload)


def ipv4(
    payload: Any,
    *,
    client: IPv4Address = CLIENT,
    vip: IPv4Address = VIP,
    source: bytes = CLIENT_MAC,
    destination: bytes = OWN_MAC,
    **fields: Any,
) -> bytes:
    """An IPv4 packet in a frame; ``fields`` are scapy's of the IP header."""
    return ether(IP(src=str(client), dst=str(vip), **fields) / payload, source=source, destination=destination)


def tcp(
    flags: str = "A",
    port: int = DICOM,
    *,
    client_port: int = CLIENT_PORT,
    seq: int = 1,
    ack: int = 0,
    options: Any = (),
    ip_options: Any = (),
    data: bytes = b"",
    **rest: Any,
) -> bytes:
    """A TCP segment; ``flags`` as scapy and tcpdump write them, ``rest`` goes to `ipv4`."""
    header = TCP(sport=client_port, dport=port, flags=flags, seq=seq, ack=ack, options=list(options))
    return ipv4(header / Raw(data), options=list(ip_options), **rest)


def udp(port: int = SYSLOG, *, client_port: int = CLIENT_PORT, data: bytes = b"<14>", **rest: Any) -> bytes:
    """A datagram."""
    return ipv4(UDP(sport=client_port, dport=port) / Raw(data), **rest)


def ping(*, identifier: int = 7, data: bytes = bytes(56), **rest: Any) -> bytes:
    """An echo request."""
    return ipv4(ICMP(type=8, id=identifier, seq=1) / Raw(data), **rest)


def pong(*, identifier: int = 7, data: bytes = bytes(56), **rest: Any) -> bytes:
    """The echo reply that must be the answer to the same `ping`."""
    return ipv4(
        ICMP(type=0, id=identifier, seq=1) / Raw(data),
        client=VIP, vip=CLIENT, source=OWN_MAC, destination=CLIENT_MAC, **(rest | {"ttl": 64}),
    )  # fmt: skip


def arp(
    target: IPv4Address = VIP,
    *,
    source: bytes = CLIENT_MAC,
    destination: bytes = BROADCAST,
    sender: IPv4Address = CLIENT,
    sender_mac: bytes = CLIENT_MAC,
    **fields: Any,
) -> bytes:
    """An ARP request; ``fields`` are scapy's of the ARP header."""
    asked = {
        "op": 1,
        "hwsrc": _text(sender_mac),
        "psrc": str(sender),
        "hwdst": "00:00:00:00:00:00",
        "pdst": str(target),
    }
    return ether(ARP(**(asked | fields)), source=source, destination=destination)


def arp_reply(*, to: IPv4Address = CLIENT, to_mac: bytes = CLIENT_MAC, vip: IPv4Address = VIP) -> bytes:
    """The answer that must be given for a VIP."""
    told = ARP(op=2, hwsrc=_text(OWN_MAC), psrc=str(vip), hwdst=_text(to_mac), pdst=str(to))
    return ether(told, source=OWN_MAC, destination=to_mac)


def fragment(offset: int, *, more: bool = True, protocol: int = 17, data: bytes = bytes(16), **rest: Any) -> bytes:
    """A later fragment, ``offset`` in units of 8 bytes; ``rest`` goes to `ipv4`."""
    return ipv4(Raw(data), proto=protocol, frag=offset, flags="MF" if more else "", **({"id": DATAGRAM} | rest))


def first_fragment(port: int = SYSLOG, **rest: Any) -> bytes:
    """The first one of a UDP datagram."""
    return udp(port, data=bytes(16), flags="MF", **({"id": DATAGRAM} | rest))


def padded(frame: bytes, size: int = 60) -> bytes:
    """The frame as a NIC pads it on the wire."""
    return frame + bytes(max(0, size - len(frame)))


def cut(frame: bytes, transport_bytes: int, *, honest: bool) -> bytes:
    """The frame, ended after so many bytes of transport header; ``honest`` if the IP total length says so too."""
    end = ETHERNET_HEADER + IP_HEADER + transport_bytes
    return patched(frame[:end], 16, struct.pack(">H", end - ETHERNET_HEADER)) if honest else frame[:end]


def patched(frame: bytes, at: int, value: bytes) -> bytes:
    """The frame with other bytes at an offset. Checksums stay as they were."""
    return frame[:at] + value + frame[at + len(value) :]


def addressed_to(frame: bytes, address: IPv4Address) -> bytes:
    """The frame with another IPv4 destination."""
    return patched(frame, 30, address.packed)


def forwarded(frame: bytes, backend: int) -> bytes:
    """The frame as a backend must receive it: nothing but the two MACs differs."""
    return backend_mac(backend) + OWN_MAC + frame[12:]


def _text(mac: bytes) -> str:
    return mac.hex(":")
