"""Frames as the oracle sees them: read from the bytes on the wire by the RFCs, not through the program's eyes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from lbctl.core.model import Address, Protocol

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
TCP, UDP = 6, 17
PROTOCOLS = {TCP: Protocol.TCP, UDP: Protocol.UDP}

C_TAG, S_TAG = 0x8100, 0x88A8
"""IEEE 802.1Q: the TPIDs of customers' and of providers' tags."""
IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
SHORTEST_FRAME = 22
"""What is shorter than an Ethernet header with two tags is nothing of ours."""
MULTICAST = 0x01
"""In the first byte of a MAC."""

HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS = 0, 43, 44, 51, 60
EXTENSIONS = {HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS}
MOST_EXTENSIONS = 6
IPV4_BYTES, IPV6_BYTES = 20, 40
ICMP = {4: 1, 6: 58}
"""Protocol numbers, by the version of IP."""
ECHO, ECHO_REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
ICMP_ERRORS = {4: {3, 4, 11, 12}, 6: {1, 2, 3, 4}}


class Tag(NamedTuple):
    """A VLAN tag: its TPID, then priority (3 bits), drop eligible indicator (1) and VLAN id (12)."""

    tpid: int
    control: int

    @property
    def vlan(self) -> int:
        return self.control & 0xFFF


@dataclass(frozen=True)
class Frame:
    """An Ethernet frame with at most two VLAN tags."""

    data: bytes

    @property
    def destination(self) -> bytes:
        return self.data[:6]

    @property
    def source(self) -> bytes:
        return self.data[6:12]

    @cached_property
    def tags(self) -> tuple[Tag, ...]:
        words = [int.from_bytes(self.data[at : at + 2], "big") for at in range(12, 20, 2)]
        first, second = Tag(*words[:2]), Tag(*words[2:])
        if first.tpid not in (C_TAG, S_TAG):
            return ()
        return (first, second) if second.tpid in (C_TAG, S_TAG) else (first,)

    @property
    def vlan(self) -> int:
        """As in `lbctl.core.tables.Lan`."""
        outer, inner = ([tag.vlan for tag in self.tags] + [0, 0])[:2]
        return outer << 12 | inner if len(self.tags) == 2 else outer

    @property
    def header_bytes(self) -> int:
        return 14 + 4 * len(self.tags)

    @property
    def type(self) -> int:
        """The EtherType behind the tags."""
        return int.from_bytes(self.data[self.header_bytes - 2 : self.header_bytes], "big")

    @property
    def payload(self) -> bytes:
        return self.data[self.header_bytes :]

    @cached_property
    def ip(self) -> Datagram | None:
        """The IP packet, if there is the fixed part of its header."""
        if self.type == IPV4 and len(self.payload) >= IPV4_BYTES:
            return ipv4(self.payload)
        return ipv6(self.payload) if self.type == IPV6 and len(self.payload) >= IPV6_BYTES else None


def frame_of(data: bytes) -> Frame | None:
    """``None`` for what is too short to be looked at."""
    return Frame(data) if len(data) >= SHORTEST_FRAME else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagram:
    """What the headers of an IP packet say, or of as much of one as is there. It may be full of lies."""

    data: bytes
    version: int
    source: Address
    destination: Address
    protocol: int
    header_bytes: int
    """With options and extension headers."""
    total_bytes: int
    identification: int
    is_first_fragment: bool
    """And there are others."""
    is_later_fragment: bool
    has_sane_header: bool

    @property
    def transport(self) -> bytes:
        """All that stands behind the headers of IP."""
        return self.data[self.header_bytes :]

    @property
    def ports(self) -> tuple[int, int]:
        """(source, destination)"""
        return int.from_bytes(self.transport[:2], "big"), int.from_bytes(self.transport[2:4], "big")

    @property
    def is_icmp(self) -> bool:
        return self.protocol == ICMP[self.version]

    @property
    def has_whole_transport_header(self) -> bool:
        """Of the protocols that are looked into; by the length that IP says and in truth."""
        needed = self.header_bytes + {TCP: 20, UDP: 8, ICMP[self.version]: 8}.get(self.protocol, 0)
        is_there = min(self.total_bytes, len(self.data)) >= needed
        return is_there and (self.protocol != TCP or self.has_believable_offset)

    @property
    def has_believable_offset(self) -> bool:
        """Whether the TCP header's own length covers its fixed part, and is covered by the packet's."""
        offset = (self.transport[12] >> 4) * 4
        return 20 <= offset <= self.total_bytes - self.header_bytes

    @property
    def quoted(self) -> Datagram | None:
        """The packet that an ICMP error is about, if it is quoted up to its ports."""
        data = self.transport[8:]
        if len(data) < (IPV4_BYTES if self.version == 4 else IPV6_BYTES) or data[0] >> 4 != self.version:
            return None
        packet = ipv4(data) if self.version == 4 else ipv6(data)
        is_whole = packet.header_bytes >= IPV4_BYTES and len(packet.transport) >= 8
        return packet if is_whole and not packet.is_later_fragment else None


def ipv4(data: bytes) -> Datagram:
    """RFC 791; at least the fixed 20 bytes."""
    header_bytes, total_bytes = (data[0] & 0xF) * 4, int.from_bytes(data[2:4], "big")
    fragment = int.from_bytes(data[6:8], "big")
    return Datagram(
        data=data,
        version=4,
        source=IPv4Address(data[12:16]),
        destination=IPv4Address(data[16:20]),
        protocol=data[9],
        header_bytes=header_bytes,
        total_bytes=total_bytes,
        identification=int.from_bytes(data[4:6], "big"),
        is_first_fragment=fragment & 0x3FFF == 0x2000,
        is_later_fragment=fragment & 0x1FFF != 0,
        has_sane_header=data[0] >> 4 == 4 and IPV4_BYTES <= header_bytes <= total_bytes,
    )


class Chain(NamedTuple):
    """What stands between an IPv6 header and the transport header; ``fragment`` is the fragment header, or zeros."""

    protocol: int
    header_bytes: int
    fragment: bytes


def chain_of(data: bytes) -> Chain | None:
    """RFC 8200 section 4. What follows the fragment header of a later fragment is payload. ``None``: the chain is cut off, or
    longer than anybody needs."""
    header, at, fragment = data[6], IPV6_BYTES, bytes(8)
    for position in range(MOST_EXTENSIONS + 1):
        if header not in EXTENSIONS or _offset(fragment):
            return Chain(header, at, fragment)
        extension = data[at : at + 8]
        if position == MOST_EXTENSIONS or len(extension) < 8:
            return None
        if header == FRAGMENT:
            fragment = extension
        at += _length(header, extension)
        header = extension[0]
    return None


def _length(header: int, extension: bytes) -> int:
    if header == FRAGMENT:
        return 8
    return (extension[1] + 2) * 4 if header == AUTHENTICATION else (extension[1] + 1) * 8


def _offset(fragment: bytes) -> int:
    return int.from_bytes(fragment[2:4], "big") & 0xFFF8


def ipv6(data: bytes) -> Datagram:
    """RFC 8200; at least the fixed 40 bytes. A first fragment that is the last one, too, is a whole packet (RFC 6946)."""
    chain, payload_bytes = chain_of(data), int.from_bytes(data[4:6], "big")
    protocol, header_bytes, fragment = chain or Chain(0, len(data), bytes(8))
    is_sane = chain is not None and data[0] >> 4 == 6 and payload_bytes > 0
    return Datagram(
        data=data,
        version=6,
        source=IPv6Address(data[8:24]),
        destination=IPv6Address(data[24:40]),
        protocol=protocol,
        header_bytes=header_bytes,
        total_bytes=IPV6_BYTES + payload_bytes,
        identification=int.from_bytes(fragment[4:], "big"),
        is_first_fragment=not _offset(fragment) and fragment[3] & 1 == 1,
        is_later_fragment=_offset(fragment) != 0,
        has_sane_header=is_sane and IPV6_BYTES + payload_bytes >= header_bytes,
    )
