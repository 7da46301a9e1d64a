"""The backends that a command is about, in brief: what ``lbctl drain --wait`` and ``lbctl maintenance`` look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lbctl.core.model import Protocol
from lbctl.core.standing import Condition
from lbctl.core.tables import BackendRow, BackendState
from lbctl.core.targets import Target, backends_of, includes
from lbctl.daemon.models import TargetBackend, TargetStatus
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.reports.pools import removed_reason
from lbctl.dataplane.port import Connected

_CUT_OFF = (BackendState.DEAD, BackendState.HALTED)
"""What comes for such a backend is answered with a reset, the end of a handshake, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """TCP by backend id: handshakes that may still be completed, and connections that are open."""

    half_open: Mapping[int, int]
    connected: Mapping[int, Connected]


def target_status(target: Target, reconciler: Reconciler, traffic: Traffic, *, now: float) -> TargetStatus:
    """As of ``now`` (monotonic). No backends: there is no such target."""
    swept_at = reconciler.swept_at
    return TargetStatus(
        backends=(*_declared(target, reconciler, traffic), *_removed(target, reconciler, traffic)),
        swept_s=None if swept_at is None else round(now - swept_at, 3),
    )


def _declared(target: Target, reconciler: Reconciler, traffic: Traffic) -> Iterator[TargetBackend]:
    standings = reconciler.standings()
    numbers = {row.identity: number for number, row in reconciler.current.backends.items()}
    for backend in backends_of(target, reconciler.declaration):
        number = numbers.get(reconciler.index.identities[backend.label], 0)
        stands, said = standings[backend.label], reconciler.overrides.of(backend.label)
        yield TargetBackend(
            pool=backend.pool,
            name=backend.name,
            address=backend.address,
            state=stands.condition.value,
            reason=stands.reason,
            override=said.value if said else None,
            slow_start_percent=reconciler.ramps.get(backend.label),
            **_traffic(number, backend.pool, reconciler, traffic),
        )


def _removed(target: Target, reconciler: Reconciler, traffic: Traffic) -> Iterator[TargetBackend]:
    """Rows of the tables that the file no longer has. Who waits for a host to become empty waits for those, too."""
    removed = (
        (i, row) for i, row in reconciler.current.backends.items() if row.identity not in reconciler.index.labels
    )
    for number, row in removed:
        pool, _, name = reconciler.labels.get(row.identity, f"?/#{number}").partition("/")
        if includes(target, pool, name, row.address):
            yield TargetBackend(
                pool=pool,
                name=name,
                address=row.address,
                state=Condition.REMOVED.value,
                reason=removed_reason(row),
                override=None,
                slow_start_percent=None,
                **_traffic(number, pool, reconciler, traffic),
            )


def _traffic(number: int, pool: str, reconciler: Reconciler, traffic: Traffic) -> dict[str, Any]:
    """By the names of the model; of a backend without a row (0) there is none."""
    row = reconciler.current.backends.get(number)
    state = row.state if row else BackendState.ABSENT
    return {
        "takes_new": state is BackendState.UP,
        "connections": traffic.connected.get(number, Connected()).connections,
        "half_open": 0 if state in _CUT_OFF else traffic.half_open.get(number, 0),
        "udp_flows": _udp_flows(number, row, pool, reconciler),
    }


def _udp_flows(number: int, row: BackendRow | None, pool: str, reconciler: Reconciler) -> int | None:
    """``None`` where there can be none."""
    sweep = reconciler.sweep
    found = sweep.datagrams.get(reconciler.current.reference(number), 0) if sweep and row else 0
    protocols = {service.protocol for service in reconciler.declaration.services_of(pool)}
    return found if found or Protocol.UDP in protocols else None
