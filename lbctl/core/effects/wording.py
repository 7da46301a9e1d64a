"""Figures and lists in sentences for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lbctl.core.model import Network

_NAMED_AT_MOST = 5
CRUMB = 0.0005
"""A part (0 to 1) that is not worth a figure of its own."""


def listed(items: Iterable[object]) -> str:
    """All of them."""
    return ", ".join(map(str, items))


def named(names: Sequence[str], *, at_most: int = _NAMED_AT_MOST) -> str:
    """Not all of them where there are many."""
    more = len(names) - at_most
    return listed(names) if more <= 1 else f"{listed(names[:at_most])} and {more:,} more"


def prefix_text(prefix: Network) -> str:
    """A single address without its length."""
    return str(prefix.network_address) if prefix.prefixlen == prefix.max_prefixlen else str(prefix)


def percent(part: float) -> str:
    """A part (0 to 1) of a whole."""
    if part >= 0.9995:
        return "100 %"
    return "less than 0.1 %" if part < CRUMB else f"{100 * part:.1f} %"


def counted(count: int, noun: str) -> str:
    """``1 backend``, ``2 backends``, ``1,021 slots``, ``3 classes``, ``2 ways``."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def go_on(count: int | None, *, owners: int = 1) -> str:
    """Nothing happens to the connections of so many: ``its 12 live connections go on until they end``."""
    return _connections(count, owners, one="goes on until it ends", several="go on until they end")


def are_reset(count: int | None, *, owners: int = 1) -> str:
    """They are cut."""
    return _connections(count, owners, one="is reset", several="are reset")


def _connections(count: int | None, owners: int, *, one: str, several: str) -> str:
    """By how many there are, ``None``: who knows."""
    whose = "its" if owners == 1 else "their"
    if count is None:
        return f"{whose} live connections {several}"
    if count == 0:
        return f"{'it has' if owners == 1 else 'they have'} no live connections now"
    return f"{whose} {counted(count, 'live connection')} {one if count == 1 else several}"
