"""The kernel's tick counter, by which the program dates flows, and how fast it goes."""

from __future__ import annotations

import time
from functools import cached_property

from lbctl.dataplane import bpf

_KNOWN_HZ = (100, 250, 300, 1000)
_CALIBRATION_S = 0.2
_READING_S = 0.001


class Clock:
    """``program`` is the descriptor of ``lb_clock``."""

    def __init__(self, program: int) -> None:
        self._program = program

    def jiffies(self) -> int:
        """The kernel's tick counter, low 32 bits."""
        return bpf.test_run(self._program, bytes(64)).verdict

    @property
    def known_hz(self) -> int | None:
        """Ticks a second, if they were measured already: that takes a while."""
        hz: int | None = vars(self).get("hz")
        return hz

    @cached_property
    def hz(self) -> int:
        """Ticks a second, measured once against the monotonic clock and rounded to what kernels are built with."""
        first, started = self._dated_jiffies()
        time.sleep(_CALIBRATION_S)
        last, ended = self._dated_jiffies()
        rate = ((last - first) & 0xFFFFFFFF) / (ended - started)
        return min(_KNOWN_HZ, key=lambda hz: abs(hz - rate))

    def _dated_jiffies(self) -> tuple[int, float]:
        """The tick counter and when it was read. Read again if something came in between that may have taken many ticks."""
        while True:
            before = time.monotonic()
            ticks = self.jiffies()
            after = time.monotonic()
            if after - before < _READING_S:
                return ticks, after
