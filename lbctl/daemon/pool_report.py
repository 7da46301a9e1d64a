"""The pools and their backends, as the API's models. Reads only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from lbctl.core.assignments import Book
from lbctl.core.desired import backend_key
from lbctl.core.failover import has_one
from lbctl.core.ids import identity
from lbctl.core.model import Backend, Pool, Storage
from lbctl.core.standing import Condition, Standing
from lbctl.core.tables import BackendRow, BackendState
from lbctl.daemon.models import BackendStatus, PoolStatus
from lbctl.daemon.reconcile import Reconciler
from lbctl.dataplane.port import Connected, Counters, Traffic


class PoolReport:
    """One look at everything: ``recent`` is the growth of the counters in the last minute, ``connected`` the TCP connections
    by backend id, ``unprobed`` says by label why a backend cannot be probed, ``books`` are the assignments by pool."""

    def __init__(
        self,
        reconciler: Reconciler,
        *,
        standings: Mapping[str, Standing],
        counters: Counters,
        recent: Mapping[str | int, int],
        connected: Mapping[int, Connected],
        unprobed: Mapping[str, str],
        books: Mapping[str, Book],
    ) -> None:
        self._reconciler = reconciler
        self._standings = standings
        self._counters = counters
        self._recent = recent
        self._connected = connected
        self._unprobed = unprobed
        self._books = books

    def pool(self, pool: Pool) -> PoolStatus:
        """A declared pool."""
        shares = self._shares(pool)
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
            backends=tuple(self._backend(backend, shares.get(backend.label, 0.0)) for backend in pool.backends),
        )

    def _shares(self, pool: Pool) -> Mapping[str, float]:
        """Each backend's part of the pool's slots, as the kernel has them."""
        tables = self._reconciler.current
        number = next((i for i, row in tables.pools.items() if row.identity == identity(pool.name)), None)
        if number is None:
            return {}
        rows = {row.identity: tables.reference(i) for i, row in tables.backends.items()}
        slots = tables.slots[number]
        return {
            backend.label: float((slots == rows.get(identity(backend_key(backend)), -1)).mean())
            for backend in pool.backends
        }

    def _backend(self, backend: Backend, share: float) -> BackendStatus:
        stands = self._standings[backend.label]
        number, row = self._row(backend)
        member = self._reconciler.observed.members[backend.label]
        traffic = self._counters.backends.get(number, Traffic())
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
            effective_weight=0.0 if stands.condition is Condition.FULL else stands.weight / 100,
            share=round(share, 5),
            capacity_percent=member.capacity.percent,
            agent=member.capacity.label if backend.agent else None,
            flows=self._flows_of(number, row),
            connections=self._connected.get(number, Connected()).connections,
            connection_limit=backend.connection_limit or None,
            resume_at=backend.resume_at if backend.connection_limit else None,
            **_counted(traffic),
            returned_recently=self._recent.get(number, 0),
        )

    def _reason(self, backend: Backend, stands: Standing) -> str:
        fault = self._unprobed.get(backend.label)
        return f"not probed any more: {fault}; before that: {stands.reason}" if fault else stands.reason

    def _row(self, backend: Backend) -> tuple[int, BackendRow | None]:
        wanted = identity(backend_key(backend))
        rows = self._reconciler.current.backends.items()
        return next(((number, row) for number, row in rows if row.identity == wanted), (0, None))

    def _flows_of(self, number: int, row: BackendRow | None) -> int:
        sweep = self._reconciler.sweep
        return sweep.flows.get(self._reconciler.current.reference(number), 0) if sweep and row else 0

    def removed(self) -> Iterator[BackendStatus]:
        """Rows that the file no longer has."""
        declared = {identity(backend_key(backend)) for backend in self._reconciler.declaration.backends()}
        for number, row in self._reconciler.current.backends.items():
            if row.identity not in declared:
                yield self._removed(number, row)

    def _removed(self, number: int, row: BackendRow) -> BackendStatus:
        goes_on = "connections are reset" if row.state is BackendState.HALTED else "connections go on until they end"
        return BackendStatus(
            name=self._reconciler.labels.get(row.identity, f"#{number}"),
            address=row.address,
            mac=row.mac.hex(":") if row.mac else None,
            state=Condition.REMOVED.value,
            reason=f"no longer in the file; its {goes_on}",
            since_s=None,
            probe_latency_s=None,
            weight=0,
            effective_weight=0.0,
            share=0.0,
            capacity_percent=0,
            agent=None,
            flows=self._flows_of(number, row),
            connections=self._connected.get(number, Connected()).connections,
            connection_limit=None,
            resume_at=None,
            **_counted(self._counters.backends[number]),
            returned_recently=self._recent.get(number, 0),
        )


def _counted(traffic: Traffic) -> dict[str, int]:
    """What a backend was sent and sent back, by the names of the model."""
    return {
        "packets": traffic.packets,
        "bytes": traffic.bytes,
        "new_connections": traffic.connections,
        "returned": traffic.returned,
    }
