"""Figures as people read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


def amount(octets: float) -> str:
    """Bytes, in the unit that suits them (decimal: 1 MB is 1,000,000 bytes)."""
    if octets >= 999_950:
        return f"{octets / 1e6:,.1f} MB"
    return f"{octets / 1e3:.1f} kB" if octets else "0"


def kilobytes(octets: int) -> str:
    """Bytes as a number of kB for a column: whole ones, but from nothing a little can be told."""
    if not octets:
        return "0"
    return f"{octets / 1e3:.1f}" if octets < 10_000 else f"{octets / 1e3:,.0f}"


def megabytes(octets: int) -> str:
    """Bytes as a number of MB for a column; nothing for none."""
    return f"{octets / 1e6:.1f}" if octets else "-"


def by_name(counts: Mapping[str, int]) -> str:
    """``backend1 4, backend2 6``."""
    return ", ".join(f"{name} {count}" for name, count in sorted(Counter(counts).items()))
