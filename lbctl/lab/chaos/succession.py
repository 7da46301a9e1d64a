"""Who is active in a pool of which one member is at a time, after whatever was done. Pure.

The active one stays while it can take connections (unless the pool fails back by itself); then the first in the order of the
file that can takes over. One that another server goes by the name of now is no longer the active one, unless the daemon was
started with that file: it knows the active one by name. Of members that are all new, the first to be found up becomes active.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lbctl.core.model import Failback
from lbctl.lab.chaos.step import Kind, Step
from lbctl.lab.chaos.world import World

_STARTS_WITH_FILE = frozenset({Kind.CRASH_IN_RELOAD, Kind.UPGRADE})
"""In these the daemon may have been started with a file that it did not know."""


def succeeded(step: Step) -> Step:
    """The step with those who may be active after it, and while nobody has confirmed it."""
    if step.kind is Kind.ACTIVATE:
        pool, _, name = step.label.partition("/")
        return replace(step, after=replace(step.after, actives={**step.before.actives, pool: frozenset({name})}))
    is_taken_back = step.kind is Kind.UNCONFIRMED and step.between is not None
    between = with_actives(step.between or step.after, after=step.before, is_start=step.kind in _STARTS_WITH_FILE)
    after = with_actives(step.after, after=between, is_start=step.has_crash) if is_taken_back else between
    return replace(step, between=between if step.between else None, after=after)


def with_actives(world: World, *, after: World, is_start: bool) -> World:
    """The world with those who may be active in it, after another one."""
    return replace(world, actives=_actives(after, world, is_start=is_start))


def _actives(before: World, world: World, *, is_start: bool) -> Mapping[str, frozenset[str]]:
    found = {}
    for name, pool in world.pools.items():
        if pool.failback is not None:
            formers = before.actives.get(name) or frozenset({""})
            possible = (_possible(name, former, before, world, is_start=is_start) for former in formers)
            found[name] = frozenset[str]().union(*possible)
    return found


def _possible(pool: str, former: str, before: World, world: World, *, is_start: bool) -> frozenset[str]:
    """Who may be active if that one was."""
    able = world.able(pool)
    if world.pools[pool].failback is Failback.AUTOMATIC:
        return frozenset(able[:1])
    known = [name for name in able if not _is_new(pool, name, before, world)]
    if former in known:
        return frozenset({former})
    first = frozenset(known[:1] or able)
    if not is_start:
        return first
    return first | (frozenset({former}) if former in able else frozenset(able))


def _is_new(pool: str, name: str, before: World, world: World) -> bool:
    was = before.pools[pool].members.get(name) if pool in before.pools else None
    return was is None or was.node != world.pools[pool].members[name].node


def may_switch(step: Step, pool: str) -> bool:
    """Whether the pool may have another active server in the course of a step, or for some time of it."""
    is_told = step.kind is Kind.ACTIVATE and step.label.startswith(f"{pool}/")
    return is_told or len({_servers(world, pool) for world in step.worlds()}) > 1


def _servers(world: World, pool: str) -> frozenset[tuple[str, str]]:
    return frozenset((name, world.pools[pool].members[name].node) for name in world.actives.get(pool, ()))
