"""The pools and their backends, as the API's models. Reads only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lbctl.core.assignments import Book
from lbctl.core.failover import has_one
from lbctl.core.ids import identity
from lbctl.core.model import Backend, Pool, Storage, TrafficClass
from lbctl.core.shares import Share, class_weight
from lbctl.core.standing import Condition, Standing
from lbctl.core.tables import BackendRow, BackendState
from lbctl.daemon.models import BackendStatus, ClassStatus, PoolStatus
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.reports.recent import NO_TRAFFIC
from lbctl.daemon.reports.sensing import Sensed
from lbctl.dataplane.port import Connected


class PoolReport:
    """One look at everything: ``sensed`` are the counters, ``connected`` the TCP connections by backend id, ``unprobed`` says
    by label why a backend cannot be probed, ``books`` are the assignments by pool."""

    def __init__(
        self,
        reconciler: Reconciler,
        *,
        standings: Mapping[str, Standing],
        sensed: Sensed,
        connected: Mapping[int, Connected],
        unprobed: Mapping[str, str],
        books: Mapping[str, Book],
    ) -> None:
        self._reconciler = reconciler
        self.standings = standings
        self._sensed = sensed
        self._connected = connected
        self._unprobed = unprobed
        self._books = books
        self._numbers = {row.identity: number for number, row in reconciler.current.backends.items()}
        self._pools = {row.identity: number for number, row in reconciler.current.pools.items()}

    def pool(self, pool: Pool) -> PoolStatus:
        """A declared pool."""
        shares = self._shares(pool, pool.name)
        is_private = pool.storage is Storage.PRIVATE
        return PoolStatus(
            name=pool.name,
            kind=pool.kind.value,
            policy=pool.policy.value,
            active=self._reconciler.actives.get(pool.name) if has_one(pool) else None,
            storage=pool.storage.value if pool.storage else None,
            assigned_sources=len(self._books.get(pool.name, {})) if is_private else None,
            fallback=pool.fallback,
            on_empty=pool.on_empty.value,
            backends=tuple(self._backend(backend, shares.get(backend.name, 0.0)) for backend in pool.backends),
            classes=tuple(
                self._class(pool, each)
                for each in self._reconciler.declaration.classes
                if each.name in pool.class_weights
            ),
        )

    def _class(self, pool: Pool, kind: TrafficClass) -> ClassStatus:
        given = pool.class_weights[kind.name]
        shares = self._shares(pool, Share(pool=pool, traffic_class=kind).name)
        return ClassStatus(
            name=kind.name,
            sources=tuple(map(str, kind.sources)),
            ports=kind.ports,
            weights={
                backend.name: class_weight(backend, given, self.standings[backend.label]) for backend in pool.backends
            },
            shares={backend.name: round(shares.get(backend.name, 0.0), 5) for backend in pool.backends},
        )

    def _shares(self, pool: Pool, key: str) -> Mapping[str, float]:
        """Each backend's part of the slots of a row, by name, as the kernel has them."""
        tables = self._reconciler.current
        number = self._pools.get(identity(key))
        if number is None:
            return {}
        owners, counts = np.unique(tables.slots[number], return_counts=True)
        parts = dict(zip(owners.tolist(), (counts / len(tables.slots[number])).tolist(), strict=True))
        rows = {backend.name: self._row(backend) for backend in pool.backends}
        return {name: parts.get(tables.reference(number), 0.0) for name, (number, row) in rows.items() if row}

    def _backend(self, backend: Backend, share: float) -> BackendStatus:
        stands = self.standings[backend.label]
        number, row = self._row(backend)
        member = self._reconciler.observed.members[backend.label]
        since = self._reconciler.conditions.since(backend.label, otherwise=member.health.since_s)
        result = member.health.last_result
        return BackendStatus(
            name=backend.name,
            address=backend.address,
            mac=row.mac.hex(":") if row and row.mac else None,
            state=stands.condition.value,
            reason=self._reason(backend, stands),
            since_s=round(time.monotonic() - since, 3),
            probe_latency_s=result.latency_s if result else None,
            weight=backend.weight,
            **self._said(backend),
            effective_weight=0.0 if stands.condition is Condition.FULL else stands.weight / 100,
            share=round(share, 5),
            capacity_percent=member.capacity.percent,
            agent=member.capacity.label if backend.agent else None,
            flows=self._flows_of(number, row),
            connections=self._connected.get(number, Connected()).connections,
            connection_limit=backend.connection_limit or None,
            resume_at=backend.resume_at if backend.connection_limit else None,
            **self._counted(number),
        )

    def _said(self, backend: Backend) -> dict[str, Any]:
        """What an operator said of its weight, by the names of the model."""
        given = self._reconciler.overrides.weights.get(backend.label)
        return {
            "given_weight": given.weight if given else None,
            "weight_declared_then": given.declared if given else None,
            "slow_start_percent": self._reconciler.ramps.get(backend.label),
        }

    def _reason(self, backend: Backend, stands: Standing) -> str:
        fault = self._unprobed.get(backend.label)
        return f"not probed any more: {fault}; before that: {stands.reason}" if fault else stands.reason

    def _row(self, backend: Backend) -> tuple[int, BackendRow | None]:
        number = self._numbers.get(self._reconciler.index.identities[backend.label], 0)
        return number, self._reconciler.current.backends.get(number)

    def _flows_of(self, number: int, row: BackendRow | None) -> int:
        sweep = self._reconciler.sweep
        return sweep.flows.get(self._reconciler.current.reference(number), 0) if sweep and row else 0

    def _counted(self, number: int) -> dict[str, Any]:
        """What a backend was sent and sent back, by the names of the model."""
        looped = self._sensed.counters.backends.get(number, NO_TRAFFIC).looped
        return {
            **self._sensed.backend(number),
            "looped": looped,
            "looped_recently": self._sensed.looped(number),
            "handshakes": self._sensed.handshakes(number),
        }

    def removed(self) -> Iterator[BackendStatus]:
        """Rows that the file no longer has."""
        for number, row in self._reconciler.current.backends.items():
            if row.identity not in self._reconciler.index.labels:
                yield self._removed(number, row)

    def _removed(self, number: int, row: BackendRow) -> BackendStatus:
        return BackendStatus(
            name=self._reconciler.labels.get(row.identity, f"#{number}"),
            address=row.address,
            mac=row.mac.hex(":") if row.mac else None,
            state=Condition.REMOVED.value,
            reason=removed_reason(row),
            since_s=None,
            probe_latency_s=None,
            weight=0,
            given_weight=None,
            weight_declared_then=None,
            slow_start_percent=None,
            effective_weight=0.0,
            share=0.0,
            capacity_percent=0,
            agent=None,
            flows=self._flows_of(number, row),
            connections=self._connected.get(number, Connected()).connections,
            connection_limit=None,
            resume_at=None,
            **self._counted(number),
        )


def removed_reason(row: BackendRow) -> str:
    """What there is to say of a row that the file no longer has."""
    goes_on = "connections are reset" if row.state is BackendState.HALTED else "connections go on until they end"
    return f"no longer in the file; its {goes_on}"
