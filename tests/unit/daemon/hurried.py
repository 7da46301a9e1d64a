"""An event loop in which nobody waits."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class Hurried(asyncio.SelectorEventLoop):
    """Nobody waits: when all sleep, the clock is moved to where the first of them wakes."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._now_s

    def skip(self, seconds: float) -> None:
        self._now_s += seconds


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: Hurried) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout:
            self._loop.skip(timeout)
        return super().select(0)
