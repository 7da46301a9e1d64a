"""What was so when, by the steps that were taken: whom a new connection could reach, and whether it had to be answered.
Pure: times are arguments (monotonic seconds).

A new connection reaches a server that takes its service's connections; where one member is active at a time, the active one;
where each source has its own, that one and nobody else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lbctl.lab.chaos.holders import ALL, Holders, nodes_of
from lbctl.lab.chaos.step import OF_DIRECTORS_PATH, OF_SERVERS, Kind, Step
from lbctl.lab.chaos.succession import may_switch
from lbctl.lab.chaos.world import FEED, VAULT, World


@dataclass(slots=True, kw_only=True)
class Era:
    """A step under way, until everything has settled. ``actives`` were so before it; ``uncertain`` are the sources that may
    have another holder in it, or their first."""

    step: Step
    began_s: float
    settled_s: float | None = None
    actives: Mapping[str, str] = field(default_factory=dict)
    uncertain: frozenset[str] = frozenset()

    def overlaps(self, since_s: float, until_s: float) -> bool:
        """Whether it was under way at any moment of a time."""
        return self.began_s <= until_s and (self.settled_s is None or since_s <= self.settled_s)


@dataclass(slots=True)
class Chronicle:
    """``actives`` are the active members' names by pool, as they were found when all had settled last."""

    world: World
    eras: list[Era] = field(default_factory=list)
    actives: Mapping[str, str] = field(default_factory=dict)
    holders: Holders = field(default_factory=Holders)

    def begin(self, step: Step, *, at_s: float) -> None:
        """A step is about to be taken."""
        uncertain = self.holders.uncertain(step) | (ALL - self.holders.known.keys())
        self.eras.append(Era(step=step, began_s=at_s, actives=self.actives, uncertain=uncertain))

    def look(self, *, actives: Mapping[str, str], holders: Mapping[str, str]) -> None:
        """All is as it should be: the director's tables tell the rest, who is active and who holds what of which source."""
        self.actives = actives
        if self.eras:
            self.holders.settle(self.eras[-1].step, found=holders)
        else:
            self.holders.known = {**holders, **self.holders.known}

    def may_be_active(self, step: Step) -> Mapping[str, frozenset[str]]:
        """Who may be the active one after a step: whoever was, if nobody else may have become it in its course."""
        return {
            pool: names if may_switch(step, pool) or pool not in self.actives else frozenset({self.actives[pool]})
            for pool, names in step.after.actives.items()
        }

    def must_hold(self) -> Mapping[str, str]:
        """The sources of which it is known who holds what they send, now that the latest step was taken."""
        is_taken = self.eras and self.eras[-1].settled_s is None
        return self.holders.after(self.eras[-1].step) if is_taken else self.holders.known

    def settle(self, *, at_s: float) -> None:
        """The step was taken."""
        era = self.eras[-1]
        era.settled_s, self.world = at_s, era.step.after

    def between(self, since_s: float, until_s: float) -> Iterator[Era]:
        """The steps that were under way at some moment of that time."""
        return (era for era in self.eras if era.overlaps(since_s, until_s))

    def worlds(self, since_s: float, until_s: float) -> tuple[World, ...]:
        """Every world that there was at some moment of that time."""
        found = tuple(world for era in self.between(since_s, until_s) for world in era.step.worlds())
        return found or (next((era.step.before for era in self.eras if era.began_s > until_s), self.world),)

    def is_path_touched(self, node: str, since_s: float, until_s: float) -> bool:
        """Whether an answer may take longer."""
        return any(_touches_path(era.step, node) for era in self.between(since_s, until_s))

    def must_accept(self, service: str, source: str, since_s: float, until_s: float) -> bool:
        """Whether a new connection that took from then to then had to succeed."""
        eras, worlds = list(self.between(since_s, until_s)), self.worlds(since_s, until_s)
        if any(_disturbs_dialling(era, service, source) for era in eras):
            return False
        return all(world.accepts(service) and self._has_holder(world, service, source) for world in worlds)

    def _has_holder(self, world: World, service: str, source: str) -> bool:
        return world.services[service].pool != VAULT or self.holders.serves(world, source)

    def reachable(self, service: str, source: str, since_s: float, until_s: float) -> frozenset[str]:
        """The servers that may have answered a new connection that took from then to then."""
        eras, worlds = list(self.between(since_s, until_s)), self.worlds(since_s, until_s)
        taking = frozenset(node for world in worlds for node in _takers(world, service))
        pools = {world.services[service].pool for world in worlds if service in world.services}
        if FEED in pools and not any(may_switch(era.step, FEED) for era in eras):
            return taking & self._active(worlds, since_s, until_s)
        is_certain = source in self.holders.known and not any(source in era.uncertain for era in eras)
        if VAULT in pools and is_certain:
            return taking & nodes_of(worlds, self.holders.known[source])
        return taking

    def _active(self, worlds: Collection[World], since_s: float, until_s: float) -> frozenset[str]:
        """The server that was active then, for nobody else became it."""
        later = (era.actives for era in self.eras if era.settled_s is None or era.settled_s >= since_s)
        name = next(later, self.actives).get(FEED)
        pools = [world.pools[FEED] for world in worlds if FEED in world.pools]
        return frozenset(m.node for pool in pools for key, m in pool.members.items() if name in (None, key))

    def learn(self, service: str, source: str, node: str, *, since_s: float, until_s: float) -> None:
        """A new connection was answered: it may be the first of its source."""
        worlds = self.worlds(since_s, until_s)
        is_certain = not any(source in era.uncertain for era in self.between(since_s, until_s))
        if source and source not in self.holders.known and is_certain:
            pools = [world.pools[VAULT] for world in worlds if VAULT in world.pools]
            names = {name for pool in pools for name, member in pool.members.items() if member.node == node}
            self.holders.first_seen(source, names)

    def now(self, at_s: float) -> str:
        """The moment in words."""
        era = next((era for era in reversed(self.eras) if era.began_s <= at_s), None)
        if era is None:
            return "no step was taken yet"
        return f"{at_s - era.began_s:.1f} s into {era.step}"


def _takers(world: World, service: str) -> Iterable[str]:
    """The servers that take the run's clients. (A class says where a source is assigned, and nothing after that.)"""
    row = world.services.get(service)
    if row is None:
        return ()
    weights, members = world.class_weights(row.pool), world.pools[row.pool].members
    return (members[name].node for name in world.able(row.pool) if weights[name] or row.pool == VAULT)


def _disturbs_dialling(era: Era, service: str, source: str) -> bool:
    """Whether a new connection may fail meanwhile."""
    step = era.step
    rows = (world.services.get(service) for world in step.worlds())
    pools = {row.pool for row in rows if row}
    is_switching = any(may_switch(step, pool) for pool in pools)
    if step.kind in OF_DIRECTORS_PATH or is_switching or (VAULT in pools and source in era.uncertain):
        return True
    if step.kind not in OF_SERVERS | {Kind.HALT} or step.kind in (Kind.SERVER_MAC, Kind.SERVER_MAC_SILENT):
        return False
    return any(member.node == step.node and pool in pools for pool, _, member in step.before.members())


def _touches_path(step: Step, node: str) -> bool:
    """Whether an answer may take longer meanwhile."""
    if step.kind in OF_DIRECTORS_PATH | {Kind.DIRECTOR_MAC}:
        return True
    return step.kind in OF_SERVERS and step.node == node
