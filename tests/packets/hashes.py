"""Twins in Python of the program's hashes (``ebpf/hash.h``)."""

from __future__ import annotations

from ipaddress import IPv4Address

_MASK = (1 << 64) - 1


def hash_flow(client: IPv4Address, vip: IPv4Address, client_port: int, vip_port: int, *, seed: int = 0) -> int:
    """``hash_flow``: the words as a little-endian machine loads them from the packet."""
    h = (int.from_bytes(client.packed, "little") << 32 | int.from_bytes(vip.packed, "little")) ^ seed
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & _MASK
    h ^= h >> 33
    h = h + (_swapped(client_port) << 16 | _swapped(vip_port)) & _MASK
    h = h * 0xC4CEB9FE1A85EC53 & _MASK
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & _MASK
    return h ^ h >> 33


def hash_datagram(client: IPv4Address, vip: IPv4Address, identification: int, protocol: int) -> int:
    """``hash_datagram`` of ``ebpf/fragment.h``: the protocol, a single byte, stands where a port's first byte does."""
    return hash_flow(client, vip, identification, protocol << 8)


def hash_source(client: IPv4Address, *, seed: int = 0) -> int:
    """``hash_source``, 32 bits."""
    h = int.from_bytes(client.packed, "little") ^ seed
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & _MASK
    h ^= h >> 33
    return (h * 0xC4CEB9FE1A85EC53 & _MASK) >> 32


def slot_of(flow_hash: int, size: int) -> int:
    """Which of a pool's slots a flow falls into."""
    return (flow_hash >> 32) * size >> 32


def _swapped(port: int) -> int:
    return int.from_bytes(port.to_bytes(2, "big"), "little")
