"""The ledger of a fault run: what it forgives, and what it never does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.lab.chaos.chronicle import Chronicle
from lbctl.lab.chaos.ledger import LONGEST_WAIT_S, USUAL_WAIT_S, End, Ledger
from lbctl.lab.chaos.licences import Session
from lbctl.lab.chaos.step import Kind, Step
from lbctl.lab.chaos.steps import steps
from lbctl.lab.chaos.world import NODES, Allow, Fate, Override, Service, World, first_world

BREAKS = (End.RESET, End.CLOSED, End.SILENT)
FATAL = (Kind.SERVER_KILLED, Kind.SERVER_CUT)
ends = st.sampled_from(BREAKS)
nodes = st.sampled_from(NODES)


def step_of(kind: Kind, *, node: str = "", label: str = "", before: World | None = None, **after: Any) -> Step:
    world = before or first_world()
    return Step(number=1, kind=kind, words="x", node=node, label=label, before=world, after=replace(world, **after))


def dies(node: str, kind: Kind = Kind.SERVER_KILLED) -> Step:
    fate = Fate.KILLED if kind is Kind.SERVER_KILLED else Fate.CUT
    return step_of(kind, node=node, fates={**first_world().fates, node: fate})


def returns(step: Step) -> Step:
    return step_of(Kind.SERVER_BACK, node=step.node, before=step.after, fates=step.before.fates)


def halts(label: str, node: str) -> Step:
    return step_of(Kind.HALT, node=node, label=label, overrides={label: Override.HALTED})


def taken(ledger: Ledger, step: Step, *, from_s: float, to_s: float) -> None:
    ledger.begin(step, at_s=from_s)
    ledger.settle(at_s=to_s)


def ledger_of(world: World) -> Ledger:
    return Ledger(Chronicle(world))


def service_at(node: str) -> str:
    """One of the first world that this server answers."""
    return "s1" if node in {member.node for member in first_world().pools["p1"].members.values()} else "s2"


def opened(ledger: Ledger, node: str, *, at_s: float = 1.0, service: str = "", number: int = 1) -> None:
    ledger.open(Session(number=number, service=service or service_at(node), node=node, dialled_s=at_s), at_s=at_s)


def refused(ledger: Ledger, service: str, *, dialled_s: float, ended_s: float) -> None:
    ledger.visited(Session(number=9, service=service, node="", dialled_s=dialled_s), ended_s=ended_s, fault="refused")


# Connections that are held -------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), node=nodes, end=ends, data=st.data())
def test_ledger_never_forgives_a_connection_of_a_server_that_lives(
    seed: int, node: str, end: End, data: st.DataObject
) -> None:
    """Whatever else was done, as long as nobody killed, cut off or halted its server."""
    taken_steps = [step for step in steps(seed, 30) if not (step.node == node and step.kind in (*FATAL, Kind.HALT))]
    ledger = ledger_of(first_world())
    opened(ledger, node)
    for number, step in enumerate(taken_steps):
        taken(ledger, step, from_s=10.0 * number + 2, to_s=10.0 * number + 8)
    at_s = data.draw(st.floats(2, 10.0 * len(taken_steps) + 100))
    ledger.end(1, end, at_s=at_s)
    assert ledger.fates["broken"] == 1
    assert f"connection 1 to {service_at(node)}" in ledger.breaches[0]


@given(node=nodes, kind=st.sampled_from(FATAL), end=ends, late_s=st.floats(0, 1000))
def test_ledger_never_protects_a_connection_of_a_server_that_died(
    node: str, kind: Kind, end: End, late_s: float
) -> None:
    ledger, step = ledger_of(first_world()), dies(node, kind)
    opened(ledger, node)
    taken(ledger, step, from_s=5, to_s=8)
    taken(ledger, returns(step), from_s=10, to_s=12)
    ledger.end(1, end, at_s=5 + late_s)
    assert ledger.breaches == []


@given(node=nodes, other=nodes, kind=st.sampled_from(FATAL))
def test_ledger_protects_everybody_else_when_a_server_dies(node: str, other: str, kind: Kind) -> None:
    ledger = ledger_of(first_world())
    opened(ledger, other)
    taken(ledger, dies(node, kind), from_s=5, to_s=8)
    ledger.end(1, End.RESET, at_s=6)
    assert bool(ledger.breaches) == (other != node)


@pytest.mark.parametrize("kind", FATAL)
def test_ledger_protects_connections_made_after_the_return(kind: Kind) -> None:
    ledger, step = ledger_of(first_world()), dies("backend1", kind)
    taken(ledger, step, from_s=5, to_s=8)
    taken(ledger, returns(step), from_s=10, to_s=12)
    opened(ledger, "backend1", at_s=13)
    ledger.end(1, End.RESET, at_s=14)
    assert "13.0 s" not in ledger.breaches[0] and "4.0 s into step 1, server back" in ledger.breaches[0]


def test_ledger_forgives_nothing_before_the_death() -> None:
    ledger = ledger_of(first_world())
    opened(ledger, "backend1")
    ledger.begin(dies("backend1"), at_s=5)
    ledger.end(1, End.RESET, at_s=4.9)
    assert len(ledger.breaches) == 1


@pytest.mark.parametrize("end", [End.GARBLED, End.MOVED])
def test_ledger_never_forgives_a_wrong_answer(end: End) -> None:
    ledger = ledger_of(first_world())
    opened(ledger, "backend1")
    taken(ledger, dies("backend1"), from_s=5, to_s=8)
    ledger.end(1, end, at_s=6)
    assert f"is {end}" in ledger.breaches[0]


def test_ledger_halt_concerns_the_connections_of_its_pool_only() -> None:
    ledger = ledger_of(first_world())
    opened(ledger, "backend1", service="s1", number=1)
    opened(ledger, "backend1", service="s3", number=2)
    ledger.begin(halts("p1/m1", "backend1"), at_s=5)
    assert [session.number for session in ledger.untold(at_s=6)] == [1]
    ledger.end(1, End.RESET, at_s=6)
    assert ledger.breaches == []
    ledger.end(2, End.RESET, at_s=6)
    assert len(ledger.breaches) == 1


def test_ledger_enable_protects_what_is_dialled_after_it() -> None:
    ledger, halted = ledger_of(first_world()), halts("p1/m1", "backend1")
    taken(ledger, halted, from_s=5, to_s=6)
    enabled = step_of(Kind.ENABLE, node="backend1", label="p1/m1", before=halted.after, overrides={})
    taken(ledger, enabled, from_s=7, to_s=8)
    opened(ledger, "backend1", at_s=9)
    ledger.end(1, End.RESET, at_s=10)
    assert len(ledger.breaches) == 1


# Who must be told ----------------------------------------------------------------------------------------------------


@given(node=nodes, kind=st.sampled_from(FATAL))
def test_ledger_wants_the_clients_of_a_dead_server_told(node: str, kind: Kind) -> None:
    ledger, world = ledger_of(first_world()), first_world()
    for number, name in enumerate(NODES):
        service = next(
            key
            for key, row in world.services.items()
            for pool, _, m in world.members()
            if (pool, m.node) == (row.pool, name)
        )
        opened(ledger, name, number=number, service=service)
    ledger.begin(dies(node, kind), at_s=5)
    untold = ledger.untold(at_s=6)
    assert {session.node for session in untold} == {node}
    ledger.never_told(untold, within_s=30, at_s=40)
    assert "was not told within 30 s" in ledger.breaches[0]


def test_ledger_does_not_want_clients_told_of_a_server_that_the_file_has_no_more() -> None:
    world = first_world()
    members = {name: member for name, member in world.pools["p1"].members.items() if name != "m1"}
    without = world.with_pool("p1", replace(world.pools["p1"], members=members))
    ledger = ledger_of(world)
    opened(ledger, "backend1")
    taken(ledger, step_of(Kind.CHANGE, pools=without.pools), from_s=2, to_s=3)
    ledger.begin(step_of(Kind.SERVER_CUT, node="backend1", before=without), at_s=5)
    assert ledger.untold(at_s=6) == ()
    ledger.end(1, End.SILENT, at_s=60)
    assert ledger.breaches == []


def test_ledger_does_not_want_clients_told_that_got_through_once_the_server_was_back() -> None:
    ledger, step = ledger_of(first_world()), dies("backend1", Kind.SERVER_CUT)
    taken(ledger, step, from_s=5, to_s=8)
    ledger.begin(returns(step), at_s=10)
    ledger.open(Session(number=1, service="s1", node="backend1", dialled_s=9), at_s=11)
    assert ledger.untold(at_s=12) == ()
    ledger.open(Session(number=2, service="s1", node="backend1", dialled_s=4), at_s=4)
    assert [session.number for session in ledger.untold(at_s=12)] == [2]


# Waiting -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "allowed_s"),
    [
        (step_of(Kind.DIRECTOR_MAC), LONGEST_WAIT_S),
        (step_of(Kind.DIRECTOR_CABLE), LONGEST_WAIT_S),
        (step_of(Kind.SERVER_MAC_SILENT, node="backend1"), LONGEST_WAIT_S),
        (step_of(Kind.SERVER_MAC_SILENT, node="backend2"), USUAL_WAIT_S),
        (step_of(Kind.CRASH), USUAL_WAIT_S),
    ],
    ids=["director's MAC", "director's cable", "its server's MAC", "another server's MAC", "crash"],
)
def test_ledger_lets_a_client_wait_longer_only_if_its_path_was_touched(step: Step, allowed_s: float) -> None:
    ledger = ledger_of(first_world())
    opened(ledger, "backend1")
    taken(ledger, step, from_s=5, to_s=8)
    ledger.waited(1, asked_s=6, answered_s=6 + allowed_s - 0.1)
    assert ledger.breaches == []
    ledger.waited(1, asked_s=6, answered_s=6 + allowed_s + 0.1)
    assert f"waited {allowed_s + 0.1:.1f} s for an answer" in ledger.breaches[0]


# New connections -----------------------------------------------------------------------------------------------------


def with_allow(world: World, allow: Allow) -> World:
    return world.with_service("s1", Service(pool="p1", allow=allow))


@pytest.mark.parametrize(
    ("dialled_s", "ended_s", "must"),
    [(1, 2, True), (1, 5, False), (6, 7, False), (9, 10, False), (1, 30, False)],
    ids=["before", "into the step", "in it", "after", "over it"],
)
def test_ledger_new_connection_of_a_service_that_denies_us_may_fail(
    dialled_s: float, ended_s: float, must: bool
) -> None:
    denied = with_allow(first_world(), Allow.STRANGERS)
    ledger = ledger_of(first_world())
    taken(ledger, step_of(Kind.CHANGE, services=denied.services), from_s=4, to_s=8)
    assert ledger.chronicle.must_accept("s1", "", dialled_s, ended_s) is must
    assert ledger.chronicle.must_accept("s2", "", dialled_s, ended_s)


@given(seed=st.integers(0, 1000))
def test_ledger_wants_new_connections_answered_once_all_has_settled(seed: int) -> None:
    ledger = ledger_of(first_world())
    for number, step in enumerate(steps(seed, 30)):
        taken(ledger, step, from_s=10.0 * number + 2, to_s=10.0 * number + 8)
        for service in step.after.accepting():
            refused(ledger, service, dialled_s=10.0 * number + 9, ended_s=10.0 * number + 9.5)
            assert "though a server was there" in ledger.breaches.pop()


@pytest.mark.parametrize("kind", FATAL)
def test_ledger_new_connection_may_fail_while_a_death_is_found_out(kind: Kind) -> None:
    ledger = ledger_of(first_world())
    taken(ledger, dies("backend1", kind), from_s=4, to_s=8)
    refused(ledger, "s1", dialled_s=5, ended_s=6)
    assert ledger.breaches == []
    refused(ledger, "s2", dialled_s=5, ended_s=6)  # its pool has no backend1
    refused(ledger, "s1", dialled_s=9, ended_s=10)
    assert len(ledger.breaches) == 2
