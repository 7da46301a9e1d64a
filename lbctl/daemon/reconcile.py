"""The single owner of state: takes in what was declared and observed, and makes the kernel hold what follows from it.

Every input is a method that changes a fact; `reconcile` turns all facts into tables, the tables into a plan, and carries it
out. Synchronous and without a clock of its own, so that tests drive it with a fake data plane.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from lbctl.core import capacity as capacities
from lbctl.core import health as healths
from lbctl.core.capacity import Capacity
from lbctl.core.desired import Limits, NicFacts, Situation, backend_key, desired_tables
from lbctl.core.health import Health
from lbctl.core.ids import identity
from lbctl.core.model import Backend, Declaration
from lbctl.core.plan import Plan, diff
from lbctl.core.retention import Retention
from lbctl.core.standing import Signals, Standing, standing
from lbctl.core.tables import BackendState, Tables
from lbctl.core.verdict import AgentReport, AgentSilence, ProbeResult
from lbctl.dataplane.layout import BACKENDS, POOLS, SERVICES, SLOTS
from lbctl.dataplane.port import Dataplane, IdleLimits, Sweep
from lbctl.errors import KernelError
from lbctl.network.port import Neighbour

_log = logging.getLogger(__name__)

LIMITS = Limits(backends=BACKENDS, services=SERVICES, pools=POOLS, slots=SLOTS)


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of one declared backend."""

    health: Health
    capacity: Capacity


