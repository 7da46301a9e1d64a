"""Who is active after each step of a fault run, and what that means to the connections of who is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbctl.core.model import Failback
from lbctl.lab.chaos.chronicle import Chronicle
from lbctl.lab.chaos.ledger import End, Ledger
from lbctl.lab.chaos.licences import Session
from lbctl.lab.chaos.step import Kind, Step
from lbctl.lab.chaos.steps import steps
from lbctl.lab.chaos.succession import may_switch, succeeded
from lbctl.lab.chaos.world import FEED, Fate, Member, Override, Pool, World, first_world

FIRST = replace(first_world(), actives={FEED: frozenset({"m1"})})
"""``m1`` is backend2, ``m2`` backend5 and ``m3`` backend6."""
ALIVE = FIRST.fates


def with_feed(world: World, **fields: Any) -> World:
    return world.with_pool(FEED, replace(world.pools[FEED], **fields))


def without(name: str, world: World = FIRST) -> World:
    return with_feed(world, members={key: m for key, m in world.pools[FEED].members.items() if key != name})


def readdressed(name: str, node: str) -> World:
    return with_feed(FIRST, members={**FIRST.pools[FEED].members, name: Member(node=node)})


def step_to(after: World, kind: Kind = Kind.CHANGE, *, before: World = FIRST, **fields: Any) -> Step:
    return succeeded(Step(number=1, kind=kind, words="x", before=before, after=after, **fields))


def drained(*names: str) -> World:
    return replace(FIRST, overrides={f"{FEED}/{name}": Override.DRAINED for name in names})


def dead(*nodes: str) -> World:
    return replace(FIRST, fates={**ALIVE, **dict.fromkeys(nodes, Fate.CUT)})


@pytest.mark.parametrize(
    ("after", "active"),
    [
        (FIRST, "m1"),
        (drained("m2"), "m1"),
        (drained("m1"), "m2"),
        (drained("m1", "m2"), "m3"),
        (replace(FIRST, given={f"{FEED}/m1": 0}), "m2"),
        (replace(FIRST, given={f"{FEED}/m1": 1}), "m1"),
        (dead("backend2"), "m2"),
        (dead("backend2", "backend5"), "m3"),
        (without("m1"), "m2"),
        (without("m3"), "m1"),
        (readdressed("m1", "backend1"), "m2"),
        (readdressed("m2", "backend1"), "m1"),
    ],
)
def test_active_one_stays_while_it_can_and_then_the_first_that_can_takes_over(after: World, active: str) -> None:
    assert step_to(after).after.actives == {FEED: {active}}


def test_former_one_that_can_again_is_active_only_where_it_fails_back_by_itself() -> None:
    before = step_to(drained("m1"), Kind.DRAIN).after
    back = replace(before, overrides={})
    assert step_to(back, Kind.ENABLE, before=before).after.actives == {FEED: {"m2"}}
    by_itself = with_feed(back, failback=Failback.AUTOMATIC)
    assert step_to(by_itself, before=before).after.actives == {FEED: {"m1"}}


def test_operators_word_makes_another_one_active() -> None:
    step = step_to(FIRST, Kind.ACTIVATE, label=f"{FEED}/m3")
    assert step.after.actives == {FEED: {"m3"}}


def test_change_that_nobody_confirms_leaves_active_whoever_took_over() -> None:
    step = step_to(FIRST, Kind.UNCONFIRMED, between=without("m1"))
    assert step.between is not None
    assert step.between.actives == step.after.actives == {FEED: {"m2"}}


def test_start_with_another_file_may_keep_the_active_one_by_its_name() -> None:
    assert step_to(readdressed("m1", "backend1"), Kind.CRASH_IN_RELOAD).after.actives == {FEED: {"m1", "m2"}}
    assert step_to(without("m1"), Kind.UPGRADE).after.actives == {FEED: {"m2", "m3"}}


def test_new_pool_has_whichever_is_found_up_first() -> None:
    before = replace(FIRST, actives={}, pools={name: pool for name, pool in FIRST.pools.items() if name != FEED})
    assert step_to(FIRST, before=before).after.actives == {FEED: {"m1", "m2", "m3"}}
    only_new = with_feed(FIRST, members={"n": Member(node="backend1")})
    assert step_to(only_new).after.actives == {FEED: {"n"}}


def test_switch_to_another_server_of_the_same_name_is_one() -> None:
    alone = without("m3", without("m2"))
    moved = alone.with_pool(FEED, Pool(members={"m1": Member(node="backend1")}, failback=Failback.MANUAL))
    assert may_switch(step_to(moved, before=alone), FEED)
    assert not may_switch(step_to(alone, Kind.CRASH, before=alone), FEED)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_steps_leave_each_pool_of_one_with_somebody_who_can(seed: int) -> None:
    for world in (each for step in steps(seed, 60) for each in step.worlds()):
        assert world.actives.keys() == {name for name, pool in world.pools.items() if pool.failback is not None}
        for pool, names in world.actives.items():
            assert names and names <= set(world.able(pool))


# The ledger ----------------------------------------------------------------------------------------------------------


def ledger_with(active: str = "m1") -> Ledger:
    ledger = Ledger(Chronicle(FIRST))
    ledger.look(actives={FEED: active}, holders={}, at_s=0)
    return ledger


def opened(ledger: Ledger, node: str, *, at_s: float = 1.0, number: int = 1) -> None:
    ledger.open(Session(number=number, service="feed", node=node, dialled_s=at_s), at_s=at_s)


def taken(ledger: Ledger, step: Step, *, from_s: float, to_s: float, actives: Mapping[str, str]) -> None:
    ledger.begin(step, at_s=from_s)
    ledger.look(actives=actives, holders={}, at_s=to_s - 0.5)
    ledger.settle(at_s=to_s)


SWITCHES = [
    step_to(drained("m1"), Kind.DRAIN, label=f"{FEED}/m1", node="backend2"),
    step_to(replace(FIRST, given={f"{FEED}/m1": 0}), Kind.WEIGHT, label=f"{FEED}/m1", node="backend2"),
    step_to(FIRST, Kind.ACTIVATE, label=f"{FEED}/m2", node="backend5"),
    step_to(without("m1")),
    step_to(FIRST, Kind.UNCONFIRMED, between=without("m1")),
]


@pytest.mark.parametrize("step", SWITCHES, ids=lambda step: str(step.kind))
@pytest.mark.parametrize("end", [End.RESET, End.CLOSED])
def test_ledger_lets_connections_of_a_former_active_one_end_and_wants_their_clients_told(step: Step, end: End) -> None:
    ledger = ledger_with()
    opened(ledger, "backend2")
    ledger.begin(step, at_s=5)
    assert ledger.untold(at_s=6) == ()  # as long as nobody knows who is active
    ledger.look(actives={FEED: "m2"}, holders={}, at_s=7)
    assert [session.number for session in ledger.untold(at_s=8)] == [1]
    ledger.never_told(ledger.untold(at_s=8), within_s=30, at_s=40)
    assert "another one than pf/m1 became active" in ledger.breaches.pop()
    ledger.end(1, end, at_s=8)
    assert ledger.breaches == []


@given(seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_ledger_never_forgives_a_connection_of_an_active_one_that_stays(seed: int) -> None:
    """Whatever is done, as long as nobody else becomes active, and its server lives."""
    fatal = (Kind.SERVER_KILLED, Kind.SERVER_CUT)
    ledger, number = ledger_with(), 0
    opened(ledger, "backend2")
    for step in steps(seed, 30):
        if may_switch(step, FEED) or (step.kind in fatal and step.node == "backend2"):
            break
        number += 1
        taken(ledger, step, from_s=10.0 * number, to_s=10.0 * number + 5, actives={FEED: "m1"})
    ledger.end(1, End.RESET, at_s=10.0 * number + 7)
    assert ledger.fates["broken"] == 1


def test_ledger_forgives_nothing_once_it_is_known_that_the_active_one_has_stayed() -> None:
    ledger = ledger_with()
    opened(ledger, "backend2")
    may = step_to(without("m1"), Kind.UPGRADE)
    either = replace(may, after=replace(FIRST, actives={FEED: frozenset({"m1", "m2"})}))
    taken(ledger, either, from_s=5, to_s=8, actives={FEED: "m1"})
    assert ledger.untold(at_s=9) == ()
    ledger.end(1, End.RESET, at_s=20)
    assert len(ledger.breaches) == 1


def test_ledger_protects_what_is_dialled_once_a_former_one_is_active_again() -> None:
    ledger = ledger_with()
    away, back = (step_to(FIRST, Kind.ACTIVATE, label=f"{FEED}/{name}") for name in ("m2", "m1"))
    taken(ledger, away, from_s=2, to_s=4, actives={FEED: "m2"})
    taken(ledger, replace(back, before=away.after), from_s=6, to_s=8, actives={FEED: "m1"})
    opened(ledger, "backend2", at_s=9)
    assert ledger.untold(at_s=10) == () and ledger.breaches == []
    ledger.end(1, End.RESET, at_s=20)
    assert len(ledger.breaches) == 1


def test_ledger_wants_new_connections_at_the_active_one_only() -> None:
    ledger = ledger_with()
    opened(ledger, "backend5", at_s=1)
    assert "a new connection to feed was answered by backend5, not by backend2" in ledger.breaches.pop()
    ledger.begin(SWITCHES[0], at_s=5)
    opened(ledger, "backend2", at_s=5.5, number=2)
    opened(ledger, "backend5", at_s=6, number=3)
    ledger.look(actives={FEED: "m2"}, holders={}, at_s=7)
    ledger.settle(at_s=8)
    assert ledger.breaches == []
    opened(ledger, "backend2", at_s=9, number=4)
    assert "answered by backend2, not by backend5" in ledger.breaches.pop()


def test_ledger_new_connection_may_fail_while_another_one_takes_over_and_at_no_other_time() -> None:
    ledger = ledger_with()
    taken(ledger, SWITCHES[0], from_s=5, to_s=8, actives={FEED: "m2"})
    assert not ledger.chronicle.must_accept("feed", "", 6, 7)
    assert ledger.chronicle.must_accept("feed", "", 3, 4) and ledger.chronicle.must_accept("feed", "", 9, 10)
    assert ledger.chronicle.must_accept("s2", "", 6, 7)


def test_chronicle_expects_whoever_was_active_where_nobody_else_may_have_become_it() -> None:
    """Who is it in a pool that is new is known from the tables alone."""
    chronicle = Chronicle(first_world())
    quiet = Step(number=1, kind=Kind.CRASH, words="", before=first_world(), after=first_world())
    assert chronicle.may_be_active(quiet) == {FEED: {"m1", "m2", "m3"}}
    chronicle.look(actives={FEED: "m2"}, holders={})
    assert chronicle.may_be_active(quiet) == {FEED: {"m2"}}
