"""In which ways connections are shared among backends, and the rows, numbers and blocks of slots that these have. Pure.

Each pool has a way of its own, by its backends' weights of the moment. A class of connections that it shares in another way,
by the class's weights, has a row in the table of pools like any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lbctl.core import slots
from lbctl.core.blocks import first_fit
from lbctl.core.ids import identity
from lbctl.core.model import Backend, Declaration, Pool, Storage, TrafficClass
from lbctl.core.situation import Limits
from lbctl.core.standing import Standing
from lbctl.core.tables import PoolRow, Tables
from lbctl.errors import LbctlError

Classed = Sequence[tuple[TrafficClass, int]]
"""The classes that a pool shares in another way, in the order of the file, each with the number of its row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A way in which connections are shared among a pool's backends: the pool's own, or that of a class. ``fallback`` is the
    pool that takes over, in either by its own way."""

    pool: Pool
    fallback: Pool | None = None
    traffic_class: TrafficClass | None = None

    @property
    def name(self) -> str:
        """What its row is recognised by. (No pool has a colon in its name.)"""
        return f"{self.pool.name}:{self.traffic_class.name}" if self.traffic_class else self.pool.name

    @property
    def size(self) -> int:
        """How many slots: enough for either, since the fallback's backends may own them one day."""
        return slots.table_size(max(len(self.pool.backends), len(self.fallback.backends) if self.fallback else 0))

    def weights(self, standings: Mapping[str, Standing]) -> Mapping[str, int]:
        """By label; 0 for those who take no new connections. A class's weights are as declared, whatever an agent says; an
        operator's weight is that of a backend whom the class does not name. A slow start is one in each class, too."""
        if self.traffic_class is None:
            return own_weights(self.pool, standings)
        declared = self.pool.class_weights[self.traffic_class.name]
        return {
            backend.label: class_weight(backend, declared, stands) * stands.ramp_percent if stands.weight else 0
            for backend in self.pool.backends
            for stands in (standings[backend.label],)
        }


def class_weight(backend: Backend, declared: Mapping[str, int], stands: Standing) -> int:
    """A backend's weight in a class, given those that the class declares by name."""
    own = backend.weight if stands.given_weight is None else stands.given_weight
    return declared.get(backend.name, own)


def own_weights(pool: Pool, standings: Mapping[str, Standing]) -> Mapping[str, int]:
    """As a pool's own way of sharing has them, by label."""
    return {backend.label: standings[backend.label].weight for backend in pool.backends}


def shares_of(declaration: Declaration) -> tuple[Share, ...]:
    """All of a declaration, each pool's own before those of its classes."""
    return tuple(
        Share(pool=pool, fallback=declaration.fallback_of(pool), traffic_class=traffic_class)
        for pool in declaration.pools
        for traffic_class in (None, *(found for found in declaration.classes if found.name in pool.class_weights))
    )


def row_numbers(shares: Sequence[Share], current: Tables, limits: Limits) -> Mapping[str, int]:
    """The number of each share's row, by its name: the one it has, or else one that nobody has or had until now."""
    by_identity = {row.identity: number for number, row in current.pools.items()}
    free = (number for number in range(1, limits.pools) if number not in current.pools)
    found: dict[str, int] = {}
    for share in shares:
        found[share.name] = by_identity.get(identity(share.name), 0) or next(free, 0)
        if not found[share.name]:
            hint = f"declare fewer than {limits.pools} pools and ways in which they share classes"
            raise LbctlError(f"no row is left for pool {share.name}", hint=hint)
    return found


def rows_of(
    shares: Sequence[Share], numbers: Mapping[str, int], current: Tables, limits: Limits
) -> Mapping[int, PoolRow]:
    """A share keeps its block of slots while the size fits; a new one lies where nobody's old or new block does."""
    taken = [(row.base, row.size) for row in current.pools.values()]
    rows: dict[int, PoolRow] = {}
    for share in shares:
        row, size = current.pools.get(numbers[share.name]), share.size
        if row is None or row.size != size:
            base = first_fit(taken, size=size, capacity=limits.slots)
            taken.append((base, size))
        else:
            base = row.base
        rows[numbers[share.name]] = PoolRow(
            identity=identity(share.name),
            base=base,
            size=size,
            on_empty=share.pool.on_empty,
            is_private=share.pool.storage is Storage.PRIVATE,
        )
    return rows


def classes_of(shares: Sequence[Share], numbers: Mapping[str, int]) -> Mapping[str, Classed]:
    """By pool name, for pools that have any."""
    found: dict[str, list[tuple[TrafficClass, int]]] = {}
    for share in shares:
        if share.traffic_class is not None:
            found.setdefault(share.pool.name, []).append((share.traffic_class, numbers[share.name]))
    return found
