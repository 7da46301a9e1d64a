"""How numbers look, and where they are printed."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_PIPE_WIDTH = 200


def console() -> Console:
    """Standard output. In a pipe lines are not broken to fit a screen that is not there."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(width=width, highlight=False, soft_wrap=False)


def amount(octets: float) -> str:
    """Bytes for people, in powers of 1,000: ``12.3 MB``."""
    for unit in _UNITS[:-1]:
        if octets < 1000:
            return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.1f} {_UNITS[-1]}"


def duration(seconds: float) -> str:
    """A span for people: ``0.4 s``, ``12 s``, ``5 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def latency(seconds: float | None) -> str:
    """A short span with two significant digits at least: ``0.45 ms``, ``12 ms``, ``1.2 s``; a dash if there is none."""
    if seconds is None:
        return "-"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    milliseconds = 1000 * seconds
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2g} ms"


def packets(count: int) -> str:
    """``1 packet``, ``2 packets``."""
    return f"{count} packet" if count == 1 else f"{count} packets"
