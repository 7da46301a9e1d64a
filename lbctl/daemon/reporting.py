"""What the reconciler knows and what the kernel counted, as the API's models. Reads only."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from lbctl import __version__
from lbctl.core.desired import backend_key
from lbctl.core.ids import identity
from lbctl.core.model import Backend, Interface, Pool, Service
from lbctl.core.standing import Condition, Standing
from lbctl.core.tables import BackendRow, ServiceKey
from lbctl.daemon.facts import Facts
from lbctl.daemon.models import (
    BackendStatus,
    DaemonStatus,
    Flows,
    FlowStatus,
    FlowTableStatus,
    InterfaceStatus,
    MemoryStatus,
    PoolStatus,
    ReasonCount,
    ServiceState,
    ServiceStatus,
    Status,
)
from lbctl.daemon.recent import Recent
from lbctl.daemon.reconcile import Reconciler
from lbctl.dataplane.port import Attachment, Counters, Dataplane, FlowEntry, Traffic


class Reporter:
    """Makes a `Status` on demand."""

    def __init__(
        self, reconciler: Reconciler, dataplane: Dataplane, facts: Facts, attachments: Mapping[str, Attachment]
    ) -> None:
        self._reconciler = reconciler
        self._dataplane = dataplane
        self._facts = facts
        self._attachments = attachments
        self._recent: Recent[str | int] = Recent()

    def note(self) -> None:
        """Remember the counters of now: what has grown since is recent."""
        self._recent.note(_totals(self._counters()), now=time.monotonic())

    def _counters(self) -> Counters:
        tables = self._reconciler.current
        return self._dataplane.counters(
            services=[row.id for row in tables.services.values()], backends=list(tables.backends)
        )

    def status(self) -> Status:
        """Everything, as of now."""
        counters = self._counters()
        recent = self._recent.growth(_totals(counters))
        declaration = self._reconciler.declaration
        standings = self._reconciler.standings()
        return Status(
            daemon=self._daemon(),
            interfaces=tuple(self._interface(interface) for interface in declaration.interfaces),
            services=tuple(self._service(service, counters) for service in declaration.services),
            pools=tuple(self._pool(pool, standings, counters, recent) for pool in declaration.pools),
            removed=tuple(self._removed(counters, recent)),
            removed_vips=tuple(sorted(self._reconciler.current.vips.keys() - {s.vip for s in declaration.services})),
            flow_table=self._flow_table(),
            memory=MemoryStatus(daemon_anonymous=anonymous_bytes(), bpf_maps=self._dataplane.memory_bytes()),
            reasons={
                name: ReasonCount(packets=t.packets, bytes=t.bytes, recent_packets=recent[name])
                for name, t in counters.reasons.items()
                if t.packets
            },
        )

    def _daemon(self) -> DaemonStatus:
        return DaemonStatus(
            version=__version__,
            pid=os.getpid(),
            uptime_s=round(time.monotonic() - self._facts.started, 3),
            config=str(self._facts.config),
            config_error=self._facts.config_error,
            warnings=self._facts.warnings,
            last_error=self._facts.last_error,
            generation=self._reconciler.generation,
        )

    def _flow_table(self) -> FlowTableStatus:
        sweep, swept_at = self._reconciler.sweep, self._reconciler.swept_at
        if sweep is None or swept_at is None:
            return FlowTableStatus(live=0, capacity=0, fullest=0.0, age_s=None)
        return FlowTableStatus(
            live=sweep.total,
            capacity=sweep.capacity,
            fullest=round(sweep.fill, 4),
            age_s=round(time.monotonic() - swept_at, 3),
        )

    def _interface(self, interface: Interface) -> InterfaceStatus:
        nic = self._reconciler.nics.get(interface.name)
        attachment = self._attachments.get(interface.name)
        return InterfaceStatus(
            name=interface.name,
            address=interface.address,
            mac=nic.mac.hex(":") if nic else None,
            mode=attachment.mode.value if attachment else "detached",
            fallback_reason=attachment.fallback_reason if attachment else "",
            attached=attachment is not None,
        )

    def _service(self, service: Service, counters: Counters) -> ServiceStatus:
        keys = [ServiceKey(vip=service.vip, port=port, protocol=service.protocol) for port in service.ports]
        rows = [self._reconciler.current.services[key] for key in keys if key in self._reconciler.current.services]
        traffic = [counters.services[row.id] for row in rows]
        state, reason = self._state_of(service)
        return ServiceStatus(
            name=service.name,
            vip=service.vip,
            ports=service.ports,
            protocol=service.protocol.value,
            pool=service.pool,
            interface=service.interface,
            state=state,
            reason=reason,
            packets=sum(part.packets for part in traffic),
            bytes=sum(part.bytes for part in traffic),
            new_connections=sum(part.connections for part in traffic),
        )

    def _state_of(self, service: Service) -> tuple[ServiceState, str]:
        claimant = self._reconciler.refused_vips.get(service.vip)
        if claimant:
            return "refused", f"{claimant.hex(':')} already answers for {service.vip}"
        if service.interface not in self._reconciler.nics:
            return "no interface", f"{service.interface} does not exist now"
        if service.vip in self._reconciler.unchecked_vips:
            return "unchecked", f"{service.interface} is down: whether {service.vip} is free could not be asked"
        if self._reconciler.takers(service.pool):
            return "active", ""
        return "no backend", f"nobody in pool {service.pool} takes new connections"

    def _pool(
        self, pool: Pool, standings: Mapping[str, Standing], counters: Counters, recent: Mapping[str | int, int]
    ) -> PoolStatus:
        shares = self._shares(pool)
        backends = tuple(
            self._backend(backend, standings[backend.label], shares.get(backend.label, 0.0), counters, recent)
            for backend in pool.backends
        )
        return PoolStatus(name=pool.name, kind=pool.kind.value, backends=backends)

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

    def _backend(
        self,
        backend: Backend,
        stands: Standing,
        share: float,
        counters: Counters,
        recent: Mapping[str | int, int],
    ) -> BackendStatus:
        number, row = self._row(backend)
        member = self._reconciler.members[backend.label]
        traffic = counters.backends.get(number, Traffic())
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
            effective_weight=stands.weight / 100,
            share=round(share, 5),
            capacity_percent=member.capacity.percent,
            agent=member.capacity.label if backend.agent else None,
            flows=self._flows_of(number, row),
            packets=traffic.packets,
            bytes=traffic.bytes,
            new_connections=traffic.connections,
            returned=traffic.returned,
            returned_recently=recent.get(number, 0),
        )

    def _reason(self, backend: Backend, stands: Standing) -> str:
        fault = self._facts.unprobed.get(backend.label)
        return f"not probed any more: {fault}; before that: {stands.reason}" if fault else stands.reason

    def _row(self, backend: Backend) -> tuple[int, BackendRow | None]:
        wanted = identity(backend_key(backend))
        rows = self._reconciler.current.backends.items()
        return next(((number, row) for number, row in rows if row.identity == wanted), (0, None))

    def _flows_of(self, number: int, row: BackendRow | None) -> int:
        sweep = self._reconciler.sweep
        return sweep.flows.get(self._reconciler.current.reference(number), 0) if sweep and row else 0

    def _removed(self, counters: Counters, recent: Mapping[str | int, int]) -> Iterator[BackendStatus]:
        """Rows that the file no longer has."""
        declared = {identity(backend_key(backend)) for backend in self._reconciler.declaration.backends()}
        for number, row in self._reconciler.current.backends.items():
            if row.identity in declared:
                continue
            traffic = counters.backends[number]
            yield BackendStatus(
                name=self._reconciler.labels.get(row.identity, f"#{number}"),
                address=row.address,
                mac=row.mac.hex(":") if row.mac else None,
                state=Condition.REMOVED.value,
                reason="no longer in the file; its connections go on until they end",
                since_s=None,
                probe_latency_s=None,
                weight=0,
                effective_weight=0.0,
                share=0.0,
                capacity_percent=0,
                agent=None,
                flows=self._flows_of(number, row),
                packets=traffic.packets,
                bytes=traffic.bytes,
                new_connections=traffic.connections,
                returned=traffic.returned,
                returned_recently=recent.get(number, 0),
            )

    def flows(self, limit: int) -> Flows:
        """Live flows."""
        found = self._dataplane.flows(limit=limit + 1)
        names = self._names()
        return Flows(flows=tuple(_flow(entry, names) for entry in found[:limit]), truncated=len(found) > limit)

    def _names(self) -> Mapping[int, str]:
        """Backend labels by reference."""
        declared = {identity(backend_key(backend)) for backend in self._reconciler.declaration.backends()}
        tables, labels = self._reconciler.current, self._reconciler.labels
        return {
            tables.reference(number): labels.get(row.identity, str(row.address))
            + ("" if row.identity in declared else " (removed)")
            for number, row in tables.backends.items()
        }


def _totals(counters: Counters) -> Mapping[str | int, int]:
    """Packets by reason, returned packets by backend id: what alarms go by."""
    reasons = {name: traffic.packets for name, traffic in counters.reasons.items()}
    return reasons | {number: traffic.returned for number, traffic in counters.backends.items()}


def _flow(entry: FlowEntry, names: Mapping[int, str]) -> FlowStatus:
    return FlowStatus(
        protocol=entry.protocol.value,
        client=entry.client,
        client_port=entry.client_port,
        vip=entry.vip,
        vip_port=entry.vip_port,
        backend=names.get(entry.backend, "gone"),
        idle_s=round(entry.idle_s, 1),
        state=entry.state,
    )


def anonymous_bytes() -> int:
    """This process's anonymous resident memory (``RssAnon``)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0
