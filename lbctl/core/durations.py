"""Times as an operator writes them. Pure."""

from __future__ import annotations

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_text(seconds: float) -> str:
    """A duration as one would write it: the largest unit that divides it, a single day being 24h."""
    for unit in ("d", "h", "m", "s"):
        if (unit != "d" or seconds > UNITS_S["d"]) and seconds >= UNITS_S[unit] and seconds % UNITS_S[unit] == 0:
            return f"{seconds / UNITS_S[unit]:g}{unit}"
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"
