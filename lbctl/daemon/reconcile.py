"""The single owner of state: takes in what was declared and observed, and makes the kernel hold what follows from it.

Every input is a method that changes a fact; `reconcile` turns all facts into tables, the tables into a plan, and carries
it out. Synchronous and without a clock of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from lbctl.core import failover
from lbctl.core.desired import backend_key, desired_tables
from lbctl.core.ids import identity
from lbctl.core.model import Address, Backend, Declaration
from lbctl.core.plan import Plan, diff
from lbctl.core.retention import Name, Retention
from lbctl.core.shares import shares_of
from lbctl.core.situation import Limits, Situation
from lbctl.core.standing import Signals, Standing, standing
from lbctl.core.tables import Tables, id_of, reference
from lbctl.core.takers import takers
from lbctl.daemon import words
from lbctl.daemon.adoption import adopted_actives, adopted_former_receivers
from lbctl.daemon.conditions import Conditions
from lbctl.daemon.doubts import Doubts
from lbctl.daemon.index import Index
from lbctl.daemon.neighbourhood import Neighbourhood
from lbctl.daemon.observed import Member, Observed
from lbctl.daemon.store import Overrides
from lbctl.daemon.vips import announced_vips
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


@dataclass(frozen=True, slots=True)
class DeclaredFacts:
    """What a reload changes, to be able to go back."""

    declaration: Declaration
    members: dict[str, Member]
    actives: Mapping[str, str]
    former_receivers: frozenset[int]
    refused_vips: Mapping[Address, bytes]
    unchecked_vips: frozenset[Address]


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
    ) -> None:
        self.declaration, self.index = declaration, Index(declaration)
        self.overrides = overrides
        self.current = dataplane.read()
        self.sweep: Sweep | None = None
        self.swept_at: float | None = None
        self.labels: dict[int, str] = {}
        self.generation = dataplane.generation()
        self.refused_vips: Mapping[Address, bytes] = {}
        self.unchecked_vips: frozenset[Address] = frozenset()
        self.observed = Observed(declaration, self.current, overrides=overrides, now=now)
        self.neighbourhood = Neighbourhood(self.current)
        self.conditions = Conditions()
        self.actives: Mapping[str, str] = {**actives, **adopted_actives(declaration, self.current)}
        self._former_receivers = adopted_former_receivers(declaration, self.current, actives=actives)
        self._unheard: frozenset[str] = frozenset()
        self._dataplane = dataplane
        self._retention = Retention()
        self._doubts = Doubts()
        self._idle_limits: dict[int, float] = {}
        self._learn_labels()

    # Inputs ----------------------------------------------------------------------------------------------------------

    def declare(self, declaration: Declaration, *, now: float) -> None:
        """Another file. What is known of backends that stay (under the same address) stays known."""
        both = (*failover.receivers(self.declaration), *failover.turned_receivers(self.declaration, declaration))
        self._former_receivers |= {identity(backend_key(backend)) for backend in both}
        self.index = Index(declaration)
        self._former_receivers -= self.index.labels.keys()
        self.actives = failover.still_declared(self.actives, self.declaration, declaration)
        self.observed.declare(declaration, now=now)
        self.declaration = declaration
        self._learn_labels()

    def facts(self) -> DeclaredFacts:
        """What `declare` and `claims_found` change."""
        return DeclaredFacts(
            self.declaration,
            dict(self.observed.members),
            self.actives,
            self._former_receivers,
            self.refused_vips,
            self.unchecked_vips,
        )

    def restore(self, facts: DeclaredFacts) -> None:
        """Go back to facts as they were."""
        self.observed.restore(facts.declaration, facts.members)
        self.declaration, self.actives = facts.declaration, facts.actives
        self.index = Index(facts.declaration)
        self._former_receivers = facts.former_receivers
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

    def _learn_labels(self) -> None:
        """A backend's row outlives its declaration; its name should, too."""
        self.labels |= self.index.labels

    def activate(self, label: str) -> str | None:
        """Make a backend the active one of its pool; returns the former one's name. `UsageError` if it cannot be."""
        pool, _, name = label.partition("/")
        words.require_activatable(self.declaration.pool(pool), name, self._able()[label])
        former = self.actives.get(pool)
        self.actives = {**self.actives, pool: name}
        return former

    def neighbour_seen(self, neighbour: Neighbour) -> bool:
        """The kernel told of a neighbour; true if that matters to a backend."""
        return self.neighbourhood.seen(neighbour, self.index.interfaces)

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
        numbers = {row.identity: number for number, row in self.current.backends.items()}
        connected = self._dataplane.connections()
        found: dict[str, Standing] = {}
        for label, backend in self.index.backends.items():
            number = numbers.get(self.index.identities[label], 0)
            found[label] = standing(backend, self._signals(backend, connected.get(number, Connected())))
        return found

    def _signals(self, backend: Backend, connected: Connected) -> Signals:
        neighbour = self.neighbourhood.neighbours.get(backend.address)
        return Signals(
            health=self.observed.members[backend.label].health,
            capacity=self.observed.members[backend.label].capacity,
            override=self.overrides.of(backend.label),
            is_resolved=neighbour is not None and neighbour.usable,
            neighbour=neighbour.state if neighbour else "missing",
            is_silence_doubted=backend.label in self._doubts.labels,
            is_full=connected.is_full,
        )

    def takers(self, pool: str) -> frozenset[str]:
        """The backends that take a pool's new connections, by label: its own, or else its fallback's."""
        return takers(self.declaration, self.declaration.pool(pool), self.standings())

    def plan(self, *, now: float) -> tuple[Plan, Tables, Mapping[str, str]]:
        """What is to be done, the tables that this leads to, and the active backends then."""
        self._note_silence()
        self._retention.removed(self._removed(), now=now)
        able = self._able()
        actives = failover.actives_of(self.declaration, able, before=self.actives, unheard=self._unheard)
        standings = failover.standings_with(self.declaration, able, actives)
        self.conditions.note(standings, now=now)
        situation = self._situation(standings)
        desired = desired_tables(self.declaration, situation, current=self.current, limits=LIMITS)
        return diff(self.current, desired), desired, actives

    def _note_silence(self) -> None:
        """Who is silent, and whether that may be the director's own fault: then nobody else is heard either."""
        backends = tuple(self.index.backends.values())
        silent = {b.label for b in backends if self._signals(b, Connected()).is_silent}
        probed = {b.interface for b in backends if b.label not in silent and self._is_by_hand(b)}
        heard = self.neighbourhood.heard_on(self.index.interfaces) | probed
        self._doubts.note(backends, silent=silent, heard=heard)
        self._unheard = frozenset(b.label for b in backends if b.label in silent and b.interface not in heard)

    def _is_by_hand(self, backend: Backend) -> bool:
        """Whether its ARP entry never tells if it is alive, so that only its probes do."""
        neighbour = self.neighbourhood.neighbours.get(backend.address)
        return neighbour is not None and neighbour.state == "permanent"

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

    def reconcile(self, *, now: float) -> Plan:
        """Carry out what is to be done; returns it. On a `KernelError` the kernel is read anew, and the next call goes on
        from there: every prefix of a plan is safe."""
        plan, desired, actives = self.plan(now=now)
        if plan.is_empty:
            self.actives = actives
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
        self.current, self.actives = desired, actives
        return plan

    def _verify(self, desired: Tables) -> None:
        left = diff(self._dataplane.read(), desired)
        if not left.is_empty:
            raise KernelError(f"{len(left.steps)} steps did not take effect, the first: {left.steps[0]}")

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
        """Each service's idle limit by its id, also of those that were removed while they have flows."""
        by_key = {(s.vip, port, s.protocol): s.idle_timeout_s for s in self.declaration.services for port in s.ports}
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
