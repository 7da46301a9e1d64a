"""The pools in shared memory: their rows, their slots, and who of each pool takes new connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.core.plan import SetMembers, SetPool, SetSlots
from lbctl.core.tables import Members, PoolRow, Slots
from lbctl.dataplane import rows
from lbctl.dataplane.layout import MEMBERS

POOL_MAPS = ("lb_pools", "lb_slots", "lb_members")


class PoolTables:
    """``arrays`` are the shared ones of `POOL_MAPS`."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._pools, self._slots, self._members = (arrays[name] for name in POOL_MAPS)

    def read(self) -> Mapping[int, PoolRow]:
        """The rows by pool id."""
        return {int(i): rows.pool_row(self._pools[i]) for i in np.flatnonzero(self._pools["identity"])}

    def slots(self, row: PoolRow) -> Slots:
        """The references in a pool's block, shape (size,)."""
        block: Slots = self._slots[row.base : row.base + row.size].copy()
        return block

    def write(self, step: SetPool) -> None:
        """What becomes of a connection that nobody takes is written before the table is there, and goes after it."""
        entry = self._pools[step.pool_id : step.pool_id + 1]
        if step.after is None:
            for field in ("table", "identity", "members", "on_empty", "is_private"):
                entry[field] = 0
            return
        entry["on_empty"] = rows.on_empty_number(step.after.on_empty)
        entry["is_private"] = step.after.is_private
        entry["table"] = rows.table_word(step.after)
        entry["identity"] = step.after.identity

    def write_slots(self, step: SetSlots) -> None:
        """Give slots to other backends."""
        self._slots[step.base + step.at] = step.after

    def members(self, pool_id: int) -> Members:
        """Who is asked for room."""
        counts = int(self._pools["members"][pool_id])
        own, others = counts & 0xFFFF, counts >> 16
        first = pool_id * MEMBERS
        refs = tuple(self._members[first : first + own + others].tolist())
        return Members(own=refs[:own], fallbacks=refs[own:])

    def write_members(self, step: SetMembers) -> None:
        """Each reference is checked by whoever follows it, so none is wrong for being in the wrong place for a moment."""
        refs = step.after.own + step.after.fallbacks
        first = step.pool_id * MEMBERS
        self._members[first : first + len(refs)] = refs
        self._pools["members"][step.pool_id] = len(step.after.own) | len(step.after.fallbacks) << 16
