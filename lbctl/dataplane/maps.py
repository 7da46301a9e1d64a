"""Typed access to one map: single entries, whole tables in batches, and memory that user space shares with the program."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.dataplane import bpf, entries
from lbctl.dataplane.mapspec import MapSpec

BATCH = 16_384


class HashMap:
    """A hash map's entries. Keys and values are 1-element arrays, or n-element arrays in batches, of the spec's dtypes."""

    def __init__(self, fd: int, spec: MapSpec) -> None:
        self._fd = fd
        self._spec = spec

    def close_when_unused(self) -> None:
        """Close the descriptor once nobody has this object any more."""
        weakref.finalize(self, os.close, self._fd)

    @property
    def key(self) -> np.dtype[Any]:
        """Of its keys."""
        return self._spec.key

    @property
    def value(self) -> np.dtype[Any]:
        """Of its values."""
        return self._spec.value

    @property
    def max_entries(self) -> int:
        """How many entries there is room for."""
        return self._spec.max_entries

    def set(self, key: tuple[Any, ...] | int, value: tuple[Any, ...] | int) -> None:
        """Write one entry."""
        bpf.update(self._fd, np.array([key], self._spec.key), np.array([value], self._spec.value))

    def set_all(self, keys: NDArray[Any], values: NDArray[Any]) -> None:
        """Write many entries."""
        bpf.update_batch(self._fd, np.ascontiguousarray(keys), np.ascontiguousarray(values))

    def add_all(self, keys: NDArray[Any], values: NDArray[Any]) -> NDArray[np.int32]:
        """Write the entries whose keys are not there yet; returns what became of each, shape (n,): 0, or EEXIST, or E2BIG if
        there is no room."""
        return entries.insert_each(self._fd, np.ascontiguousarray(keys), np.ascontiguousarray(values))

    def get(self, key: tuple[Any, ...] | int) -> NDArray[Any] | None:
        """One entry's value, shape (1,), or ``None``."""
        value = np.zeros(1, self._spec.value)
        return value if bpf.lookup(self._fd, np.array([key], self._spec.key), value) else None

    def find_all(self, keys: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Which of these keys are there, and their values (zeros where there is none); shapes (n,)."""
        return entries.lookup_each(self._fd, np.ascontiguousarray(keys), np.zeros(len(keys), self._spec.value))

    def remove(self, key: tuple[Any, ...] | int) -> None:
        """Delete one entry; none is no fault."""
        bpf.delete(self._fd, np.array([key], self._spec.key))

    def remove_all(self, keys: NDArray[Any]) -> None:
        """Delete many entries."""
        if len(keys):
            bpf.delete_batch(self._fd, np.ascontiguousarray(keys))

    def remove_unchanged(self, keys: NDArray[Any], values: NDArray[Any]) -> NDArray[np.bool_]:
        """Delete the entries that still have these values; returns which, shape (n,)."""
        return entries.delete_unchanged(self._fd, np.ascontiguousarray(keys), np.ascontiguousarray(values))

    def replace_unchanged(self, keys: NDArray[Any], values: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
        """Write ``wanted`` where entries still have ``values``; returns which, shape (n,)."""
        arrays = (np.ascontiguousarray(array) for array in (keys, values, wanted))
        return entries.update_unchanged(self._fd, *arrays)

    def batches(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """All entries as (keys, values) arrays of equal length."""
        cursor = np.zeros(max(2, -(-self._spec.key.itemsize // 8)), np.uint64)  # of some maps it is a key
        size = min(BATCH, max(self._spec.max_entries, 1))
        first = True
        while True:
            keys, values = np.zeros(size, self._spec.key), np.zeros(size, self._spec.value)
            count = bpf.lookup_batch(self._fd, keys, values, cursor=cursor, first=first)
            first = False
            found = count if count >= 0 else -1 - count
            if found:
                yield keys[:found], values[:found]
            if count < 0:
                return


class PerCpuArray:
    """Counters that the program keeps for each CPU."""

    def __init__(self, fd: int, spec: MapSpec) -> None:
        self._fd = fd
        self._spec = spec
        self._buffer = np.zeros(possible_cpus(), spec.value)

    def totals(self, indices: Sequence[int]) -> list[dict[str, int]]:
        """The fields of these rows, each summed over the CPUs."""
        keys = np.array(indices, self._spec.key)
        values = np.zeros((len(keys), len(self._buffer)), self._spec.value)
        for key, row in zip(keys[:, None], values, strict=True):
            bpf.lookup(self._fd, key, row)
        names = self._spec.value.names or ()
        columns = (values[name].sum(axis=1).tolist() for name in names)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def clear(self, index: int) -> None:
        """Zero one row."""
        bpf.update(self._fd, np.array([index], self._spec.key), np.zeros_like(self._buffer))


def possible_cpus() -> int:
    """How many CPUs the kernel keeps per-CPU values for: the last number of a list such as ``0-3`` or ``0,2-5``, plus one."""
    text = Path("/sys/devices/system/cpu/possible").read_text()
    return int(text.replace(",", "-").split("-")[-1]) + 1


def shared_array(fd: int, spec: MapSpec) -> NDArray[Any]:
    """An mmapable array as the program sees it, shape (max_entries,). A store to one aligned word is atomic and needs no
    system call. Array values lie 8 bytes apart at least: a 4-byte value gets a view that skips the padding."""
    stride = -(-spec.value.itemsize // 8) * 8
    length = -(-spec.max_entries * stride // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    return np.ndarray((spec.max_entries,), spec.value, memory, strides=(stride,))


def told(fd: int, name: str) -> int:
    """A number that the kernel tells of a descriptor in ``/proc/self/fdinfo``; 0 if it does not, or if the descriptor is
    closed: one may ask while the program is exchanged in another thread, and some tables with it."""
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def memory_of(fd: int) -> int:
    """Bytes of kernel memory that a map takes, as the kernel accounts it (``memlock`` of fdinfo)."""
    return told(fd, "memlock")
