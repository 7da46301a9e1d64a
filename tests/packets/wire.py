"""What a frame says, read byte by byte: the oracle's eyes."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from lbctl.core.model import Protocol

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
ICMP, TCP, UDP = 1, 6, 17
TRANSPORT_BYTES = {ICMP: 8, TCP: 20, UDP: 8}
ICMP_ERRORS = {3, 4, 11, 12}
PROTOCOLS = {TCP: Protocol.TCP, UDP: Protocol.UDP}


@dataclass(frozen=True, slots=True)
class Ipv4:
    """An IPv4 packet, or as much of one as is there: at least its fixed 20 bytes, which may be full of lies."""

    data: bytes

    @property
    def header_bytes(self) -> int:
        return (self.data[0] & 0xF) * 4

    @property
    def total_bytes(self) -> int:
        return int.from_bytes(self.data[2:4], "big")

    @property
    def identification(self) -> int:
        return int.from_bytes(self.data[4:6], "big")

    @property
    def is_first_fragment(self) -> bool:
        return int.from_bytes(self.data[6:8], "big") & 0x3FFF == 0x2000

    @property
    def is_later_fragment(self) -> bool:
        return int.from_bytes(self.data[6:8], "big") & 0x1FFF != 0

    @property
    def protocol(self) -> int:
        return self.data[9]

    @property
    def source(self) -> IPv4Address:
        return IPv4Address(self.data[12:16])

    @property
    def destination(self) -> IPv4Address:
        return IPv4Address(self.data[16:20])

    @property
    def transport(self) -> bytes:
        """All that stands behind the header and its options."""
        return self.data[self.header_bytes :]

    @property
    def ports(self) -> tuple[int, int]:
        """(source, destination)"""
        return int.from_bytes(self.transport[:2], "big"), int.from_bytes(self.transport[2:4], "big")

    @property
    def has_sane_header(self) -> bool:
        return self.data[0] >> 4 == 4 and self.header_bytes >= 20 and self.total_bytes >= self.header_bytes

    @property
    def has_whole_transport_header(self) -> bool:
        """Of the protocols that are looked into; by the total length and in truth."""
        needed = self.header_bytes + TRANSPORT_BYTES.get(self.protocol, 0)
        return min(self.total_bytes, len(self.data)) >= needed

    @property
    def quoted(self) -> Ipv4 | None:
        """The packet that an ICMP error is about, if it is quoted up to its ports."""
        quoted = self.transport[8:]
        if len(quoted) < 20 or quoted[0] >> 4 != 4:
            return None
        packet = Ipv4(quoted)
        is_whole = packet.header_bytes >= 20 and len(packet.transport) >= 8
        return packet if is_whole and not packet.is_later_fragment else None


def ipv4_in(frame: bytes) -> Ipv4 | None:
    """The IPv4 packet of a frame, if there is the fixed part of a header."""
    return Ipv4(frame[14:]) if len(frame) >= 34 and frame[12:14] == b"\x08\x00" else None
