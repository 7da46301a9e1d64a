"""The way back to where a run began: everything enabled, everybody back, and declared what was declared at first. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from lbctl.lab.chaos.step import Kind, Step
from lbctl.lab.chaos.succession import succeeded
from lbctl.lab.chaos.world import Fate, World, first_world

_Said = TypeVar("_Said")


def homeward(world: World, *, number: int) -> Iterator[Step]:
    """The steps that lead there."""
    for step in (*_words_taken_back(world, number), *_servers_back(world, number)):
        taken = succeeded(_joined(step, world))
        yield taken
        world = taken.after
    home = replace(first_world(), actives=world.actives)
    yield succeeded(Step(number=number, kind=Kind.CHANGE, words="as at the beginning", before=world, after=home))


def _words_taken_back(world: World, number: int) -> Iterator[Step]:
    """What an operator said of members."""
    for kind, labels in ((Kind.ENABLE, world.overrides), (Kind.WEIGHT, world.given)):
        for label in labels:
            pool, _, name = label.partition("/")
            node = world.pools[pool].members[name].node
            yield Step(number=number, kind=kind, words=label, before=world, after=world, label=label, node=node)


def _servers_back(world: World, number: int) -> Iterator[Step]:
    for node, fate in world.fates.items():
        if fate is not Fate.ALIVE:
            yield Step(number=number, kind=Kind.SERVER_BACK, words=node, before=world, after=world, node=node)


def _joined(step: Step, world: World) -> Step:
    """The step, taken in this world."""
    if step.kind is Kind.ENABLE:
        after = replace(world, overrides=_without(world.overrides, step.label))
    elif step.kind is Kind.WEIGHT:
        after = replace(world, given=_without(world.given, step.label))
    else:
        after = replace(world, fates={**world.fates, step.node: Fate.ALIVE})
    return replace(step, before=world, after=after)


def _without(said: Mapping[str, _Said], label: str) -> dict[str, _Said]:
    return {key: word for key, word in said.items() if key != label}
