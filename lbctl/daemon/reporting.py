"""What the reconciler knows and what the kernel counted, as the API's models. Reads only."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from lbctl import __version__
from lbctl.core.desired import backend_key
from lbctl.core.ids import identity
from lbctl.core.model import Interface, Service
from lbctl.core.tables import ServiceKey
from lbctl.core.takers import takers
from lbctl.daemon.assigning import Assigner
from lbctl.daemon.facts import Facts
from lbctl.daemon.models import (
    DaemonStatus,
    Flows,
    FlowStatus,
    FlowTableStatus,
    InterfaceStatus,
    MemoryStatus,
    ReasonCount,
    ServiceState,
    ServiceStatus,
    Status,
)
from lbctl.daemon.pool_report import PoolReport
from lbctl.daemon.recent import Recent
from lbctl.daemon.reconcile import Reconciler
from lbctl.dataplane.port import Attachment, Counters, Dataplane, FlowEntry


class Reporter:
    """Makes a `Status` on demand."""

    def __init__(
        self,
        reconciler: Reconciler,
        dataplane: Dataplane,
        facts: Facts,
        *,
        attachments: Mapping[str, Attachment],
        assigner: Assigner,
    ) -> None:
        self._reconciler = reconciler
        self._dataplane = dataplane
        self._facts = facts
        self._attachments = attachments
        self._assigner = assigner
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
        served = {pool.name for pool in declaration.pools if takers(declaration, pool, standings)}
        pools = PoolReport(
            self._reconciler,
            standings=standings,
            counters=counters,
            recent=recent,
            connected=self._dataplane.connections(),
            unprobed=self._facts.unprobed,
            books=self._assigner.books,
        )
        return Status(
            daemon=self._daemon(),
            interfaces=tuple(self._interface(interface) for interface in declaration.interfaces),
            services=tuple(
                self._service(service, counters, is_served=service.pool in served) for service in declaration.services
            ),
            pools=tuple(pools.pool(pool) for pool in declaration.pools),
            removed=tuple(pools.removed()),
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
            warnings=(*self._facts.warnings, *self._table_warnings()),
            last_error=self._facts.last_error,
            generation=self._reconciler.generation,
        )

    def _table_warnings(self) -> Iterator[str]:
        made_for, wanted = self._facts.director, self._reconciler.declaration.director
        if (made_for.tcp_flows, made_for.udp_flows) != (wanted.tcp_flows, wanted.udp_flows):
            yield (
                f"the flow tables were made for {made_for.tcp_flows} TCP and {made_for.udp_flows} UDP flows; the sizes in "
                "the file count from the next start on (systemctl restart lbctl; traffic and connections go on)"
            )
        if self._assigner.is_full:
            yield "no more sources can be assigned a backend: remove some (lbctl assign list), new ones go by hash until then"

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
        nic = self._reconciler.neighbourhood.nics.get(interface.name)
        attachment = self._attachments.get(interface.name)
        return InterfaceStatus(
            name=interface.name,
            address=interface.address,
            mac=nic.mac.hex(":") if nic else None,
            mode=attachment.mode.value if attachment else "detached",
            fallback_reason=attachment.fallback_reason if attachment else "",
            attached=attachment is not None,
        )

    def _service(self, service: Service, counters: Counters, *, is_served: bool) -> ServiceStatus:
        keys = [ServiceKey(vip=service.vip, port=port, protocol=service.protocol) for port in service.ports]
        rows = [self._reconciler.current.services[key] for key in keys if key in self._reconciler.current.services]
        traffic = [counters.services[row.id] for row in rows]
        state, reason = self._state_of(service, is_served=is_served)
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

    def _state_of(self, service: Service, *, is_served: bool) -> tuple[ServiceState, str]:
        claimant = self._reconciler.refused_vips.get(service.vip)
        if claimant:
            return "refused", f"{claimant.hex(':')} already answers for {service.vip}"
        if service.interface not in self._reconciler.neighbourhood.nics:
            return "no interface", f"{service.interface} does not exist now"
        if service.vip in self._reconciler.unchecked_vips:
            return "unchecked", f"{service.interface} is down: whether {service.vip} is free could not be asked"
        if is_served:
            return "active", ""
        return "no backend", f"nobody in pool {service.pool} takes new connections"

    def flows(self, limit: int, backend: str | None) -> Flows:
        """Live flows; those of one backend (a label, also of one that was removed), or all."""
        names = self._names()
        references = None if backend is None else [ref for ref, name in names.items() if name.split(" ")[0] == backend]
        found = self._dataplane.flows(limit=limit + 1, references=references)
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
