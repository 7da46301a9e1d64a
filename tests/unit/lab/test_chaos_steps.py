"""The steps of a fault run: drawn from a seed and nothing else, of every kind, and each possible when it is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbctl.config import loader
from lbctl.config.mistakes import InvalidConfigError
from lbctl.lab.chaos.document import configuration
from lbctl.lab.chaos.homeward import homeward
from lbctl.lab.chaos.step import OF_MEMBERS, OF_SERVERS, WITHOUT_DAEMON, Kind, Step
from lbctl.lab.chaos.steps import DECK, MOST_DEAD, steps
from lbctl.lab.chaos.world import FEED, SOURCES, VAULT, Fate, Override, first_world

seeds = st.integers(0, 2**32)


def test_steps_of_the_same_seed_are_the_same() -> None:
    assert list(steps(7, 60)) == list(steps(7, 60))


def test_steps_of_a_shorter_run_are_those_a_longer_one_begins_with() -> None:
    assert list(steps(7, 20)) == list(steps(7, 60))[:20]


def test_steps_of_another_seed_are_others() -> None:
    assert [step.words for step in steps(7, 20)] != [step.words for step in steps(8, 20)]


@given(seed=seeds)
@settings(max_examples=20)
def test_steps_of_a_long_run_are_of_every_kind(seed: int) -> None:
    """(That somebody else could be the active one is not given at all times.)"""
    counted = Counter(step.kind for step in steps(seed, 300))
    assert {kind for kind in Kind if counted[kind] < DECK[kind]} <= {Kind.ACTIVATE}


@given(seed=seeds)
@settings(max_examples=20)
def test_steps_follow_one_another_and_leave_somebody_for_every_service(seed: int) -> None:
    taken = list(steps(seed, 120))
    assert taken[0].before == first_world()
    for former, step in pairwise(taken):
        assert step.before == former.after
    for world in (step.after for step in taken):
        assert all(world.has_takers(service.pool) for service in world.services.values())
        assert {service.pool for service in world.services.values()} == world.pools.keys()
        assert sum(fate is not Fate.ALIVE for fate in world.fates.values()) <= MOST_DEAD
        assert world.overrides.keys() | world.given.keys() <= {f"{pool}/{name}" for pool, name, _ in world.members()}


@given(seed=seeds)
@settings(max_examples=20)
def test_steps_concern_whom_they_can(seed: int) -> None:
    for step in steps(seed, 120):
        assert step.kind not in PRECONDITIONS or PRECONDITIONS[step.kind](step), str(step)
        assert not step.is_absent or step.kind in WITHOUT_DAEMON
        assert bool(step.node) == (step.kind in OF_SERVERS | OF_MEMBERS)


def is_alive(step: Step) -> bool:
    return step.before.fates[step.node] is Fate.ALIVE


PRECONDITIONS: dict[Kind, Callable[[Step], bool]] = {
    Kind.SERVER_BACK: lambda step: not is_alive(step),
    **dict.fromkeys(OF_SERVERS - {Kind.SERVER_BACK}, is_alive),
    Kind.DRAIN: lambda step: step.after.overrides[step.label] is Override.DRAINED,
    Kind.HALT: lambda step: step.after.overrides[step.label] is Override.HALTED,
    Kind.ENABLE: lambda step: step.label in step.before.overrides and step.label not in step.after.overrides,
    Kind.ACTIVATE: lambda step: step.label.partition("/")[2] in step.before.able(FEED),
    Kind.WEIGHT: lambda step: step.after.given.get(step.label) == step.weight,
    Kind.ASSIGN: lambda step: step.source in SOURCES and step.label.startswith(f"{VAULT}/"),
    Kind.UNASSIGN: lambda step: step.source in SOURCES and not step.label,
    Kind.CHANGE: lambda step: configuration(step.before) != configuration(step.after),
    Kind.UPGRADE: lambda step: configuration(step.before) != configuration(step.after),
}


@pytest.mark.parametrize("seed", range(3))
def test_files_of_the_steps_are_good_and_bad_files_bad(seed: int) -> None:
    for step in steps(seed, 60):
        loader.parse(configuration(step.after), source="chaos")
        if step.kind is Kind.BAD_FILE:
            with pytest.raises(InvalidConfigError):
                loader.parse(step.text, source="chaos")


@given(seed=seeds)
@settings(max_examples=10)
def test_way_home_ends_where_a_run_began(seed: int) -> None:
    world = list(steps(seed, 40))[-1].after
    way = list(homeward(world, number=41))
    assert way[0].before == world
    assert all(former.after == step.before for former, step in pairwise(way))
    assert replace(way[-1].after, actives=first_world().actives) == first_world()
    assert way[-1].after.actives.keys() == first_world().actives.keys()
