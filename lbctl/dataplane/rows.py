"""Between the rows of `lbctl.core.tables` and the entries of the maps. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from ipaddress import IPv4Address
from operator import or_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.core.model import OnEmpty, Protocol
from lbctl.core.tables import BackendRow, BackendState, InterfaceRow, PoolRow, ServiceKey
from lbctl.dataplane.layout import FILTER_WORDS, SERVICE_PROBES
from lbctl.errors import LayoutError

_MAC_BYTES = 6
_MAC_MASK = (1 << 48) - 1
_STATES = frozenset(BackendState)
_ON_EMPTY = (OnEmpty.RESET, OnEmpty.DROP)
_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}


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


def link_word(row: BackendRow) -> int:
    """``struct backend.link``: MAC and generation."""
    return mac_word(row.mac) | row.generation << 48


def backend_row(entry: Any, connections: Any) -> BackendRow:
    """A row from one element of each of the two shared arrays."""
    link = int(entry["link"])
    if int(entry["state"]) not in _STATES:
        raise _unknown(f"a backend in state {int(entry['state'])}")
    return BackendRow(
        generation=link >> 48,
        identity=int(entry["identity"]),
        address=IPv4Address(int(entry["address"])),
        state=BackendState(int(entry["state"])),
        mac=mac_bytes(link),
        limit=int(connections["limit"]) if entry["is_limited"] else 0,
        resume=int(connections["resume"]) if entry["is_limited"] else 0,
    )


def table_word(row: PoolRow) -> int:
    """``struct pool.table``: base and size."""
    return row.base | row.size << 32


def pool_row(entry: Any) -> PoolRow:
    """A row from one element of the shared array."""
    table = int(entry["table"])
    return PoolRow(
        identity=int(entry["identity"]),
        base=table & 0xFFFFFFFF,
        size=table >> 32,
        on_empty=_ON_EMPTY[int(entry["on_empty"])],
        is_private=bool(entry["is_private"]),
    )


def on_empty_number(on_empty: OnEmpty) -> int:
    """``enum lb_on_empty``."""
    return _ON_EMPTY.index(on_empty)


def interface_entry(ifindex: int, row: InterfaceRow) -> tuple[int, int, int]:
    """``struct interface``."""
    return mac_word(row.mac), ifindex, int(row.address)


def interface_row(entry: Any) -> InterfaceRow:
    """A row from one entry."""
    return InterfaceRow(mac=mac_bytes(int(entry["mac"])) or bytes(6), address=IPv4Address(int(entry["address"])))


def service_word(key: ServiceKey) -> int:
    """``struct service.key``: VIP, port, protocol and a zero as they lie in memory."""
    port = key.port.to_bytes(2, "big")
    return int.from_bytes(key.vip.packed + port + bytes((key.protocol.number, 0)), "little")


def service_key(word: int) -> ServiceKey:
    """The reverse of `service_word`."""
    raw = word.to_bytes(8, "little")
    protocol = _PROTOCOLS.get(raw[6])
    if protocol is None:
        raise _unknown(f"a service with protocol number {raw[6]}")
    return ServiceKey(vip=IPv4Address(raw[:4]), port=int.from_bytes(raw[4:6], "big"), protocol=protocol)


def service_home(word: int) -> int:
    """The first row that may hold a key: ``hash_service`` of ``ebpf/hash.h``."""
    return (((word ^ word >> 32) & 0xFFFFFFFF) * 0x9E3779B1 & 0xFFFFFFFF) >> 17


def service_place(words: NDArray[np.uint64], word: int) -> int | None:
    """The row that holds a key among all rows' keys, else the first free one of those that may, else ``None``."""
    home = service_home(word)
    candidates = [(home + probe) % len(words) for probe in range(SERVICE_PROBES)]
    holding = [row for row in candidates if int(words[row]) == word]
    free = [row for row in candidates if not words[row]]
    return next(iter(holding + free), None)


def filter_bit(vip: IPv4Address) -> tuple[int, int]:
    """(word, bit) of an address in ``lb_vip_filter``: ``hash_address`` of ``ebpf/hash.h``, over the address as it lies in
    memory."""
    in_memory = int.from_bytes(vip.packed, "little")
    bit = ((in_memory * 0x9E3779B1) & 0xFFFFFFFF) >> 16
    return bit >> 6, bit & 63


def filter_word(word: int, vips: Iterable[IPv4Address]) -> int:
    """One word of the filter for a set of VIPs."""
    bits = (bit for at, bit in map(filter_bit, vips) if at == word)
    return reduce(or_, (1 << bit for bit in bits), 0)


def filter_words(vips: Iterable[IPv4Address]) -> NDArray[np.uint64]:
    """The whole filter for a set of VIPs; shape (FILTER_WORDS,)."""
    words = np.zeros(FILTER_WORDS, np.uint64)
    for word, bit in map(filter_bit, vips):
        words[word] |= np.uint64(1 << bit)
    return words
