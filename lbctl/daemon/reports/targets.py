"""The backends that a command is about, in brief: what ``lbctl drain --wait`` and ``lbctl maintenance`` look at."""

from __future__ import annotations

from collections.abc import Mapping

from lbctl.core.model import Backend, Protocol
from lbctl.core.standing import Standing
from lbctl.core.targets import Target, backends_of
from lbctl.daemon.models import TargetBackend, TargetStatus
from lbctl.daemon.reconcile import Reconciler
from lbctl.dataplane.port import Connected


def target_status(
    target: Target, reconciler: Reconciler, connected: Mapping[int, Connected], *, now: float
) -> TargetStatus:
    """As of ``now`` (monotonic); ``connected`` are the TCP connections by backend id."""
    standings = reconciler.standings()
    numbers = {row.identity: number for number, row in reconciler.current.backends.items()}
    swept_at = reconciler.swept_at
    return TargetStatus(
        backends=tuple(
            _backend(
                each, standings[each.label], numbers.get(reconciler.index.identities[each.label]), reconciler, connected
            )
            for each in backends_of(target, reconciler.declaration)
        ),
        swept_s=None if swept_at is None else round(now - swept_at, 3),
    )


def _backend(
    backend: Backend,
    stands: Standing,
    number: int | None,
    reconciler: Reconciler,
    connected: Mapping[int, Connected],
) -> TargetBackend:
    override = reconciler.overrides.of(backend.label)
    return TargetBackend(
        pool=backend.pool,
        name=backend.name,
        address=backend.address,
        state=stands.condition.value,
        reason=stands.reason,
        override=override.value if override else None,
        slow_start_percent=reconciler.ramps.get(backend.label),
        connections=0 if number is None else connected.get(number, Connected()).connections,
        udp_flows=_udp_flows(backend, number, reconciler),
    )


def _udp_flows(backend: Backend, number: int | None, reconciler: Reconciler) -> int | None:
    protocols = {service.protocol for service in reconciler.declaration.services_of(backend.pool)}
    if Protocol.UDP not in protocols:
        return None
    if number is None or reconciler.sweep is None:
        return 0
    return reconciler.sweep.datagrams.get(reconciler.current.reference(number), 0)
