"""Where a restarted daemon begins: health and capacity as far as the kernel's tables tell them, or after a reboot what was
remembered. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lbctl.core.capacity import Capacity
from lbctl.core.failover import has_one, receivers
from lbctl.core.health import Health
from lbctl.core.ids import identity
from lbctl.core.model import Backend, Declaration
from lbctl.core.standing import Override
from lbctl.core.tables import BackendRow, BackendState, Tables
from lbctl.daemon.state.store import Remembered


def adopted_health(row: BackendRow | None, *, override: Override | None, now: float) -> Health:
    """A backend that took connections, or that only an operator kept from it, has history: one failed probe does not take it
    down. Of any other the first probe decides."""
    is_drained = override is Override.DRAINED and row is not None and row.state is BackendState.DRAINING
    if is_drained or (row is not None and row.state is BackendState.UP):
        return Health.adopted(True, now=now)
    return Health(since_s=now)


def remembered_member(
    backend: Backend, remembered: Mapping[str, Remembered], *, actives: Mapping[str, str], now: float
) -> tuple[Health, Capacity]:
    """Where a backend begins that no table has, as after a reboot. Of a pool with failover only the active one is believed to
    be up: before their first probe the others must not take over because it is slower to be found."""
    was = remembered.get(backend.key)
    if was is None:
        return Health(since_s=now), Capacity()
    is_spare = actives.get(backend.pool, backend.name) != backend.name
    health = Health.remembered(now=now) if was.is_up and not is_spare else Health(since_s=now)
    return health, Capacity.adopted(was.percent) if backend.agent else Capacity()


def adopted_actives(declaration: Declaration, current: Tables, *, remembered: Mapping[str, str]) -> Mapping[str, str]:
    """The active backend of each pool with failover, as the kernel has it: the one that takes connections. If several do, for
    the pool was balanced until now, the one that is ``remembered``, or the first; if nobody does, the one that is."""
    taking = {row.identity for row in current.backends.values() if row.state is BackendState.UP}
    found = [backend for backend in receivers(declaration) if identity(backend.key) in taking]
    first = {backend.pool: backend.name for backend in reversed(found)}
    return {**remembered, **first} | {each.pool: each.name for each in found if remembered.get(each.pool) == each.name}


def adopted_former_receivers(
    declaration: Declaration, current: Tables, *, actives: Mapping[str, str]
) -> frozenset[int]:
    """Identities of those that a pool with failover sent to, and that were taken out of the file while no daemon ran: alone,
    or with their pool, which had an active one (``actives``)."""
    names = {pool.name for pool in declaration.pools}
    pools = {identity(pool.name) for pool in declaration.pools if has_one(pool)}
    pools |= {identity(name) for name in actives if name not in names}
    blocks = [current.slots[number] for number, row in current.pools.items() if row.identity in pools]
    owners = {ref for block in blocks for ref in np.unique(block).tolist()}
    declared = {identity(backend.key) for backend in declaration.backends()}
    rows = current.backends.items()
    return frozenset(row.identity for n, row in rows if current.reference(n) in owners) - declared


def adopted_percents(declaration: Declaration, current: Tables, *, weights: Mapping[str, int]) -> Mapping[str, int]:
    """What each backend's capacity must have been, given the slots that the kernel holds: its slots for each unit of weight
    (by label, on any common scale), in percent of the pool's best."""
    pools = {row.identity: number for number, row in current.pools.items()}
    refs = {row.identity: current.reference(number) for number, row in current.backends.items()}
    percents: dict[str, int] = {}
    for pool in declaration.pools:
        owners = current.slots.get(pools.get(identity(pool.name), 0))
        if owners is None:
            continue
        per_weight = {
            backend.label: float((owners == refs.get(identity(backend.key), -1)).sum()) / weights[backend.label]
            for backend in pool.backends
            if weights[backend.label]
        }
        best = max(per_weight.values(), default=0.0)
        percents |= {label: round(100 * value / best) for label, value in per_weight.items() if best and value}
    return percents
