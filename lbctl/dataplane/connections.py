"""The backends' TCP connections, as the program counts them: limits, and what it cannot see end.

The program counts a connection when it is made and when its client ends it. A flow that ends without a packet (idle for too
long, given up) is taken off by the daemon, in a word of its own: neither ever overwrites what the other counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WRAP = 1 << 32
NO_LIMIT = 0x3FFFFFFF
"""The row of a backend without one: far from where the program's signed differences overflow."""


class Connections:
    """``entries`` is the shared array of ``struct connections``, by backend id."""

    def __init__(self, entries: NDArray[Any]) -> None:
        self._entries = entries
        self._lock = Lock()  # corrections come from the sweep, from resets and from changes, each in its thread
        entries["limit"][entries["limit"] == 0] = NO_LIMIT  # of a table that was just made

    def begin(self, backend_id: int) -> None:
        """The row goes to another server, which has no connections yet."""
        entry = self._entries[backend_id : backend_id + 1]
        with self._lock:
            entry["corrected"] = entry["opened"].astype(np.uint32)
            entry["is_full"] = 0
            entry["pending"] = 0

    def set_limit(self, backend_id: int, *, limit: int, resume: int) -> None:
        """Before the backend's own row says that there is one. Whether it is full is found anew when the limit changes."""
        entry, wanted = self._entries[backend_id : backend_id + 1], (limit or NO_LIMIT, resume)
        if (int(entry["limit"][0]), int(entry["resume"][0])) != wanted:
            entry["limit"], entry["resume"] = wanted
            entry["is_full"] = self.live_of(backend_id) >= wanted[0]

    def live(self) -> NDArray[np.int64]:
        """How many each backend has now; shape (backends,)."""
        live: NDArray[np.int32] = (self._entries["opened"].astype(np.uint32) - self._entries["corrected"]).view(
            np.int32
        )
        return np.maximum(live, 0).astype(np.int64)

    def live_of(self, backend_id: int) -> int:
        """How many one backend has now."""
        entry = self._entries[backend_id]
        live = (int(entry["opened"]) - int(entry["corrected"])) % _WRAP
        return 0 if live >= _WRAP // 2 else live

    def is_full(self) -> NDArray[np.bool_]:
        """Which backends take no more, as the program last found; shape (backends,)."""
        full: NDArray[np.bool_] = self._entries["is_full"] != 0
        return full & (self.live() > self._entries["resume"])

    def opened(self) -> NDArray[np.uint64]:
        """The program's own count, to tell whether it has changed; shape (backends,)."""
        return self._entries["opened"].copy()

    def ended(self, numbers: Mapping[int, int]) -> None:
        """Flows that counted were ended without a packet: how many, by backend id."""
        with self._lock:
            for backend_id, count in numbers.items():
                self._correct(backend_id, int(self._entries["corrected"][backend_id]) + count)

    def settle(self, counted: Mapping[int, int], *, opened_before: NDArray[np.uint64]) -> None:
        """The flow table was counted (by backend id). Where nothing came or went meanwhile, that count is the truth: two
        processors may have counted one packet's work twice."""
        truth = np.zeros(len(self._entries), np.int64)
        for backend_id, count in counted.items():
            truth[backend_id] = count
        with self._lock:
            wrong = (self._entries["opened"] == opened_before) & (self.live() != truth)
            for backend_id in np.flatnonzero(wrong).tolist():
                self._correct(backend_id, int(self._entries["opened"][backend_id]) - int(truth[backend_id]))

    def _correct(self, backend_id: int, corrected: int) -> None:
        entry = self._entries[backend_id : backend_id + 1]
        entry["corrected"] = corrected % _WRAP
        live = self.live_of(backend_id)
        if live >= entry["limit"][0] or live <= entry["resume"][0]:
            entry["is_full"] = live >= entry["limit"][0]
