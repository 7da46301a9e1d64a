"""What the reconciler knows and what the kernel counted, as the API's models. Reads only."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from lbctl import __version__
from lbctl.core.addresses import by_number
from lbctl.core.model import Address
from lbctl.core.takers import takers
from lbctl.core.targets import Target
from lbctl.daemon import words
from lbctl.daemon.assigning import Assigner
from lbctl.daemon.facts import Facts
from lbctl.daemon.models import (
    ClaimStatus,
    DaemonStatus,
    Flows,
    FlowStatus,
    FlowTableStatus,
    MemoryStatus,
    PoolStatus,
    ReasonCount,
    Status,
    TargetStatus,
    UnconfirmedStatus,
)
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.reports.naming import backend_names
from lbctl.daemon.reports.pools import PoolReport
from lbctl.daemon.reports.recent import Recent
from lbctl.daemon.reports.sensing import Sensed
from lbctl.daemon.reports.services import ServiceReport, interface_status
from lbctl.daemon.reports.targets import Traffic, target_status
from lbctl.dataplane.port import Attachment, Counters, Dataplane, FlowEntry

_TRIES = 3
"""So often a look is begun, before it is made in one go."""


class Reporter:
    """Makes a `Status` on demand. ``claims`` tells who else says that a VIP is its own."""

    def __init__(
        self,
        reconciler: Reconciler,
        dataplane: Dataplane,
        facts: Facts,
        *,
        attachments: Mapping[str, Attachment],
        assigner: Assigner,
        claims: Callable[[], tuple[ClaimStatus, ...]],
    ) -> None:
        self._reconciler = reconciler
        self._dataplane = dataplane
        self._facts = facts
        self._attachments = attachments
        self._assigner = assigner
        self._claims = claims
        self._recent = Recent()

    def note(self) -> None:
        """Remember the counters of now: what has grown since is recent."""
        self._recent.note(self._counters(), now=time.monotonic())

    def _counters(self) -> Counters:
        tables = self._reconciler.current
        return self._dataplane.counters(
            services=[row.id for row in tables.services.values()], backends=list(tables.backends)
        )

    def status(self) -> Status:
        """Everything, as of now."""
        sensed = self._sensed()
        pools = self._pools(sensed)
        return self._status(sensed, pools, [pools.pool(pool) for pool in self._reconciler.declaration.pools])

    async def status_in_turns(self) -> Status:
        """The same, but with thousands of backends it takes a while, and everybody else has a turn after each pool. If the
        tables change meanwhile it is begun anew; if they always do, it is made at once."""
        for _ in range(_TRIES):
            declaration, current = self._reconciler.declaration, self._reconciler.current
            sensed = self._sensed()
            pools, found = self._pools(sensed), list[PoolStatus]()
            for pool in declaration.pools:
                found.append(pools.pool(pool))
                await asyncio.sleep(0)
                if self._reconciler.declaration is not declaration or self._reconciler.current is not current:
                    break
            else:
                return self._status(sensed, pools, found)
        return self.status()

    def _sensed(self) -> Sensed:
        return Sensed(counters=self._counters(), recent=self._recent, now=time.monotonic())

    def _pools(self, sensed: Sensed) -> PoolReport:
        return PoolReport(
            self._reconciler,
            standings=self._reconciler.standings(),
            sensed=sensed,
            connected=self._dataplane.connections(),
            unprobed=self._facts.unprobed,
            books=self._assigner.books,
        )

    def _status(self, sensed: Sensed, report: PoolReport, pools: Iterable[PoolStatus]) -> Status:
        declaration, standings = self._reconciler.declaration, report.standings
        served = {pool.name for pool in declaration.pools if takers(declaration, pool, standings)}
        services = ServiceReport(self._reconciler, sensed=sensed, served=served)
        nearby, claims = self._reconciler.neighbourhood, self._claims()
        return Status(
            daemon=self._daemon(claims),
            interfaces=tuple(interface_status(each, nearby, self._attachments) for each in declaration.interfaces),
            services=tuple(services.service(service) for service in declaration.services),
            pools=tuple(pools),
            removed=tuple(report.removed()),
            claims=claims,
            removed_vips=self._removed_vips(),
            flow_table=self._flow_table(),
            memory=MemoryStatus(daemon_anonymous=anonymous_bytes(), bpf_maps=self._dataplane.memory_bytes()),
            reasons=_reasons(sensed),
        )

    def target(self, target: Target) -> TargetStatus:
        """What a command would be about."""
        # In this order: a connection counts as open before it ceases to be half-open, so none is in neither.
        traffic = Traffic(half_open=self._dataplane.half_open(), connected=self._dataplane.connections())
        found = target_status(target, self._reconciler, traffic, now=time.monotonic())
        if not found.backends:
            words.require_target(target, self._reconciler.declaration, known=self._reconciler.labels.values())
        return found

    def _daemon(self, claims: tuple[ClaimStatus, ...]) -> DaemonStatus:
        return DaemonStatus(
            version=__version__,
            pid=os.getpid(),
            uptime_s=round(time.monotonic() - self._facts.started, 3),
            config=str(self._facts.config),
            config_error=self._facts.config_error,
            warnings=(
                *self._facts.warnings,
                *self._facts.remarks.values(),
                *self._facts.lost,
                *(claim.message for claim in claims),
                *self._table_warnings(),
            ),
            last_error=self._facts.last_error,
            generation=self._reconciler.generation,
            unconfirmed=self._unconfirmed(),
        )

    def _unconfirmed(self) -> UnconfirmedStatus | None:
        waiting = self._facts.waiting
        if waiting is None:
            return None
        entry, left_s = waiting.entry, waiting.pending.left_s()
        return UnconfirmedStatus(number=entry.number, user=entry.user, left_s=round(left_s, 3))

    def _table_warnings(self) -> Iterator[str]:
        made_for, wanted = self._facts.director, self._reconciler.declaration.director
        if (made_for.tcp_flows, made_for.udp_flows) != (wanted.tcp_flows, wanted.udp_flows):
            yield (
                f"the flow tables were made for {made_for.tcp_flows} TCP and {made_for.udp_flows} UDP flows; the sizes in "
                "the file count from the next start on (systemctl restart lbctl; traffic and connections go on)"
            )
        if self._assigner.is_full:
            yield "no more sources can be assigned a backend: remove some (lbctl assign list), new ones go by hash until then"

    def _removed_vips(self) -> tuple[Address, ...]:
        declared = {service.vip for service in self._reconciler.declaration.services}
        return tuple(sorted(self._reconciler.current.vips.keys() - declared, key=by_number))

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

    def flows(self, limit: int, backend: str | None) -> Flows:
        """Live flows; those of one backend (a label, also of one that was removed), or all."""
        reconciler = self._reconciler
        names = backend_names(reconciler.current, reconciler.index, reconciler.labels)
        if backend is not None and all(name.split(" ")[0] != backend for name in names.values()):
            reconciler.require_backend(backend)
        references = None if backend is None else [ref for ref, name in names.items() if name.split(" ")[0] == backend]
        found = self._dataplane.flows(limit=limit + 1, references=references)
        return Flows(flows=tuple(_flow(entry, names) for entry in found[:limit]), truncated=len(found) > limit)


def _reasons(sensed: Sensed) -> dict[str, ReasonCount]:
    return {
        name: ReasonCount(packets=traffic.packets, bytes=traffic.bytes, recent_packets=sensed.reason(name))
        for name, traffic in sensed.counters.reasons.items()
        if traffic.packets
    }


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
        returned_bytes=entry.returned,
        sent_bytes=entry.sent,
    )


def anonymous_bytes() -> int:
    """This process's anonymous resident memory (``RssAnon``)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0
