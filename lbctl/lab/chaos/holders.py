"""Which server holds what a source sends, where each source keeps to one, as far as a run knows: by what its clients saw,
and by what was done. Pure.

A source keeps to a member by that member's name, until an operator assigns it to another, or the pool's ``reassign`` lets go
of it: then its next connection finds one, and it keeps to that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lbctl.core.model import Reassign
from lbctl.lab.chaos.step import Kind, Step
from lbctl.lab.chaos.world import SOURCES, VAULT, Fate, World

ALL = frozenset(map(str, SOURCES))


@dataclass(slots=True)
class Holders:
    """``known`` are the members' names by source. Of a source that is not there nothing is known."""

    known: dict[str, str] = field(default_factory=dict)

    def uncertain(self, step: Step) -> frozenset[str]:
        """The sources that may have another holder, or none, in the course of a step."""
        freed = {source for source, name in self.known.items() if any(_lets_go(w, name) for w in step.worlds())}
        moved = {source for source, name in self.known.items() if len(_servers(step, name)) > 1}
        said = {str(step.source)} if step.source is not None else set()
        is_silent = step.kind is Kind.SERVER_MAC_SILENT
        doubted = {source for source, name in self.known.items() if is_silent and _is_at_risk(step, name)}
        return frozenset(freed | moved | said | doubted)

    def after(self, step: Step) -> dict[str, str]:
        """What is known once a step was taken, whatever the clients saw meanwhile."""
        if VAULT not in step.after.pools:
            return {}
        uncertain = self.uncertain(step)
        kept = {s: name for s, name in self.known.items() if s not in uncertain or _is_kept(step, name, source=s)}
        if step.kind is Kind.ASSIGN and step.source is not None:
            kept[str(step.source)] = step.label.partition("/")[2]
        return {source: name for source, name in kept.items() if not _lets_go(step.after, name)}

    def settle(self, step: Step, *, found: Mapping[str, str]) -> None:
        """A step was taken. ``found`` are the holders in the director's table, which tell where nothing else does."""
        self.known = {**found, **self.after(step)}

    def first_seen(self, source: str, names: Collection[str]) -> None:
        """A connection of a source of which nothing was known was answered by this member (or one of these)."""
        if len(names) == 1:
            (self.known[source],) = names

    def serves(self, world: World, source: str) -> bool:
        """Whether a source's holder takes its new connections; if it has none yet, somebody does."""
        name = self.known.get(source)
        return name is None or (VAULT in world.pools and name in world.able(VAULT))


def nodes_of(worlds: Collection[World], name: str) -> frozenset[str]:
    """The servers that go by a name in some of these worlds."""
    pools = [world.pools[VAULT] for world in worlds if VAULT in world.pools]
    return frozenset(pool.members[name].node for pool in pools if name in pool.members)


def _lets_go(world: World, name: str) -> bool:
    """Whether the sources of a member are given others in such a world."""
    pool = world.pools.get(VAULT)
    if pool is None:
        return True
    if pool.reassign is Reassign.NEVER:
        return False
    member = pool.members.get(name)
    if member is None:
        return True
    is_down = world.fates[member.node] is not Fate.ALIVE and f"{VAULT}/{name}" not in world.overrides
    return pool.reassign is Reassign.DOWN and is_down


def _servers(step: Step, name: str) -> frozenset[str]:
    """Under its name, in the course of a step; none is one, too."""
    return frozenset(next(iter(nodes_of([world], name)), "") for world in step.worlds())


def _is_kept(step: Step, name: str, *, source: str) -> bool:
    """Whether a source has the same holder again after a step, by its name, though it was without for a while."""
    if source == str(step.source) or step.kind is Kind.SERVER_MAC_SILENT:
        return False
    return not any(_lets_go(world, name) for world in step.worlds())


def _is_at_risk(step: Step, name: str) -> bool:
    """Whether a member may be held for down for a while, and what it holds be given to others."""
    pool = step.before.pools.get(VAULT)
    is_its = pool is not None and name in pool.members and pool.members[name].node == step.node
    return is_its and pool is not None and pool.reassign is Reassign.DOWN
