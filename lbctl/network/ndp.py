"""Neighbour discovery for IPv6 over Ethernet (RFC 4861, RFC 4862): solicitations and advertisements, built and parsed. Pure: no
sockets."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

from lbctl.core.model import Address
from lbctl.network.checksum import transport_checksum

UNSPECIFIED = IPv6Address(0)
ALL_NODES = IPv6Address("ff02::1")
ETHERTYPE = 0x86DD
ICMPV6 = 58

SOLICITATION = 135
ADVERTISEMENT = 136
SOLICITED = 0x4000_0000
OVERRIDE = 0x2000_0000
"""Flags of an advertisement: it answers a solicitation; the MAC in it replaces the one that is known."""

_SOLICITED_NODE_PREFIX = IPv6Address("ff02::1:ff00:0").packed[:13]
_ETHERNET = struct.Struct("!6s6sH")
_IPV6 = struct.Struct("!IHBB16s16s")
_MESSAGE = struct.Struct("!BBHI16s")
_MESSAGE_AT = _ETHERNET.size + _IPV6.size
_OPTION = struct.Struct("!BB6s")
_VERSION_6 = 6 << 28
_HOP_LIMIT = 255
"""No router has forwarded it (RFC 4861 section 11.2)."""
_MAC_OPTIONS = {SOLICITATION: 1, ADVERTISEMENT: 2}
"""The source link-layer address in a solicitation, the target's in an advertisement (RFC 4861 section 4.6.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NdpPacket:
    """What one frame with a solicitation or an advertisement says. MACs are 6 bytes."""

    kind: int
    sender_mac: bytes
    """Where the frame came from."""
    sender: IPv6Address
    recipient: IPv6Address
    target: IPv6Address
    mac: bytes | None = None
    """What its option says: the MAC of the sender of a solicitation, or of the target of an advertisement."""
    flags: int = 0

    @property
    def station(self) -> bytes:
        """The MAC of whom it speaks of."""
        return self.mac or self.sender_mac

    @property
    def answered(self) -> IPv6Address | None:
        """The address whose MAC it tells, if it is an advertisement."""
        return self.target if self.kind == ADVERTISEMENT else None

    def claims(self, address: Address) -> bool:
        """Whether somebody uses the address, or is about to: an advertisement of it, or the solicitation from the unspecified
        address by which a station looks for duplicates (RFC 4862 section 5.4.3)."""
        is_claim = self.kind == ADVERTISEMENT or self.sender == UNSPECIFIED
        return self.sender == address or (is_claim and self.target == address)


def solicited_node(address: IPv6Address) -> IPv6Address:
    """The group in which solicitations for the address are sent (RFC 4291 section 2.7.1)."""
    return IPv6Address(_SOLICITED_NODE_PREFIX + address.packed[-3:])


def multicast_mac(group: IPv6Address) -> bytes:
    """The MAC that frames to the group are sent to (RFC 2464 section 7)."""
    return b"\x33\x33" + group.packed[-4:]


def announcement(*, mac: bytes, address: IPv6Address) -> bytes:
    """The frame of an unsolicited advertisement to all nodes: the address is at this MAC now (RFC 4861 section 7.2.6)."""
    return build(
        NdpPacket(
            kind=ADVERTISEMENT,
            sender_mac=mac,
            sender=address,
            recipient=ALL_NODES,
            target=address,
            mac=mac,
            flags=OVERRIDE,
        ),
        to=multicast_mac(ALL_NODES),
    )


def probe(*, mac: bytes, address: IPv6Address) -> bytes:
    """The frame that looks for duplicates: it asks for the address without claiming any (RFC 4862 section 5.4.2)."""
    group = solicited_node(address)
    return build(
        NdpPacket(kind=SOLICITATION, sender_mac=mac, sender=UNSPECIFIED, recipient=group, target=address),
        to=multicast_mac(group),
    )


def request(*, mac: bytes, sender: IPv6Address, target: IPv6Address, to: bytes | None = None) -> bytes:
    """The frame that asks for the target's MAC; sent to a known one, it confirms it (RFC 4861 section 7.3.3)."""
    recipient = target if to else solicited_node(target)
    return build(
        NdpPacket(kind=SOLICITATION, sender_mac=mac, sender=sender, recipient=recipient, target=target, mac=mac),
        to=to or multicast_mac(recipient),
    )


def build(packet: NdpPacket, *, to: bytes) -> bytes:
    """The Ethernet frame that carries the packet."""
    option = _OPTION.pack(_MAC_OPTIONS[packet.kind], 1, packet.mac) if packet.mac else b""
    unsummed = _MESSAGE.pack(packet.kind, 0, 0, packet.flags, packet.target.packed) + option
    message = unsummed[:2] + struct.pack("!H", _checksum(unsummed, packet.sender, packet.recipient)) + unsummed[4:]
    addresses = packet.sender.packed, packet.recipient.packed
    return (
        _ETHERNET.pack(to, packet.sender_mac, ETHERTYPE)
        + _IPV6.pack(_VERSION_6, len(message), ICMPV6, _HOP_LIMIT, *addresses)
        + message
    )


def parse(frame: bytes) -> NdpPacket | None:
    """The packet in an untagged Ethernet frame, or ``None`` if it is anything else, or not valid by RFC 4861 section 7.1.
    Padding is ignored."""
    if len(frame) < _MESSAGE_AT + _MESSAGE.size:
        return None
    _, sender_mac, ethertype = _ETHERNET.unpack_from(frame)
    version, length, protocol, hop_limit, *ends = _IPV6.unpack_from(frame, _ETHERNET.size)
    if (ethertype, version >> 28, protocol, hop_limit) != (ETHERTYPE, 6, ICMPV6, _HOP_LIMIT):
        return None
    message = frame[_MESSAGE_AT : _MESSAGE_AT + length]
    sender, recipient = (IPv6Address(end) for end in ends)
    if not _MESSAGE.size <= length == len(message) or _checksum(message, sender, recipient):
        return None
    return _parse_message(message, sender_mac=sender_mac, sender=sender, recipient=recipient)


def _parse_message(
    message: bytes, *, sender_mac: bytes, sender: IPv6Address, recipient: IPv6Address
) -> NdpPacket | None:
    kind, code, _, flags, target_octets = _MESSAGE.unpack_from(message)
    target = IPv6Address(target_octets)
    options = list(_options(message[_MESSAGE.size :]))
    if kind not in _MAC_OPTIONS or code or target.is_multicast or None in options:
        return None
    return NdpPacket(
        kind=kind,
        sender_mac=sender_mac,
        sender=sender,
        recipient=recipient,
        target=target,
        mac=next((option[2:] for option in options if option and option[:2] == bytes([_MAC_OPTIONS[kind], 1])), None),
        flags=flags,
    )


def _options(octets: bytes) -> Iterator[bytes | None]:
    """Each option whole, with its type and its length in units of 8 octets; ``None`` for one that is malformed."""
    while octets:
        size = octets[1] * 8 if len(octets) > 1 else 0
        if not 0 < size <= len(octets):
            yield None
            return
        yield octets[:size]
        octets = octets[size:]


def _checksum(message: bytes, sender: IPv6Address, recipient: IPv6Address) -> int:
    return transport_checksum(message, source=sender, destination=recipient, protocol=ICMPV6)
