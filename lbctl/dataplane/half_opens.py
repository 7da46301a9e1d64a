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
    """``entries`` is the shared array of words, ``now`` reads jiffies.

    An entry that nobody completes or overwrites is there for days, and its time wraps after 256 ticks: then it would seem to be
    of now. So it is remembered what was seen to be too old, and somebody has to look all the time, not only who wants to know.
    """

    def __init__(self, entries: NDArray[Any], *, now: Callable[[], int]) -> None:
        self._entries = entries
        self._now = now
        self._outdated = np.zeros(len(entries), entries.dtype)

    def by_backend(self, generations: NDArray[np.uint64]) -> Mapping[int, int]:
        """How many the first ACK may still complete, by backend id, of those that have any. ``generations`` are those that the
        ids are in by now; shape (backends,)."""
        words = self.look()
        ids = np.minimum(words >> 16 & 0xFFFF, len(generations) - 1)
        is_same = (words >> 8 & 0xFF) == (generations[ids] & 0xFF)
        return Counter(ids[is_same & (ids > 0)].tolist())

    def look(self) -> NDArray[Any]:
        """The words that the program trusts; shape (n,). To be looked for more often than every 190 ticks: 48 s at 1,000 Hz."""
        words = self._entries.copy()
        now = self._now() >> TICK  # read last: nothing is of later than now
        is_old = (now - words & 0xFF) > TICKS
        self._outdated = np.where(is_old | (words == self._outdated), words, np.zeros_like(words))
        fresh: NDArray[Any] = words[words != self._outdated]
        return fresh
