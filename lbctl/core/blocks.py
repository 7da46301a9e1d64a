"""Where in the flat slot array each pool's block lies. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from lbctl.errors import LbctlError


def first_fit(taken: Iterable[tuple[int, int]], *, size: int, capacity: int) -> int:
    """The lowest base at which ``size`` slots overlap none of the ``taken`` (base, size) blocks.

    `LbctlError` if the array of ``capacity`` slots has no such gap."""
    base = 0
    for start, length in sorted(taken):
        if start - base >= size:
            break
        base = max(base, start + length)
    if base + size > capacity:
        raise LbctlError(
            f"no room for a table of {size} slots in an array of {capacity}",
            hint="use fewer backends or pools on this director",
        )
    return base
