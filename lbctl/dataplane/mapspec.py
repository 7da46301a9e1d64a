"""What a BPF map is, as far as it must agree on both sides: its type, flags, size, and the fields of its keys and values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np


class MapType(IntEnum):
    """``enum bpf_map_type``, as far as it is used."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERCPU_ARRAY = 6
    LPM_TRIE = 11
    DEVMAP = 14
    RINGBUF = 27


NO_PREALLOC = 1 << 0
"""``BPF_F_NO_PREALLOC``."""
MMAPABLE = 1 << 10
"""``BPF_F_MMAPABLE``."""


_ROW = np.dtype("<u4")


def struct(*fields: tuple[str, str] | tuple[str, str, int]) -> np.dtype[Any]:
    """A dtype without implicit padding: in types.h all padding is explicit."""
    return np.dtype(list(fields))


def fields_of(dtype: np.dtype[Any]) -> list[list[Any]]:
    """``[[name, offset, size], …]`` in bytes; empty for a scalar. The build child speaks the same form."""
    if dtype.fields is None:
        return []
    return [[name, offset, field.itemsize] for name, (field, offset, *_) in dtype.fields.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSpec:
    """One map: what ``ebpf/maps.h`` declares, and the number of entries it is created with.

    ``refers_to`` are the maps whose rows its entries name by number: with other rows, they would mean something else."""

    type: MapType
    key: np.dtype[Any]
    value: np.dtype[Any]
    max_entries: int
    flags: int = 0
    refers_to: tuple[MapSpec, ...] = ()

    @property
    def layout_id(self) -> str:
        """Eight hex digits of everything that must agree before a pinned map may be used again."""
        text = repr((int(self.type), self.flags, self.max_entries, fields_of(self.key), fields_of(self.value)))
        text += f" {self.key.itemsize} {self.value.itemsize}" + "".join(f" {m.layout_id}" for m in self.refers_to)
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


Specs = tuple[MapSpec, ...]


def array(value: np.dtype[Any], max_entries: int, *, flags: int = 0, refers_to: Specs = ()) -> MapSpec:
    """By row."""
    return MapSpec(type=MapType.ARRAY, key=_ROW, value=value, max_entries=max_entries, flags=flags, refers_to=refers_to)


def per_cpu(value: np.dtype[Any], max_entries: int, *, refers_to: Specs = ()) -> MapSpec:
    """By row, on each CPU apart."""
    return MapSpec(type=MapType.PERCPU_ARRAY, key=_ROW, value=value, max_entries=max_entries, refers_to=refers_to)


def hash_table(key: np.dtype[Any], value: np.dtype[Any], max_entries: int, *, refers_to: Specs = ()) -> MapSpec:
    """By key; preallocated."""
    return MapSpec(type=MapType.HASH, key=key, value=value, max_entries=max_entries, refers_to=refers_to)


def trie(key: np.dtype[Any], value: np.dtype[Any], max_entries: int, *, refers_to: Specs = ()) -> MapSpec:
    """By the longest prefix of a key."""
    return MapSpec(
        type=MapType.LPM_TRIE, key=key, value=value, max_entries=max_entries, flags=NO_PREALLOC, refers_to=refers_to
    )
