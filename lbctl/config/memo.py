"""What did not change between two files is not worked out again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Memo(Generic[_T]):
    """Results that follow from their keys alone: those asked for in this round, or in the one before."""

    def __init__(self) -> None:
        self._before: dict[Hashable, _T] = {}
        self._now: dict[Hashable, _T] = {}

    def begin(self) -> None:
        """Another round: another file."""
        self._before, self._now = self._now, {}

    def of(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """The result for this key; if it is not known, by ``make``."""
        known = self._now.get(key) or self._before.get(key)
        self._now[key] = found = make() if known is None else known
        return found
