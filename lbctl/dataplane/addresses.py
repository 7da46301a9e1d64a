"""Addresses between `ipaddress` objects and the big-endian 32-bit words that map keys and rows hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.core.model import Address

_MAPPED = b"\0" * 10 + b"\xff\xff"
"""What an IPv4 address has before it in 128 bits (RFC 4291 section 2.5.5.2)."""
_WORD_BYTES = 4
_WIDE_BYTES = 16

Words = tuple[int, ...]


def words_of(packed: bytes) -> Words:
    """Bytes as they lie in memory, as the 32-bit numbers that a big-endian field of so many takes."""
    return tuple(int.from_bytes(packed[at : at + _WORD_BYTES], "big") for at in range(0, len(packed), _WORD_BYTES))


def address_field(address: Address) -> int | Words:
    """What a map key of the address's family holds: one number, or four."""
    return int(address) if isinstance(address, IPv4Address) else words_of(address.packed)


def wide_words(address: Address) -> Words:
    """The four words of a field that holds either family."""
    return words_of((_MAPPED + address.packed)[-_WIDE_BYTES:])


def narrow(packed: bytes) -> Address:
    """The reverse of `wide_words`, from the 16 bytes in memory."""
    return IPv4Address(packed[len(_MAPPED) :]) if packed.startswith(_MAPPED) else IPv6Address(packed)


def decoded(column: NDArray[Any]) -> list[Address]:
    """The addresses of a field of map keys: shape (n,) of IPv4, (n, 4) of IPv6."""
    if column.ndim == 1:
        return list(map(IPv4Address, column.tolist()))
    raw = np.ascontiguousarray(column).tobytes()
    return [IPv6Address(raw[at : at + _WIDE_BYTES]) for at in range(0, len(raw), _WIDE_BYTES)]


def count_by_address(column: NDArray[Any]) -> Mapping[Address, int]:
    """How often each address stands in such a field."""
    _, first, counts = np.unique(_numbered(column), return_index=True, return_counts=True)
    return dict(zip(decoded(column[first]), counts.tolist(), strict=True))


def _numbered(column: NDArray[Any]) -> NDArray[Any]:
    """A number for each address, the same for the same ones: of IPv6 out of one for each half."""
    if column.ndim == 1:
        return column
    halves = np.ascontiguousarray(column).view(np.uint64)
    upper, lower = (np.unique(half, return_inverse=True)[1] for half in halves.T)
    return upper * len(halves) + lower
