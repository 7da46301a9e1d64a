"""The single owner of state: takes in what was declared and observed, and makes the kernel hold what follows from it.

Every input is a method that changes a fact; `reconcile` turns all facts into tables, the tables into a plan, and carries
it out. Synchronous and without a clock of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
from lbctl.core.retention import Name, Retention
from lbctl.core.standing import Signals, Standing, standing
from lbctl.core.tables import Tables, id_of
from lbctl.core.verdict import AgentReport, AgentSilence, ProbeResult
from lbctl.daemon.adoption import adopted_health, adopted_percents
from lbctl.daemon.conditions import Conditions
from lbctl.daemon.doubts import Doubts, is_heard
from lbctl.daemon.words import require
from lbctl.dataplane.layout import BACKENDS, INTERFACES, POOLS, SERVICES, SLOTS
from lbctl.dataplane.port import Dataplane, IdleLimits, Sweep
from lbctl.errors import KernelError
from lbctl.network.port import Neighbour, is_other_station

LIMITS = Limits(backends=BACKENDS, services=SERVICES, pools=POOLS, slots=SLOTS, interfaces=INTERFACES)


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of one declared backend."""

    health: Health
    capacity: Capacity


@dataclass(frozen=True, slots=True)
class DeclaredFacts:
    """What a reload changes, to be able to go back."""

    declaration: Declaration
    members: dict[str, Member]
    refused_vips: Mapping[IPv4Address, bytes]
    unchecked_vips: frozenset[IPv4Address]


