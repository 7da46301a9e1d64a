"""Connections between SYN and first ACK, as the program remembers them: see ``ebpf/recent.h``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

TICK = 8
"""A tick of an entry's time is 2^8 jiffies."""
TICKS = 64
"""Ticks; an older entry is not trusted, so its connection cannot be made any more where its SYN went."""


class HalfOpens:
    """``entries`` is the shared array of words, ``now`` reads jiffies."""

    def __init__(self, entries: NDArray[Any], *, now: Callable[[], int]) -> None:
        self._entries = entries
        self._now = now

    def by_backend(self, generations: NDArray[np.uint64]) -> Mapping[int, int]:
        """How many the first ACK may still complete, by backend id, of those that have any. ``generations`` are those that the
        ids are in by now; shape (backends,)."""
        words = self._entries[self._entries != 0]
        now = self._now() >> TICK  # read last: nothing is of later than now
        ids = np.minimum(words >> 16 & 0xFFFF, len(generations) - 1)
        is_fresh = (now - words & 0xFF) <= TICKS
        is_same = (words >> 8 & 0xFF) == (generations[ids] & 0xFF)
        return Counter(ids[is_fresh & is_same & (ids > 0)].tolist())
