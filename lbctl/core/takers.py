"""Who takes new connections, and which slots each of them owns. Pure, but that it remembers what it computed.

While nobody of a pool's own takes any, the slots are its fallback's backends'. While somebody does, those are only asked for
room when all of the pool's own are full.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from lbctl.core import slots
from lbctl.core.ids import Ref
from lbctl.core.model import Declaration, Pool
from lbctl.core.shares import Share, own_weights
from lbctl.core.standing import Standing
from lbctl.core.tables import NOBODY, Members, Slots, reference

Weights = Mapping[str, int]
_Key = tuple[int, tuple[tuple[str, int], ...]]


def owned_slots(
    share: Share, standings: Mapping[str, Standing], refs: Mapping[str, Ref], *, settled: Slots | None = None
) -> Slots:
    """The reference that owns each slot of a share: one of the fallback's if none of its own backends takes new connections,
    and nobody if none of these does either. ``settled`` ones are to stay, if the same backends share them."""
    weights = share.weights(standings)
    if settled is not None and len(settled) == share.size and _owners_of(settled) == set(_takers(weights, refs)):
        return settled
    if share.fallback and not any(weights.values()):
        weights = own_weights(share.fallback, standings)
    by_index = [_reference(refs[label]) for label in weights] + [NOBODY]
    return np.array(by_index, np.uint32)[_MEMO.owners(weights, size=share.size)]


def members(share: Share, standings: Mapping[str, Standing], refs: Mapping[str, Ref], *, limit: int) -> Members:
    """Whom to ask for room, at most ``limit`` of them."""
    own = _takers(share.weights(standings), refs)[:limit]
    others = _takers(own_weights(share.fallback, standings), refs) if share.fallback else ()
    return Members(own=own, fallbacks=others[: limit - len(own)])


def takers(declaration: Declaration, pool: Pool, standings: Mapping[str, Standing]) -> frozenset[str]:
    """The backends that take a pool's new connections now, by label: its own, or else its fallback's."""
    for taking in filter(None, (pool, declaration.fallback_of(pool))):
        found = frozenset(backend.label for backend in taking.backends if standings[backend.label].takes_new)
        if found:
            return found
    return frozenset()


def _takers(weights: Weights, refs: Mapping[str, Ref]) -> tuple[int, ...]:
    return tuple(_reference(refs[label]) for label, weight in weights.items() if weight)


def _reference(ref: Ref) -> int:
    return reference(ref.id, ref.generation)


def _owners_of(found: Slots) -> set[int]:
    return set(np.unique(found).tolist())


class Memo:
    """The tables that were asked for last, so many slots in all: only those of a pool whose weights changed are computed anew.

    It is slots that are counted, for a table has a thousand of them or a million. Several threads may ask: what would be is
    computed beside what is."""

    def __init__(self, *, capacity: int) -> None:
        self._capacity = capacity
        self._held = 0
        self._tables: OrderedDict[_Key, NDArray[np.int16]] = OrderedDict()
        self._one_at_a_time = Lock()

    def owners(self, weights: Weights, *, size: int) -> NDArray[np.int16]:
        """As `slots.assign`; not to be written to. Index -1 is nobody."""
        key = (size, tuple(weights.items()))
        with self._one_at_a_time:
            found = self._tables.get(key)
            if found is not None:
                self._tables.move_to_end(key)
                return found
        found = slots.assign(weights, size=size).astype(np.int16)
        with self._one_at_a_time:
            self._remember(key, found)
        return found

    def _remember(self, key: _Key, found: NDArray[np.int16]) -> None:
        if key not in self._tables:
            self._tables[key] = found
            self._held += len(found)
        while self._held > self._capacity and len(self._tables) > 1:
            _, oldest = self._tables.popitem(last=False)
            self._held -= len(oldest)


MEMORY_SLOTS = 1 << 22
"""Twice as many as the kernel's array has, so that all tables in use are remembered, and those of the time before. 8 MB."""

_MEMO = Memo(capacity=MEMORY_SLOTS)