class Reconciler:
    """Facts in, plans out. ``current`` is what the kernel holds, as far as this, its only writer, knows."""

    def __init__(self, declaration: Declaration, dataplane: Dataplane, *, drained: frozenset[str], now: float) -> None:
        self.declaration = declaration
        self.drained = drained
        self.current = dataplane.read()
        self.sweep: Sweep | None = None
        self.generation = dataplane.generation()
        self.members: dict[str, Member] = {}
        self.nics: dict[str, NicFacts] = {}
        self.neighbours: dict[IPv4Address, Neighbour] = {}
        self.refused_vips: dict[IPv4Address, bytes] = {}
        self._dataplane = dataplane
        self._macs = {row.address: row.mac for row in self.current.backends.values() if row.mac}
        self._retention = Retention()
        self._adopt(now)

    # Inputs ----------------------------------------------------------------------------------------------------------

    def _adopt(self, now: float) -> None:
        """Begin each backend where the kernel's tables left it."""
        shares = adopted_percents(self.declaration, self.current)
        rows = {row.identity: row for row in self.current.backends.values()}
        for backend in self.declaration.backends():
            row = rows.get(identity(backend_key(backend)))
            percent = shares.get(backend.label, 100) if backend.agent else 100
            health = Health(since_s=now) if row is None else Health.adopted(row.state is not BackendState.DOWN, now=now)
            self.members[backend.label] = Member(health, Capacity.adopted(percent))

    def declare(self, declaration: Declaration, *, now: float) -> None:
        """Another file. What is known of backends that stay (under the same address) stays known."""
        before = {backend.label: backend for backend in self.declaration.backends()}
        known = {}
        for backend in declaration.backends():
            stays = backend.label in before and before[backend.label].address == backend.address
            has_agent = stays and backend.agent is not None
            member = self.members[backend.label] if stays else Member(Health(since_s=now), Capacity())
            known[backend.label] = member if has_agent else replace(member, capacity=Capacity())
        self.declaration, self.members = declaration, known

    def probed(self, label: str, result: ProbeResult, *, now: float) -> tuple[healths.HealthEvent, ...]:
        """A probe ended. One of a backend that was removed meanwhile counts for nothing."""
        backend, member = self._backend(label), self.members.get(label)
        if backend is None or member is None:
            return ()
        health, events = healths.observe(member.health, result, timing=backend.check.timing, now=now)
        self.members[label] = replace(member, health=health)
        return events

    def agent_answered(
        self, label: str, answer: AgentReport | AgentSilence, *, now: float
    ) -> tuple[capacities.CapacityEvent, ...]:
        """An agent was asked."""
        member = self.members.get(label)
        if member is None:
            return ()
        capacity, events = capacities.observe(member.capacity, answer, now=now)
        self.members[label] = replace(member, capacity=capacity)
        return events

    def neighbour_seen(self, neighbour: Neighbour) -> bool:
        """The kernel told of a neighbour; true if that matters to a backend."""
        if neighbour.address not in {backend.address for backend in self.declaration.backends()}:
            return False
        before = self.neighbours.get(neighbour.address)
        self.neighbours[neighbour.address] = neighbour
        if neighbour.usable and neighbour.mac:
            self._macs[neighbour.address] = neighbour.mac
        return before is None or (before.mac, before.usable) != (neighbour.mac, neighbour.usable)

    def swept(self, sweep: Sweep, *, now: float) -> None:
        """The flow tables were swept."""
        self.sweep = sweep
        self._retention.swept(sweep.flows, sweep.vips, now=now)

    # Outputs ---------------------------------------------------------------------------------------------------------

    def standings(self) -> Mapping[str, Standing]:
        """What each declared backend's signals amount to, by label."""
        return {backend.label: standing(backend, self._signals(backend)) for backend in self.declaration.backends()}

    def _signals(self, backend: Backend) -> Signals:
        neighbour = self.neighbours.get(backend.address)
        return Signals(
            health=self.members[backend.label].health,
            capacity=self.members[backend.label].capacity,
            is_drained=backend.label in self.drained,
            is_resolved=neighbour is not None and neighbour.usable,
            neighbour=neighbour.state if neighbour else "missing",
        )

    def plan(self, *, now: float) -> tuple[Plan, Tables]:
        """What is to be done, and the tables that this leads to."""
        self._retention.removed(self._removed_backends(), self._removed_vips(), now=now)
        situation = Situation(
            nics=self.nics,
            macs=self._macs,
            standings=self.standings(),
            refused_vips=frozenset(self.refused_vips),
            busy_backends=self._retention.backends(now=now),
            busy_vips=self._retention.vips(now=now),
        )
        desired = desired_tables(self.declaration, situation, current=self.current, limits=LIMITS)
        return diff(self.current, desired), desired

    def reconcile(self, *, now: float) -> Plan:
        """Carry out what is to be done; returns it. On a `KernelError` the kernel is read anew, and the next call goes on
        from there: every prefix of a plan is safe."""
        plan, desired = self.plan(now=now)
        if plan.is_empty:
            return plan
        try:
            for step in plan.steps:
                self._dataplane.write(step)
            self.generation = self._dataplane.seal()
            if plan.declared_steps:
                self._verify(desired)
        except KernelError:
            self.current = self._dataplane.read()
            raise
        self.current = desired
        return plan

    def _verify(self, desired: Tables) -> None:
        left = diff(self._dataplane.read(), desired)
        if not left.is_empty:
            raise KernelError(f"{len(left.steps)} steps did not take effect, the first: {left.steps[0]}")

    def idle_limits(self) -> IdleLimits:
        """Each service's idle limit by its id."""
        by_key = {(s.vip, port, s.protocol): s.idle_timeout_s for s in self.declaration.services for port in s.ports}
        open_s = {
            row.id: by_key[key.vip, key.port, key.protocol]
            for key, row in self.current.services.items()
            if (key.vip, key.port, key.protocol) in by_key
        }
        return IdleLimits(open_s=open_s)

    def _removed_backends(self) -> frozenset[int]:
        declared = {identity(backend_key(backend)) for backend in self.declaration.backends()}
        return frozenset(number for number, row in self.current.backends.items() if row.identity not in declared)

    def _removed_vips(self) -> frozenset[IPv4Address]:
        return frozenset(self.current.vips) - {service.vip for service in self.declaration.services}

    def _backend(self, label: str) -> Backend | None:
        return next((backend for backend in self.declaration.backends() if backend.label == label), None)


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
