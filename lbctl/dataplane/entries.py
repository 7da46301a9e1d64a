"""Many entries of a map, one call of the kernel after the other: each is looked at on its own, for the program may change it
meanwhile."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.dataplane.bpf import checked, library

_NEW = 1  # BPF_NOEXIST: insert, never update
_EXISTING = 2  # BPF_EXIST: update, never insert
_NOT_INSERTED = (errno.EEXIST, errno.E2BIG)


def lookup_each(fd: int, keys: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Read the entries that there are into ``values``, one after the other; returns which there are, and ``values``; shapes
    (n,). Both arrays contiguous."""
    lookup_raw, found = library().bpf_map_lookup_elem, np.zeros(len(keys), np.bool_)
    for i in range(len(keys)):
        result = lookup_raw(fd, keys.ctypes.data + i * keys.itemsize, values.ctypes.data + i * values.itemsize)
        if result != -errno.ENOENT:
            checked(result, "reading a map entry")
            found[i] = True
    return found, values


def delete_unchanged(fd: int, keys: NDArray[Any], values: NDArray[Any]) -> NDArray[np.bool_]:
    """Delete those entries that still have these values, one after the other; returns which, shape (n,). Both arrays
    contiguous."""
    held, deleted = np.zeros(1, values.dtype), np.zeros(len(keys), np.bool_)
    lookup_raw, delete_raw = library().bpf_map_lookup_elem, library().bpf_map_delete_elem
    expected, held_at, size = values.tobytes(), held.ctypes.data, values.itemsize
    key_at = keys.ctypes.data
    for i, at in enumerate(range(0, len(expected), size)):
        if lookup_raw(fd, key_at, held_at) == 0 and held.tobytes() == expected[at : at + size]:
            deleted[i] = delete_raw(fd, key_at) == 0
        key_at += keys.itemsize
    return deleted


def update_unchanged(fd: int, keys: NDArray[Any], values: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
    """Write ``wanted`` where entries still have ``values``, one after the other; returns which, shape (n,). All arrays
    contiguous."""
    held, written = np.zeros(1, values.dtype), np.zeros(len(keys), np.bool_)
    lookup_raw, update_raw = library().bpf_map_lookup_elem, library().bpf_map_update_elem
    for i, expected in enumerate(values):
        key_at = keys.ctypes.data + i * keys.itemsize
        if lookup_raw(fd, key_at, held.ctypes.data) == 0 and held.tobytes() == expected.tobytes():
            written[i] = update_raw(fd, key_at, wanted.ctypes.data + i * wanted.itemsize, _EXISTING) == 0
    return written


def insert_each(fd: int, keys: NDArray[Any], values: NDArray[Any]) -> NDArray[np.int32]:
    """Write the entries whose keys are not there yet, one after the other; returns what became of each, shape (n,): 0, or
    EEXIST, or E2BIG if the map is full. Both arrays contiguous."""
    update_raw, outcomes = library().bpf_map_update_elem, np.zeros(len(keys), np.int32)
    for i in range(len(keys)):
        key_at, value_at = keys.ctypes.data + i * keys.itemsize, values.ctypes.data + i * values.itemsize
        outcomes[i] = -update_raw(fd, key_at, value_at, _NEW)
        if outcomes[i] not in _NOT_INSERTED:
            checked(-int(outcomes[i]), "writing a map entry")
    return outcomes
