"""Slow start: a backend that comes back is given its share step by step, so that it is warm before it has all of it. Pure.

Steps, not a ramp: each is a change of the slots, and live connections do not notice any of them.
"""

from __future__ import annotations

FIRST_PERCENT = 10
"""Of its weight, at first; each step adds as much."""
_STEPS = 100 // FIRST_PERCENT - 1


def percent(*, span_s: float, began_s: float | None, now: float) -> int:
    """Of its weight, after some of ``span_s`` seconds (> 0): from 10 up to 100 in nine steps of equal length.

    ``began_s`` and ``now`` are seconds of one clock that never jumps; ``None``: it has not begun, for the backend takes no
    connections yet. A beginning that is still to come is another boot's: it counts as not begun, too.
    """
    if began_s is None or began_s > now:
        return FIRST_PERCENT
    elapsed_s = now - began_s
    if elapsed_s >= span_s:
        return 100
    return FIRST_PERCENT * (1 + int(_STEPS * elapsed_s / span_s))
