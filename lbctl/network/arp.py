"""ARP frames for IPv4 over Ethernet (RFC 826, RFC 5227), built and parsed. Pure: no sockets."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from lbctl.core.model import Address

BROADCAST = b"\xff" * 6
UNKNOWN_MAC = bytes(6)
UNSPECIFIED = IPv4Address(0)
ETHERTYPE = 0x0806

REQUEST = 1
REPLY = 2

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_FIXED_FIELDS = (1, 0x0800, 6, 4)
"""Hardware type Ethernet, protocol type IPv4, and their address lengths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArpPacket:
    """What one ARP frame says. MACs are 6 bytes."""

    operation: int
    sender_mac: bytes
    sender: IPv4Address
    target: IPv4Address
    target_mac: bytes = UNKNOWN_MAC

    @property
    def station(self) -> bytes:
        """The MAC of whom it speaks of."""
        return self.sender_mac

    @property
    def answered(self) -> IPv4Address | None:
        """The address whose MAC it tells, if it is a reply."""
        return self.sender if self.operation == REPLY else None

    def claims(self, address: Address) -> bool:
        """Whether the sender uses the address, or probes for it in order to use it (RFC 5227 section 2.1.1)."""
        probes_for_it = self.operation == REQUEST and self.sender == UNSPECIFIED and self.target == address
        return self.sender == address or probes_for_it


def announcement(*, mac: bytes, address: IPv4Address) -> bytes:
    """The frame of a gratuitous ARP: a broadcast request for the sender's own address (RFC 5227 section 2.3)."""
    return build(ArpPacket(operation=REQUEST, sender_mac=mac, sender=address, target=address))


def probe(*, mac: bytes, address: IPv4Address) -> bytes:
    """The frame of an ARP probe: it asks for the address without claiming any (RFC 5227 section 2.1.1)."""
    return build(ArpPacket(operation=REQUEST, sender_mac=mac, sender=UNSPECIFIED, target=address))


def request(*, mac: bytes, sender: IPv4Address, target: IPv4Address, to: bytes = BROADCAST) -> bytes:
    """The frame that asks for the target's MAC; sent to a known one, it confirms it (RFC 1122 section 2.3.2.1)."""
    return build(ArpPacket(operation=REQUEST, sender_mac=mac, sender=sender, target=target), to=to)


def build(packet: ArpPacket, *, to: bytes = BROADCAST) -> bytes:
    """The 42 bytes of an Ethernet frame that carries the packet."""
    return _ETHERNET.pack(to, packet.sender_mac, ETHERTYPE) + _ARP.pack(
        *_FIXED_FIELDS,
        packet.operation,
        packet.sender_mac,
        packet.sender.packed,
        packet.target_mac,
        packet.target.packed,
    )


def parse(frame: bytes) -> ArpPacket | None:
    """The ARP packet in an untagged Ethernet frame, or ``None`` if it is anything else. Padding is ignored."""
    if len(frame) < _ETHERNET.size + _ARP.size:
        return None
    *fixed, operation, sender_mac, sender, target_mac, target = _ARP.unpack_from(frame, _ETHERNET.size)
    if _ETHERNET.unpack_from(frame)[2] != ETHERTYPE or tuple(fixed) != _FIXED_FIELDS:
        return None
    return ArpPacket(
        operation=operation,
        sender_mac=sender_mac,
        sender=IPv4Address(sender),
        target=IPv4Address(target),
        target_mac=target_mac,
    )
