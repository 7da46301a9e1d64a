"""What happened lately. The kernel's counters only grow, but an alarm must end when its cause does."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

WINDOW_S = 60.0
_Name = TypeVar("_Name", bound=Hashable)


class Recent(Generic[_Name]):
    """Remembers totals for a minute. Pure; ``now`` is monotonic seconds."""

    def __init__(self, *, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, Mapping[_Name, int]]] = deque()

    def note(self, totals: Mapping[_Name, int], *, now: float) -> None:
        """Take a sample; one that is older than the window stays until another can stand in for it."""
        self._samples.append((now, dict(totals)))
        while len(self._samples) > 1 and self._samples[1][0] <= now - self._window_s:
            self._samples.popleft()

    def growth(self, totals: Mapping[_Name, int]) -> dict[_Name, int]:
        """How much each has grown since the oldest sample; what was not there then counts in full, and nothing counts
        before the first sample."""
        if not self._samples:
            return dict.fromkeys(totals, 0)
        _, before = self._samples[0]
        return {name: max(0, total - before.get(name, 0)) for name, total in totals.items()}
