"""Twins in Python of the program's hashes (``ebpf/hash.h``)."""

from __future__ import annotations

import struct

from lbctl.core.model import Address

_MASK = (1 << 64) - 1
_FIRST, _SECOND = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53
_ADDRESS_FACTORS = (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F)


def hash_flow(client: Address, vip: Address, client_port: int, vip_port: int, *, seed: int = 0) -> int:
    """``hash_flow4`` and ``hash_flow6``: the words as a little-endian machine loads them from the packet."""
    h = seed
    for word in _flow_words(client, vip):
        h = _mixed(h ^ word)
    h ^= h >> 33
    h = h + (_swapped(client_port) << 16 | _swapped(vip_port)) & _MASK
    h = _mixed(h * _SECOND & _MASK)
    return h ^ h >> 33


def _flow_words(client: Address, vip: Address) -> tuple[int, ...]:
    """Of IPv4 both addresses are one word, the VIP in its low half."""
    both = vip.packed + client.packed if vip.version == 4 else client.packed + vip.packed
    return struct.unpack(f"<{len(both) // 8}Q", both)


def hash_datagram(client: Address, vip: Address, identification: int, protocol: int) -> int:
    """``hash_datagram`` of ``ebpf/fragment.h``: identification and protocol stand where the ports do. Of IPv4 the protocol, a
    single byte, stands where a port's first byte does; of IPv6, whose identification is of 32 bits, there is none."""
    if vip.version == 4:
        return hash_flow(client, vip, identification, protocol << 8)
    return hash_flow(client, vip, identification >> 16, identification & 0xFFFF)


def hash_source(client: Address, *, seed: int = 0) -> int:
    """``hash_source4`` and ``hash_source6``, 32 bits."""
    words = struct.unpack("<I", client.packed) if client.version == 4 else struct.unpack("<2Q", client.packed)
    h = seed
    for word in words:
        h = _mixed(h ^ word)
    return ((h ^ h >> 33) * _SECOND & _MASK) >> 32


def filter_bit(address: Address) -> int:
    """``hash_address4`` and ``hash_address6``, 16 bits: an address's bit in ``lb_vip_filter``."""
    words: tuple[int, ...] = struct.unpack(f"<{len(address.packed) // 4}I", address.packed)
    return (sum(word * factor for word, factor in zip(words, _ADDRESS_FACTORS, strict=False)) & 0xFFFFFFFF) >> 16


def slot_of(flow_hash: int, size: int) -> int:
    """Which of a pool's slots a flow falls into."""
    return (flow_hash >> 32) * size >> 32


def _mixed(h: int) -> int:
    return (h ^ h >> 33) * _FIRST & _MASK


def _swapped(port: int) -> int:
    return int.from_bytes(port.to_bytes(2, "big"), "little")
