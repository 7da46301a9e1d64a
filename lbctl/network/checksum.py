"""The Internet checksum (RFC 1071), and the pseudo-header that transports put before their own. Pure."""

from __future__ import annotations

import struct

from lbctl.core.model import Address


def checksum(octets: bytes) -> int:
    """The one's complement of the one's complement sum of the 16-bit words; an odd octet is padded with zero."""
    octets += bytes(len(octets) % 2)
    total: int = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def transport_checksum(payload: bytes, *, source: Address, destination: Address, protocol: int) -> int:
    """Of a TCP segment or ICMPv6 message, whose own checksum field is zero; 0 if that field holds the right one.

    The pseudo-headers of IPv4 (RFC 9293 section 3.1) and of IPv6 (RFC 8200 section 8.1) differ in zeros only, which do not
    count, as long as the payload is shorter than 64 KiB.
    """
    pseudo_header = source.packed + destination.packed + struct.pack(">HH", protocol, len(payload))
    return checksum(pseudo_header + payload)