class Reconciler:
    """Facts in, plans out. ``current`` is what the kernel holds, as far as this, its only writer, knows."""

    def __init__(self, declaration: Declaration, dataplane: Dataplane, *, drained: frozenset[str], now: float) -> None:
        self.declaration = declaration
        self.drained = drained
        self.current = dataplane.read()
        self.sweep: Sweep | None = None
        self.swept_at: float | None = None
        self.labels: dict[int, str] = {}
        self.generation = dataplane.generation()
        self.members: dict[str, Member] = {}
        self.nics: dict[str, NicFacts] = {}
        self.neighbours: dict[IPv4Address, Neighbour] = {}
        self.refused_vips: Mapping[IPv4Address, bytes] = {}
        self.unchecked_vips: frozenset[IPv4Address] = frozenset()
        self._dataplane = dataplane
        self._macs = {row.address: row.mac for row in self.current.backends.values() if row.mac}
        self.conditions = Conditions()
        self._retention = Retention()
        self._doubts = Doubts()
        self._idle_limits: dict[int, float] = {}
        self._adopt(now)
        self._learn_labels()

    # Inputs ----------------------------------------------------------------------------------------------------------

    def _adopt(self, now: float) -> None:
        """Begin each backend where the kernel's tables left it."""
        shares = adopted_percents(self.declaration, self.current)
        rows = {row.identity: row for row in self.current.backends.values()}
        for backend in self.declaration.backends():
            row = rows.get(identity(backend_key(backend)))
            self.members[backend.label] = Member(
                adopted_health(row, is_drained=backend.label in self.drained, now=now),
                Capacity.adopted(shares.get(backend.label, 0)) if backend.agent and row else Capacity(),
            )

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
        self._learn_labels()

    def facts(self) -> DeclaredFacts:
        """What `declare` and `claims_found` change."""
        return DeclaredFacts(self.declaration, dict(self.members), self.refused_vips, self.unchecked_vips)

    def restore(self, facts: DeclaredFacts) -> None:
        """Go back to facts as they were."""
        self.declaration, self.members = facts.declaration, facts.members
        self.refused_vips, self.unchecked_vips = facts.refused_vips, facts.unchecked_vips

    def claims_found(
        self, asked: Iterable[IPv4Address], *, owners: Mapping[IPv4Address, bytes], unchecked: frozenset[IPv4Address]
    ) -> None:
        """The network was asked who answers for these VIPs: others own some, and some could not be asked for."""
        declared = {service.vip for service in self.declaration.services}
        settled = set(asked)
        refused = {vip: mac for vip, mac in self.refused_vips.items() if vip not in settled} | dict(owners)
        self.refused_vips = {vip: mac for vip, mac in refused.items() if vip in declared}
        self.unchecked_vips = ((self.unchecked_vips - settled) | unchecked) & declared

    def _learn_labels(self) -> None:
        """A backend's row outlives its declaration; its name should, too."""
        self.labels |= {identity(backend_key(backend)): backend.label for backend in self.declaration.backends()}

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
        """The kernel told of a neighbour; true if that matters to a backend. The same address on another interface is
        somebody else."""
        interface = self._interfaces_of_backends.get(neighbour.address)
        nic = self.nics.get(interface) if interface else None
        if nic is None or nic.ifindex != neighbour.ifindex:
            return False
        if neighbour.mac is not None and not is_other_station(neighbour.mac, own=nic.mac):
            neighbour = replace(
                neighbour, mac=None, usable=False, state="claimed with a MAC that is no other station's"
            )
        before = self.neighbours.get(neighbour.address)
        self.neighbours[neighbour.address] = neighbour
        if neighbour.usable and neighbour.mac:
            self._macs[neighbour.address] = neighbour.mac
        return before is None or _essence(before) != _essence(neighbour)

    @property
    def _interfaces_of_backends(self) -> Mapping[IPv4Address, str]:
        return {backend.address: backend.interface for backend in self.declaration.backends()}

    def swept(self, sweep: Sweep, *, now: float) -> None:
        """The flow tables were swept."""
        self.sweep, self.swept_at = sweep, now
        alive = [("backend", id_of(ref)) for ref in sweep.flows] + [("service", number) for number in sweep.services]
        self._retention.swept([*alive, *sweep.vips], now=now)

    @property
    def is_first_look_over(self) -> bool:
        """Whether every backend was probed or has history, and every agent has answered."""
        return all(
            (member.health.last_result or member.health.accepts_new) and not member.capacity.is_adopted
            for member in self.members.values()
        )

    def is_guessed(self, label: str) -> bool:
        """Whether a backend's capacity is only what the kernel's tables let one guess."""
        return label in self.members and self.members[label].capacity.is_adopted

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
            is_silence_doubted=backend.label in self._doubts.labels,
        )

    def takers(self, pool: str) -> frozenset[str]:
        """The backends of a pool that take new connections, by label."""
        members = self.declaration.pool(pool).backends
        return frozenset(member.label for member in members if standing(member, self._signals(member)).weight)

    def plan(self, *, now: float) -> tuple[Plan, Tables]:
        """What is to be done, and the tables that this leads to."""
        backends, interfaces = tuple(self.declaration.backends()), self._interfaces_of_backends
        heard = {interfaces[a] for a, found in self.neighbours.items() if a in interfaces and is_heard(found)}
        self._doubts.note(backends, silent=lambda backend: self._signals(backend).is_silent, heard=heard)
        self._retention.removed(self._removed(), now=now)
        kept = self._retention.kept()
        standings = self.standings()
        self.conditions.note(standings, now=now)
        situation = Situation(
            nics=self.nics,
            macs=self._macs,
            standings=standings,
            refused_vips=frozenset(self.refused_vips) | self.unchecked_vips,
            busy_backends=_numbers("backend", kept),
            busy_services=_numbers("service", kept),
            busy_vips=frozenset(name for name in kept if isinstance(name, IPv4Address)),
            settling_pools=self._settling_pools(),
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

    def pool_of(self, pool_id: int) -> tuple[str, int]:
        """The name of a declared pool, and how many slots it has."""
        row = self.current.pools[pool_id]
        names = {identity(pool.name): pool.name for pool in self.declaration.pools}
        return names.get(row.identity, f"#{pool_id}"), row.size

    def idle_limits(self) -> IdleLimits:
        """Each service's idle limit by its id, also of those that were removed while they have flows."""
        by_key = {(s.vip, port, s.protocol): s.idle_timeout_s for s in self.declaration.services for port in s.ports}
        for key, row in self.current.services.items():
            limit = by_key.get((key.vip, key.port, key.protocol))
            if limit is not None:
                self._idle_limits[row.id] = limit
        return IdleLimits(open_s=dict(self._idle_limits))

    def _removed(self) -> frozenset[Name]:
        """What the tables hold, or the flows may carry, without being declared."""
        declared = {identity(backend_key(backend)) for backend in self.declaration.backends()}
        backends = {number for number, row in self.current.backends.items() if row.identity not in declared}
        carried = self._idle_limits.keys() | (self.sweep.services.keys() if self.sweep else frozenset())
        services = carried - {row.id for row in self.current.services.values()}
        vips = self.current.vips.keys() - {service.vip for service in self.declaration.services}
        numbered = {*(("backend", number) for number in backends), *(("service", number) for number in services)}
        return frozenset(numbered | vips)

    def _settling_pools(self) -> frozenset[str]:
        """Pools with an agent that has not been heard since the daemon's start."""
        return frozenset(
            pool.name
            for pool in self.declaration.pools
            if any(self.members[backend.label].capacity.is_adopted for backend in pool.backends)
        )

    def require_backend(self, label: str) -> None:
        """`UsageError` naming the nearest one if there is no such backend."""
        require(label, declared=[backend.label for backend in self.declaration.backends()], known=self.labels.values())

    def _backend(self, label: str) -> Backend | None:
        return next((backend for backend in self.declaration.backends() if backend.label == label), None)


def _essence(neighbour: Neighbour) -> tuple[bytes | None, bool, bool]:
    return neighbour.mac, neighbour.usable, neighbour.state == "failed"


def _numbers(kind: str, names: frozenset[Name]) -> frozenset[int]:
    return frozenset(name[1] for name in names if isinstance(name, tuple) and name[0] == kind)
