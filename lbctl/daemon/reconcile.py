"""The single owner of state: takes in what was declared and observed, and makes the kernel hold what follows from it.

Every input is a method that changes a fact; `reconcile` turns all facts into tables, the tables into a plan, and carries
it out. Synchronous and without a clock of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

from lbctl.core import failover
from lbctl.core.drift import drift
from lbctl.core.ids import identity
from lbctl.core.model import Address, Declaration
from lbctl.core.plan import Plan, diff
from lbctl.core.retention import Name, Retention
from lbctl.core.shares import shares_of
from lbctl.core.situation import Limits, Situation
from lbctl.core.standing import Standing
from lbctl.core.tables import Tables, id_of, reference
from lbctl.core.takers import takers
from lbctl.daemon import words
from lbctl.daemon.adoption import adopted_actives, adopted_former_receivers
from lbctl.daemon.changes.declared import DeclaredFacts
from lbctl.daemon.conditions import Conditions
from lbctl.daemon.index import Index
from lbctl.daemon.neighbourhood import Neighbourhood
from lbctl.daemon.observed import Observed
from lbctl.daemon.state.overrides import Overrides
from lbctl.daemon.state.store import Remembered
from lbctl.daemon.tabling import Tabling
from lbctl.daemon.vips import announced_vips
from lbctl.daemon.weighing import NOTHING_SPECIAL, Heard, Weighing
from lbctl.dataplane.layout import BACKENDS, INTERFACES, MEMBERS, POOLS, SERVICES, SLOTS, SOURCES
from lbctl.dataplane.port import Connected, Dataplane, IdleLimits, Sweep
from lbctl.errors import KernelError
from lbctl.network.port import Neighbour

LIMITS = Limits(
    backends=BACKENDS,
    services=SERVICES,
    pools=POOLS,
    slots=SLOTS,
    interfaces=INTERFACES // 4,
    members=MEMBERS,
    sources=SOURCES,
)


class Reconciler:
    """Facts in, plans out. ``current`` is what the kernel holds, as far as this, its only writer, knows."""

    def __init__(
        self,
        declaration: Declaration,
        dataplane: Dataplane,
        *,
        overrides: Overrides,
        actives: Mapping[str, str],
        now: float,
        remembered: Mapping[str, Remembered] = MappingProxyType({}),
    ) -> None:
        self.declaration, self.index = declaration, Index(declaration)
        self._carried_out = declaration
        self.overrides, self.ramps = overrides, overrides.ramps(now)
        self.current = dataplane.read()
        self._found: Tables | None = None
        self.sweep: Sweep | None = None
        self.swept_at: float | None = None
        self.labels = {**{identity(key): key.partition("@")[0] for key in remembered}, **self.index.labels}
        self.generation = dataplane.generation()
        self.refused_vips: Mapping[Address, bytes] = {}
        self.unchecked_vips: frozenset[Address] = frozenset()
        self.observed = Observed(
            declaration, self.current, overrides=overrides, now=now, remembered=remembered, actives=actives
        )
        self.neighbourhood = Neighbourhood(self.current)
        self.conditions = Conditions()
        self.actives = adopted_actives(declaration, self.current, remembered=actives)
        self.once_active: Mapping[str, str] = {}
        self._former_receivers = adopted_former_receivers(declaration, self.current, actives=actives)
        self.unproved: frozenset[str] = frozenset()
        self._dataplane, self._retention = dataplane, Retention()
        self._weighing, self._tabling = Weighing(), Tabling(LIMITS)
        self._idle_limits: dict[int, float] = {}

    # Inputs ----------------------------------------------------------------------------------------------------------

    def declare(self, declaration: Declaration, *, now: float) -> None:
        """Another file. What is known of backends that stay (under the same address) stays known."""
        both = (*failover.receivers(self.declaration), *failover.turned_receivers(self.declaration, declaration))
        self._former_receivers |= {identity(backend.key) for backend in both}
        self.index = Index(declaration)
        self._weighing.keep_only(self.index.backends.keys())
        self._former_receivers -= self.index.labels.keys()
        self.actives = failover.still_declared(self.actives, self.declaration, declaration, once=self.once_active)
        self.observed.declare(declaration, now=now)
        self.declaration = declaration
        self.labels |= self.index.labels  # a backend's row outlives its declaration; its name should, too

    def facts(self) -> DeclaredFacts:
        """What `declare` and `claims_found` change."""
        return DeclaredFacts(
            self.declaration,
            dict(self.observed.members),
            self.actives,
            self._former_receivers,
            self.refused_vips,
            self.unchecked_vips,
            self.conditions.copied(),
        )

    def restore(self, facts: DeclaredFacts, *, heard: Collection[str] = ()) -> None:
        """Go back to facts as they were. What was ``heard`` of these backends meanwhile, by label, stays known."""
        now = self.observed.members
        known = {label: now[label] for label in heard if label in now and label in facts.members}
        self.observed.restore(facts.declaration, facts.members | known)
        self.declaration, self.index = facts.declaration, Index(facts.declaration)
        self.actives, self._former_receivers, self.conditions = facts.actives, facts.former_receivers, facts.conditions
        self.refused_vips, self.unchecked_vips = facts.refused_vips, facts.unchecked_vips

    def claims_found(
        self, asked: Iterable[Address], *, owners: Mapping[Address, bytes], unchecked: frozenset[Address]
    ) -> None:
        """The network was asked who answers for these VIPs: others own some, and some could not be asked for. A routed one is
        nobody's on any segment."""
        declared = announced_vips(self.declaration)
        settled = set(asked)
        refused = {vip: mac for vip, mac in self.refused_vips.items() if vip not in settled} | dict(owners)
        self.refused_vips = {vip: mac for vip, mac in refused.items() if vip in declared}
        self.unchecked_vips = ((self.unchecked_vips - settled) | unchecked) & declared

    def hand_over(self, *, now: float) -> None:
        """Who takes over from active ones that are declared no more is somebody known, if there is one: nobody waits for a
        newcomer, and it takes over from nobody. `LbctlError` if the tables do not fit."""
        self.actives = self.plan(now=now)[2]

    def activate(self, label: str) -> str | None:
        """Make a backend the active one of its pool; returns the former one's name. `UsageError` if it cannot be."""
        pool, _, name = label.partition("/")
        words.require_activatable(self.declaration.pool(pool), name, self._able()[label])
        former = self.actives.get(pool)
        self.actives = {**self.actives, pool: name}
        return former

    def neighbour_seen(self, neighbour: Neighbour) -> bool:
        """The kernel told of a neighbour; true if that matters to a backend, be it a removed one."""
        known = self.index.interfaces
        return self.neighbourhood.seen(neighbour, known if neighbour.address in known else self.lingering())

    def lingering(self) -> Mapping[Address, str]:
        """The interfaces of removed backends that may have connections, by address."""
        return self.index.lingering(self.current.backends.values())

    def swept(self, sweep: Sweep, *, now: float) -> None:
        """The flow tables were swept."""
        self.sweep, self.swept_at = sweep, now
        alive = [("backend", id_of(ref)) for ref in sweep.flows] + [("service", number) for number in sweep.services]
        self._retention.swept([*alive, *sweep.vips], now=now)

    # Outputs ---------------------------------------------------------------------------------------------------------

    def standings(self) -> Mapping[str, Standing]:
        """What each declared backend's signals amount to, by label."""
        return failover.standings_with(self.declaration, self._able(), self.actives)

    def _able(self) -> Mapping[str, Standing]:
        """As if every pool had all its backends active."""
        return {label: self._weighing.standing(heard) for label, heard in self._heard().items()}

    def _heard(self) -> Mapping[str, Heard]:
        """All that is known of each declared backend, by label."""
        special = self._weighing.special(self.overrides, self.ramps, full=self._full())
        members, neighbours = self.observed.members, self.neighbourhood.neighbours
        return {
            label: Heard(backend, members[label], neighbours.get(backend.address), special.get(label, NOTHING_SPECIAL))
            for label, backend in self.index.backends.items()
        }

    def _full(self) -> frozenset[str]:
        """The backends that have as many connections as they may. Most have no limit, and nobody need count theirs."""
        if not self.index.limited:
            return frozenset()
        numbers = {row.identity: number for number, row in self.current.backends.items()}
        connected = self._dataplane.connections()
        limited = {label: numbers.get(self.index.identities[label], 0) for label in self.index.limited}
        return frozenset(label for label, number in limited.items() if connected.get(number, Connected()).is_full)

    def takers(self, pool: str) -> frozenset[str]:
        """The backends that take a pool's new connections, by label: its own, or else its fallback's."""
        return takers(self.declaration, self.declaration.pool(pool), self.standings())

    def plan(self, *, now: float) -> tuple[Plan, Tables, Mapping[str, str]]:
        """What is to be done, the tables that this leads to, and the active backends then."""
        able, unheard = self._weighing.look(self._heard())
        self._retention.removed(self._removed(), now=now)
        self.unproved = failover.unproved(self.declaration, able, actives=self.actives, health_of=self.observed.health)
        actives = failover.actives_of(self.declaration, able, before=self.actives, unheard=unheard | self.unproved)
        standings = failover.standings_with(self.declaration, able, actives)
        self.conditions.note(standings, now=now)
        situation = self._situation(standings)
        plan, desired = self._tabling.make(self.declaration, situation, current=self.current, found=self._found)
        return plan, desired, actives

    def _situation(self, standings: Mapping[str, Standing]) -> Situation:
        kept = self._retention.kept()
        return Situation(
            nics=self.neighbourhood.nics,
            macs=self.neighbourhood.macs,
            standings=standings,
            refused_vips=frozenset(self.refused_vips) | self.unchecked_vips,
            busy_backends=_numbers("backend", kept),
            busy_services=_numbers("service", kept),
            busy_vips=frozenset(name for name in kept if isinstance(name, IPv4Address | IPv6Address)),
            settling_pools=self.observed.settling_pools(),
            former_receivers=self._former_receivers,
        )

    def reconcile(self, *, now: float, is_change: bool = False) -> Plan:
        """Carry out what is to be done; returns it. What was declared, or (``is_change``) all of it, is read back and compared.
        After a failure the kernel is read anew, and the next call goes on from there: every prefix of a plan is safe."""
        plan, desired, actives = self.plan(now=now)
        if plan.is_empty:
            self.actives, self._carried_out = actives, self.declaration
            return plan
        try:
            for step in plan.steps:
                self._dataplane.write(step)
            self.generation = self._dataplane.seal()
            if is_change or plan.declared_steps:
                self._verify(desired)
        except Exception:  # whatever it is: some of it may be written
            self.current, self._found = self._dataplane.read(), None
            raise
        self.current, self._found, self.actives = desired, None, actives
        self._carried_out = self.declaration
        return plan

    def _verify(self, desired: Tables) -> None:
        found = self._dataplane.read()
        if not diff(found, desired).is_empty:
            names = {**self.index.labels, **{identity(share.name): share.name for share in shares_of(self.declaration)}}
            left = drift(found, written=desired, names=names)
            more = f", and {len(left) - 1} more" if len(left) > 1 else ""
            raise KernelError(f"what was written to the tables is not there: {left[0]}{more}")
        if self._dataplane.generation() != self.generation:
            raise KernelError(f"somebody else wrote to the tables of generation {self.generation}")

    def look_again(self) -> None:
        """Somebody else may have written to the tables. Whose number is whose is not for them to say: flows carry those."""
        self._found = self._dataplane.read()

    @property
    def has_drifted(self) -> bool:
        """Whether somebody else has, as of the latest look."""
        return self._found is not None and not diff(self.current, self._found).is_empty

    def pool_of(self, pool_id: int) -> tuple[str, int]:
        """What a row of slots is called (a declared pool, or a class of its connections), and how many slots it has."""
        row = self.current.pools[pool_id]
        names = {identity(share.name): share.name for share in shares_of(self.declaration)}
        return names.get(row.identity, f"#{pool_id}"), row.size

    def label_of(self, ref: int) -> str | None:
        """The declared backend that a reference means."""
        row = self.current.backends.get(id_of(ref))
        if row is None or reference(id_of(ref), row.generation) != ref:
            return None
        return self.index.labels.get(row.identity)

    def idle_limits(self) -> IdleLimits:
        """Each service's idle limit by its id, also of those that were removed while they have flows. What a file says that is
        only being tried ends nobody's flows."""
        services = self._carried_out.services
        by_key = {(s.vip, port, s.protocol): s.idle_timeout_s for s in services for port in s.ports}
        for key, row in self.current.services.items():
            limit = by_key.get((key.vip, key.port, key.protocol))
            if limit is not None:
                self._idle_limits[row.id] = limit
        return IdleLimits(open_s=dict(self._idle_limits))

    def _removed(self) -> frozenset[Name]:
        """What the tables hold, or the flows may carry, without being declared."""
        declared = self.index.labels
        backends = {number for number, row in self.current.backends.items() if row.identity not in declared}
        carried = self._idle_limits.keys() | (self.sweep.services.keys() if self.sweep else frozenset())
        services = carried - {row.id for row in self.current.services.values()}
        vips = self.current.vips.keys() - {service.vip for service in self.declaration.services}
        numbered = {*(("backend", number) for number in backends), *(("service", number) for number in services)}
        return frozenset(numbered | vips)

    def require_backend(self, label: str) -> None:
        """`UsageError` naming the nearest one if there is no such backend."""
        words.require(label, declared=list(self.index.backends), known=self.labels.values())


def _numbers(kind: str, names: frozenset[Name]) -> frozenset[int]:
    return frozenset(name[1] for name in names if isinstance(name, tuple) and name[0] == kind)
