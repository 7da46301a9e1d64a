"""What an operator says at run time, drawn at random: each a function that returns the step with it, or nothing if there is
nothing of that kind to say. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from lbctl.core.model import Failback
from lbctl.lab.chaos.step import Kind, Step
from lbctl.lab.chaos.world import FEED, SOURCES, VAULT, Override, World

_HALF, _OFTEN = 0.5, 0.4
"""So often it is about those on whom more depends than on others."""
_WEIGHTS = (0, 0, 1, 30, 100, 256)


def override(random: Random, step: Step) -> Step | None:
    """Drain or halt one of whom neither was said."""
    world = step.before
    labels = [f"{pool}/{name}" for pool, name, _ in world.members() if f"{pool}/{name}" not in world.overrides]
    if not labels:
        return None
    label = _preferred(random, world, labels)
    word = Override.DRAINED if step.kind is Kind.DRAIN else Override.HALTED
    return _about(label, replace(step, after=replace(world, overrides={**world.overrides, label: word})))


def enable(random: Random, step: Step) -> Step | None:
    """End a drain or a halt."""
    world = step.before
    if not world.overrides:
        return None
    label = _spoken_of(random, world.overrides)
    others = {key: word for key, word in world.overrides.items() if key != label}
    return _about(label, replace(step, after=replace(world, overrides=others)))


def activate(random: Random, step: Step) -> Step | None:
    """Make another one the active one, where that is an operator's to say."""
    world = step.before
    labels = [
        f"{pool}/{name}"
        for pool in world.actives
        if world.pools[pool].failback is Failback.MANUAL
        for name in world.able(pool)
        if world.actives[pool] != {name}
    ]
    return _about(random.choice(labels), step) if labels else None


def weight(random: Random, step: Step) -> Step | None:
    """Another weight than the file's, or that one again."""
    world = step.before
    if world.given and random.random() < _HALF:
        label = _spoken_of(random, world.given)
        others = {key: weight for key, weight in world.given.items() if key != label}
        return _about(label, replace(step, after=replace(world, given=others)), "the file's")
    label = _preferred(random, world, [f"{pool}/{name}" for pool, name, _ in world.members()])
    fresh = random.choice(_WEIGHTS)
    if fresh == world.given.get(label):
        return None
    after = replace(world, given={**world.given, label: fresh})
    return _about(label, replace(step, after=after, weight=fresh), str(fresh))


def assign(random: Random, step: Step) -> Step | None:
    """A source goes to this member from now on, whatever that is."""
    if VAULT not in step.before.pools:
        return None
    source, name = random.choice(SOURCES), random.choice(list(step.before.pools[VAULT].members))
    return _about(f"{VAULT}/{name}", replace(step, source=source), str(source))


def unassign(random: Random, step: Step) -> Step | None:
    """A source goes to whomever its next connection finds."""
    if VAULT not in step.before.pools:
        return None
    source = random.choice(SOURCES)
    return replace(step, source=source, words=str(source))


DRAWN: Mapping[Kind, Callable[[Random, Step], Step | None]] = {
    Kind.DRAIN: override,
    Kind.HALT: override,
    Kind.ENABLE: enable,
    Kind.ACTIVATE: activate,
    Kind.WEIGHT: weight,
    Kind.ASSIGN: assign,
    Kind.UNASSIGN: unassign,
}


def active_labels(world: World) -> list[str]:
    """Those who may be the active ones of their pools."""
    return sorted(f"{pool}/{name}" for pool, names in world.actives.items() for name in names)


def active_nodes(world: World) -> list[str]:
    """Their servers."""
    return sorted({_node_of(world, label) for label in active_labels(world)})


def _preferred(random: Random, world: World, labels: list[str]) -> str:
    private = [f"{VAULT}/{name}" for pool, name, _ in world.members() if pool == VAULT]
    some = [label for label in (*active_labels(world), *private) if label in labels]
    return random.choice(some if some and random.random() < _OFTEN else labels)


def _spoken_of(random: Random, said: Mapping[str, object]) -> str:
    """A member of whom something is to be taken back: rather one that may take over then."""
    labels = sorted(said)
    spares = [label for label in labels if label.startswith(f"{FEED}/")]
    return random.choice(spares if spares and random.random() < _HALF else labels)


def _about(label: str, step: Step, what: str = "") -> Step:
    return replace(step, label=label, node=_node_of(step.before, label), words=f"{label} {what}".strip())


def _node_of(world: World, label: str) -> str:
    pool, _, name = label.partition("/")
    return world.pools[pool].members[name].node
