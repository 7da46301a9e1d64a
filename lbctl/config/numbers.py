"""Numbers a file may hold: counts, ports, and durations, which always carry their unit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from lbctl.config.mistakes import InvalidValueError, quoted, shown
from lbctl.config.words import as_written
from lbctl.core.durations import UNITS_S


def whole_number(low: int, high: int, *, what: str = "") -> Callable[[Any], int]:
    """A parser of whole numbers from ``low`` to ``high``."""
    allowed = f"write a whole number from {low} to {high}{what}"

    def parse(value: Any) -> int:
        if isinstance(value, str) and value.isdecimal():
            raise InvalidValueError(f"{quoted(value)} is text, not a number", hint=f"remove the quotes; {allowed}")
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidValueError(f"{as_written(value)} is not a whole number", hint=allowed)
        if not low <= value <= high:
            raise InvalidValueError(f"{value} is out of range", hint=allowed)
        return value

    return parse


parse_port = whole_number(1, 65535)


def ports(*, otherwise: str) -> Callable[[Any], tuple[int, ...]]:
    """A parser of lists of ports, each once. ``otherwise`` is what one may do instead of naming one."""

    def parse(value: Any) -> tuple[int, ...]:
        if not isinstance(value, list):
            hint = (
                f"write [{value}]" if isinstance(value, int) else "write a list of single ports, such as [104, 11112]"
            )
            raise InvalidValueError(f"{as_written(value)} is not a list of ports", hint=hint)
        if not value:
            raise InvalidValueError("the list of ports is empty", hint=f"name at least one port, or {otherwise}")
        found = tuple(parse_port(item) for item in value)
        twice, times = Counter(found).most_common(1)[0]
        if times > 1:
            raise InvalidValueError(f"port {twice} is listed twice", hint="name each port once")
        return found

    return parse


_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|s|m|h|d)")


def duration(shortest: str, longest: str) -> Callable[[Any], float]:
    """A parser of durations with a unit, in seconds, between the two bounds (both included)."""
    low_s, high_s = _seconds(shortest), _seconds(longest)

    def parse(value: Any) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            hint = f"say which: {value}s, {value}ms, {value}m or {value}h"
            raise InvalidValueError(f"{shown(value)} lacks a unit", hint=hint)
        seconds = _seconds(value) if isinstance(value, str) else None
        if seconds is None:
            hint = "write a number with one unit: 500ms, 5s, 2m, 1h or 1d"
            raise InvalidValueError(f"{as_written(value)} is not a duration", hint=hint)
        if low_s is not None and high_s is not None and not low_s <= seconds <= high_s:
            raise InvalidValueError(f"{value} is out of range", hint=f"write a duration from {shortest} to {longest}")
        return seconds

    return parse


def _seconds(written: str) -> float | None:
    found = _DURATION.fullmatch(written.strip())
    return float(found[1]) * UNITS_S[found[2]] if found else None
