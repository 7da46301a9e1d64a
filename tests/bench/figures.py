"""A figure with its limit."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A median with its limit."""

    figure: str
    value: float
    unit: str
    limit: float
    ratio: float
    rounds: int


def figure(name: str, values: Sequence[float], *, unit: str, limit: float) -> Figure:
    """The median of some values, against the limit."""
    value = statistics.median(values)
    return Figure(
        figure=name, value=round(value, 3), unit=unit, limit=limit, ratio=round(value / limit, 3), rounds=len(values)
    )
