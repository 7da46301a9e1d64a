"""Which part of a pool's new connections goes to somebody else when its slots do. Pure.

The program takes a connection's hash, 32 bits, times the number of slots, and the upper half of that is the slot
(``owner_of_slot`` in ``ebpf/select.h``). So a slot stands for a range of hashes, and two tables of different sizes can be laid
over each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lbctl.core.tables import Slots

HASHES = 1 << 32

Moved = Mapping[tuple[int, int], float]
"""Parts (0 to 1) of all new connections by the references of who had them and of who gets them."""


def moved(before: Slots, after: Slots) -> Moved:
    """What changes hands, the largest part first. The tables are not empty."""
    widths, was, is_now = _overlaid(before, after)
    at = was != is_now
    pairs, which = np.unique(was[at].astype(np.uint64) << np.uint64(32) | is_now[at], return_inverse=True)
    hashes = np.bincount(which, weights=widths[at], minlength=len(pairs))
    order = np.argsort(-hashes, kind="stable")
    total = float(widths.sum())
    return {(int(pairs[i]) >> 32, int(pairs[i]) & 0xFFFF_FFFF): float(hashes[i]) / total for i in order}


def shares(slots: Slots) -> Mapping[int, float]:
    """Each owner's part (0 to 1), by its reference."""
    owners, counts = np.unique(slots, return_counts=True)
    return {int(owner): int(count) / len(slots) for owner, count in zip(owners, counts, strict=True)}


def _overlaid(before: Slots, after: Slots) -> tuple[NDArray[np.float64], Slots, Slots]:
    """Ranges of hashes within which neither table changes its owner: their widths, and the owners. Where the sizes are equal
    each slot is one, of one width: that a few of them are a hash wider than the others is of no account."""
    if len(before) == len(after):
        return np.ones(len(before)), before, after
    begins = np.union1d(_begins(len(before)), _begins(len(after)))
    widths = np.diff(np.append(begins, HASHES)).astype(np.float64)
    return widths, before[_slot(begins, len(before))], after[_slot(begins, len(after))]


def _begins(size: int) -> NDArray[np.int64]:
    """The first hash of each slot."""
    return -(-np.arange(size, dtype=np.int64) * HASHES // size)


def _slot(hashes: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    return hashes * size >> 32
