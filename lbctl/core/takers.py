"""Who of a pool takes new connections, and which slots each of them owns. Pure.

While nobody of a pool's own takes any, the slots are its fallback's backends'. While somebody does, those are only asked for
room when all of the pool's own are full.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lbctl.core import slots
from lbctl.core.ids import Ref
from lbctl.core.model import Declaration, Pool
from lbctl.core.standing import Standing
from lbctl.core.tables import NOBODY, Members, Slots, reference


def table_size(pool: Pool, fallback: Pool | None) -> int:
    """Large enough for either, since the fallback's backends may own the slots one day."""
    return slots.table_size(max(len(pool.backends), len(fallback.backends) if fallback else 0))


def owned_slots(
    pool: Pool,
    fallback: Pool | None,
    standings: Mapping[str, Standing],
    refs: Mapping[str, Ref],
    *,
    settled: Slots | None = None,
) -> Slots:
    """The reference that owns each slot of a pool: one of the fallback's if no backend of its own takes new connections, and
    nobody if none of these does either. ``settled`` ones are to stay, if the same backends share them."""
    if settled is not None and _still_fit(settled, pool, fallback, standings, refs):
        return settled
    weights = _weights(pool, standings)
    if fallback and not any(weights.values()):
        weights = _weights(fallback, standings)
    owners = _owners(tuple(weights.items()), table_size(pool, fallback))
    by_index = [_reference(refs[label]) for label in weights] + [NOBODY]
    return np.array(by_index, np.uint32)[owners]


def members(
    pool: Pool, fallback: Pool | None, standings: Mapping[str, Standing], refs: Mapping[str, Ref], *, limit: int
) -> Members:
    """Whom to ask for room, at most ``limit`` of them."""
    own = _takers(pool, standings, refs)[:limit]
    return Members(own=own, fallbacks=_takers(fallback, standings, refs)[: limit - len(own)] if fallback else ())


def takers(declaration: Declaration, pool: Pool, standings: Mapping[str, Standing]) -> frozenset[str]:
    """The backends that take a pool's new connections now, by label: its own, or else its fallback's."""
    for taking in filter(None, (pool, declaration.fallback_of(pool))):
        found = frozenset(backend.label for backend in taking.backends if standings[backend.label].takes_new)
        if found:
            return found
    return frozenset()


def _weights(pool: Pool, standings: Mapping[str, Standing]) -> Mapping[str, int]:
    return {backend.label: standings[backend.label].weight for backend in pool.backends}


def _takers(pool: Pool, standings: Mapping[str, Standing], refs: Mapping[str, Ref]) -> tuple[int, ...]:
    return tuple(_reference(refs[label]) for label, weight in _weights(pool, standings).items() if weight)


def _reference(ref: Ref) -> int:
    return reference(ref.id, ref.generation)


def _still_fit(
    found: Slots, pool: Pool, fallback: Pool | None, standings: Mapping[str, Standing], refs: Mapping[str, Ref]
) -> bool:
    """Whether slots are shared among exactly the backends that take new connections now, in a table of the right size."""
    is_complete = set(np.unique(found).tolist()) == set(_takers(pool, standings, refs))
    return is_complete and len(found) == table_size(pool, fallback)


@lru_cache(maxsize=256)
def _owners(weights: tuple[tuple[str, int], ...], size: int) -> NDArray[np.int16]:
    """Only a pool whose weights changed is computed anew. Index -1 is nobody."""
    return slots.assign(dict(weights), size=size).astype(np.int16)
