"""Where a restarted daemon begins: health and capacity as far as the kernel's tables tell them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lbctl.core.desired import backend_key
from lbctl.core.health import Health
from lbctl.core.ids import identity
from lbctl.core.model import Declaration
from lbctl.core.tables import BackendRow, BackendState, Tables


def adopted_health(row: BackendRow | None, *, is_drained: bool, now: float) -> Health:
    """A backend that took connections, or that only an operator kept from it, has history: one failed probe does not take it
    down. Of any other the first probe decides."""
    if row is not None and (row.state is BackendState.UP or (is_drained and row.state is BackendState.DRAINING)):
        return Health.adopted(True, now=now)
    return Health(since_s=now)


def adopted_percents(declaration: Declaration, current: Tables) -> Mapping[str, int]:
    """What each backend's capacity must have been, given the slots that the kernel holds: its slots for each unit of weight,
    in percent of the pool's best."""
    pools = {row.identity: number for number, row in current.pools.items()}
    refs = {row.identity: current.reference(number) for number, row in current.backends.items()}
    percents: dict[str, int] = {}
    for pool in declaration.pools:
        owners = current.slots.get(pools.get(identity(pool.name), 0))
        if owners is None:
            continue
        per_weight = {
            backend.label: float((owners == refs.get(identity(backend_key(backend)), -1)).sum()) / backend.weight
            for backend in pool.backends
            if backend.weight
        }
        best = max(per_weight.values(), default=0.0)
        percents |= {label: round(100 * value / best) for label, value in per_weight.items() if best and value}
    return percents
