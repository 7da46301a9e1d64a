"""Between the rows of `lbctl.core.tables` and the entries of the maps. Pure."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache, reduce
from ipaddress import IPv4Address, IPv6Address
from operator import or_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.core.model import Address, OnEmpty, Protocol
from lbctl.core.tables import BackendRow, BackendState, InterfaceRow, Lan, PoolRow, ServiceKey
from lbctl.dataplane.addresses import narrow, words_of
from lbctl.dataplane.layout import FILTER_WORDS, INTERFACE_PROBES, SERVICE_PROBES
from lbctl.errors import LayoutError

_MAC_BYTES = 6
_MAC_MASK = (1 << 48) - 1
_WORD_MASK = (1 << 32) - 1
_FIBONACCI = 0x9E3779B1
_FILTER_FACTORS = (_FIBONACCI, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F)
_STATES = frozenset(BackendState)
_ON_EMPTY = (OnEmpty.RESET, OnEmpty.DROP)
_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}
_FAMILY_BYTES = {4: 0, 6: 6}
"""The last byte of a service's key, by the VIP's version."""


def _unknown(what: str) -> LayoutError:
    return LayoutError(
        f"the pinned tables hold {what}, which this lbctl does not know",
        hint="they were written by another version: `lbctl detach` (which ends all connections), then start again",
    )


def mac_word(mac: bytes | None) -> int:
    """A MAC's six bytes as they stand in a frame, as the low 48 bits of a word; ``None`` is 0."""
    return int.from_bytes(mac or b"", "little")


def mac_bytes(word: int) -> bytes | None:
    """The reverse of `mac_word`."""
    mac = (word & _MAC_MASK).to_bytes(_MAC_BYTES, "little")
    return mac if any(mac) else None


def lan_word(lan: Lan) -> int:
    """``lan_word`` of ``ebpf/types.h``."""
    return lan.ifindex | lan.vlan << 32


def lan_of(word: int) -> Lan:
    """The reverse of `lan_word`."""
    return Lan(word & _WORD_MASK, word >> 32)


def link_word(row: BackendRow) -> int:
    """``struct backend.link``: MAC and generation."""
    return mac_word(row.mac) | row.generation << 48


def backend_row(entry: Any, *, limit: int, resume: int) -> BackendRow:
    """A row from one element of the shared array; the limits stand in another one, and mean something only if it says so."""
    link = int(entry["link"])
    if int(entry["state"]) not in _STATES:
        raise _unknown(f"a backend in state {int(entry['state'])}")
    return BackendRow(
        generation=link >> 48,
        identity=int(entry["identity"]),
        address=narrow(entry["address"].tobytes()),
        lan=lan_of(int(entry["lan"])),
        state=BackendState(int(entry["state"])),
        mac=mac_bytes(link),
        limit=limit if entry["is_limited"] else 0,
        resume=resume if entry["is_limited"] else 0,
    )


def table_word(row: PoolRow) -> int:
    """``struct pool.table``: base and size."""
    return row.base | row.size << 32


def pool_row(entry: Any) -> PoolRow:
    """A row from one element of the shared array."""
    table = int(entry["table"])
    return PoolRow(
        identity=int(entry["identity"]),
        base=table & _WORD_MASK,
        size=table >> 32,
        on_empty=_ON_EMPTY[int(entry["on_empty"])],
        is_private=bool(entry["is_private"]),
    )


def on_empty_number(on_empty: OnEmpty) -> int:
    """``enum lb_on_empty``."""
    return _ON_EMPTY.index(on_empty)


def interface_entry(lan: Lan, row: InterfaceRow) -> tuple[Any, ...]:
    """``struct interface``."""
    address6 = (row.address6 or IPv6Address(0)).packed
    return lan_word(lan), mac_word(row.mac), int(row.address or 0), 0, words_of(address6)


def interface_row(entry: Any) -> InterfaceRow:
    """A row from one entry."""
    own, own6 = int(entry["address4"]), IPv6Address(entry["address6"].tobytes())
    return InterfaceRow(
        mac=mac_bytes(int(entry["mac"])) or bytes(_MAC_BYTES),
        address=IPv4Address(own) if own else None,
        address6=own6 if int(own6) else None,
    )


def vip_number(vip: Address) -> int:
    """What stands for a VIP in 32 bits: of IPv4 the address as it lies in memory, of IPv6 a hash of it, never 0."""
    if isinstance(vip, IPv4Address):
        return int.from_bytes(vip.packed, "little")
    return int.from_bytes(hashlib.blake2b(vip.packed, digest_size=4).digest(), "little") or 1


def service_word(key: ServiceKey) -> int:
    """``struct service.key``: VIP (or its number), port, protocol and family as they lie in memory."""
    vip = vip_number(key.vip).to_bytes(4, "little")
    family = _FAMILY_BYTES[key.vip.version]
    return int.from_bytes(vip + key.port.to_bytes(2, "big") + bytes((key.protocol.number, family)), "little")


def service_key(word: int, vip6_of: Callable[[int], IPv6Address]) -> ServiceKey:
    """The reverse of `service_word`; ``vip6_of`` knows which VIP a number stands for."""
    return _service_key(word, vip6_of(word & _WORD_MASK) if is_service6(word) else None)


@lru_cache(maxsize=1 << 13)
def _service_key(word: int, vip6: IPv6Address | None) -> ServiceKey:
    """Remembered: there may be thousands, and they are read back at each change."""
    raw = word.to_bytes(8, "little")
    protocol = _PROTOCOLS.get(raw[6])
    if protocol is None or raw[7] not in _FAMILY_BYTES.values():
        raise _unknown(f"a service with protocol number {raw[6]} of family {raw[7]}")
    return ServiceKey(vip=vip6 or IPv4Address(raw[:4]), port=int.from_bytes(raw[4:6], "big"), protocol=protocol)


def is_service6(word: int) -> bool:
    """Whether a service's key has the number of an IPv6 VIP."""
    return word >> 56 == _FAMILY_BYTES[6]


def _folded(word: int) -> int:
    """Fibonacci hashing of a word to 32 bits."""
    return ((word ^ word >> 32) & _WORD_MASK) * _FIBONACCI & _WORD_MASK


def service_home(word: int) -> int:
    """The first row that may hold a key: ``hash_service`` of ``ebpf/hash.h``."""
    return _folded(word) >> 17


def interface_home(word: int) -> int:
    """The first row that may hold a segment: ``hash_lan`` of ``ebpf/hash.h``."""
    return _folded(word) >> 22


def _place(words: NDArray[np.uint64], word: int, home: int, probes: int) -> int | None:
    """The row that holds a word among all rows' words, else the first free one of those that may, else ``None``."""
    candidates = [(home + probe) % len(words) for probe in range(probes)]
    holding = [row for row in candidates if int(words[row]) == word]
    free = [row for row in candidates if not words[row]]
    return next(iter(holding + free), None)


def service_place(words: NDArray[np.uint64], word: int) -> int | None:
    """Where a service's key stands among all rows' keys, or is to stand; ``None``: there is no room."""
    return _place(words, word, service_home(word), SERVICE_PROBES)


def interface_place(words: NDArray[np.uint64], word: int) -> int | None:
    """Where a segment stands among all rows' segments, or is to stand; ``None``: there is no room."""
    return _place(words, word, interface_home(word), INTERFACE_PROBES)


def filter_bit(vip: Address) -> tuple[int, int]:
    """(word, bit) of an address in ``lb_vip_filter``: ``hash_address4`` and ``hash_address6`` of ``ebpf/hash.h``, over the
    32-bit words of the address as they lie in memory."""
    in_memory = struct.unpack(f"<{len(vip.packed) // 4}I", vip.packed)
    hashed = sum(word * factor for word, factor in zip(in_memory, _FILTER_FACTORS, strict=False))
    bit = (hashed & _WORD_MASK) >> 16
    return bit >> 6, bit & 63


def filter_word(vips: Iterable[Address]) -> int:
    """One word of the filter, for the VIPs whose bits are in it."""
    return reduce(or_, (1 << bit for _, bit in map(filter_bit, vips)), 0)


def filter_words(vips: Iterable[Address]) -> NDArray[np.uint64]:
    """The whole filter for a set of VIPs; shape (FILTER_WORDS,)."""
    words = np.zeros(FILTER_WORDS, np.uint64)
    for word, bit in map(filter_bit, vips):
        words[word] |= np.uint64(1 << bit)
    return words
