"""Which server each source keeps to in a fault run, and what its new connections may meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbctl.core.model import Reassign
from lbctl.lab.chaos.chronicle import Chronicle
from lbctl.lab.chaos.holders import ALL, Holders
from lbctl.lab.chaos.ledger import Ledger
from lbctl.lab.chaos.licences import Session
from lbctl.lab.chaos.step import Kind, Step
from lbctl.lab.chaos.steps import steps
from lbctl.lab.chaos.world import SOURCES, VAULT, Fate, Member, Override, World, first_world

FIRST = first_world()
"""``m1`` is backend1, ``m2`` backend3 and ``m3`` backend4."""
CT, MR, US = (str(source) for source in SOURCES[:3])


def with_vault(world: World = FIRST, **fields: Any) -> World:
    return world.with_pool(VAULT, replace(world.pools[VAULT], **fields))


def without(name: str, world: World = FIRST) -> World:
    return with_vault(world, members={key: m for key, m in world.pools[VAULT].members.items() if key != name})


def as_down(world: World) -> World:
    return with_vault(world, reassign=Reassign.DOWN)


def as_never(world: World) -> World:
    return with_vault(world, reassign=Reassign.NEVER)


def step_of(kind: Kind, *, before: World = FIRST, after: World | None = None, **fields: Any) -> Step:
    return Step(number=1, kind=kind, words="x", before=before, after=after or before, **fields)


def change(after: World, *, before: World = FIRST) -> Step:
    return step_of(Kind.CHANGE, before=before, after=after)


MOVED = with_vault(members={**FIRST.pools[VAULT].members, "m1": Member(node="backend6")})
KILLED = replace(FIRST, fates={**FIRST.fates, "backend1": Fate.KILLED})
DRAINED = replace(FIRST, overrides={f"{VAULT}/m1": Override.DRAINED})


@pytest.mark.parametrize(
    ("step", "known", "uncertain"),
    [
        (step_of(Kind.CRASH), {CT: "m1", MR: "m2"}, set()),
        (step_of(Kind.UPGRADE), {CT: "m1", MR: "m2"}, set()),
        (step_of(Kind.DRAIN, after=DRAINED), {CT: "m1", MR: "m2"}, set()),
        (step_of(Kind.SERVER_KILLED, after=KILLED), {CT: "m1", MR: "m2"}, set()),
        (step_of(Kind.SERVER_KILLED, before=as_down(FIRST), after=as_down(KILLED)), {MR: "m2"}, {CT}),
        (change(without("m1")), {MR: "m2"}, {CT}),
        (change(as_never(without("m1")), before=as_never(FIRST)), {CT: "m1", MR: "m2"}, {CT}),
        (change(MOVED), {CT: "m1", MR: "m2"}, {CT}),
        (step_of(Kind.ASSIGN, source=SOURCES[0], label=f"{VAULT}/m3"), {CT: "m3", MR: "m2"}, {CT}),
        (step_of(Kind.UNASSIGN, source=SOURCES[0]), {MR: "m2"}, {CT}),
        (step_of(Kind.SERVER_MAC_SILENT, node="backend1"), {CT: "m1", MR: "m2"}, set()),
        (step_of(Kind.SERVER_MAC_SILENT, node="backend1", before=as_down(FIRST)), {MR: "m2"}, {CT}),
        (step_of(Kind.UNCONFIRMED, between=without("m1")), {MR: "m2"}, {CT}),
        (change(replace(FIRST, pools={"p1": FIRST.pools["p1"]})), {}, {CT, MR}),
    ],
)
def test_source_keeps_to_its_holder_unless_that_is_gone_or_an_operator_says_so(
    step: Step, known: Mapping[str, str], uncertain: set[str]
) -> None:
    holders = Holders({CT: "m1", MR: "m2"})
    assert holders.uncertain(step) == uncertain
    assert holders.after(step) == known


def test_source_of_whom_nothing_is_known_is_learnt_from_the_table_and_never_against_what_is_known() -> None:
    holders = Holders({CT: "m1"})
    holders.settle(step_of(Kind.CRASH), found={CT: "m2", MR: "m3"})
    assert holders.known == {CT: "m1", MR: "m3"}


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_steps_that_neither_name_a_source_nor_take_its_holder_leave_it_there(seed: int) -> None:
    holders = Holders({CT: "m1"})
    for step in steps(seed, 60):
        is_declared = all(VAULT in world.pools and "m1" in world.pools[VAULT].members for world in step.worlds())
        is_down = any(world.pools[VAULT].reassign is Reassign.DOWN for world in step.worlds() if is_declared)
        if not is_declared or is_down or step.source == SOURCES[0]:
            break
        holders.settle(step, found={})
        assert holders.known[CT] == "m1"


# The ledger ----------------------------------------------------------------------------------------------------------


def ledger_with(**holders: str) -> Ledger:
    ledger = Ledger(Chronicle(FIRST))
    names = {"ct": CT, "mr": MR, "us": US}
    ledger.look(actives={}, holders={names[key]: name for key, name in holders.items()}, at_s=0)
    return ledger


def visited(ledger: Ledger, source: str, node: str, *, at_s: float, fault: str = "") -> None:
    visit = Session(number=1, service="vault", node=node, dialled_s=at_s, source=source)
    ledger.visited(visit, ended_s=at_s + 0.1, fault=fault)


def taken(ledger: Ledger, step: Step, *, from_s: float, to_s: float, holders: Mapping[str, str]) -> None:
    ledger.begin(step, at_s=from_s)
    ledger.look(actives={}, holders=holders, at_s=to_s - 0.5)
    ledger.settle(at_s=to_s)


def test_ledger_wants_a_source_at_its_holder_only() -> None:
    ledger = ledger_with(ct="m1")
    visited(ledger, CT, "backend1", at_s=1)
    assert ledger.breaches == []
    visited(ledger, CT, "backend3", at_s=2)
    assert f"a new connection to vault by {CT} was answered by backend3, not by backend1" in ledger.breaches[0]


def test_ledger_learns_the_holder_from_the_first_answer() -> None:
    ledger = ledger_with()
    visited(ledger, CT, "backend4", at_s=1)
    visited(ledger, MR, "backend1", at_s=2)
    assert ledger.breaches == []
    visited(ledger, CT, "backend1", at_s=3)
    assert "answered by backend1, not by backend4" in ledger.breaches[0]


@pytest.mark.parametrize("after", [KILLED, DRAINED], ids=["killed", "drained"])
def test_ledger_wants_nobody_else_to_answer_while_the_holder_takes_nothing(after: World) -> None:
    kind = Kind.SERVER_KILLED if after is KILLED else Kind.DRAIN
    ledger = ledger_with(ct="m1", mr="m2")
    taken(ledger, step_of(kind, after=after, node="backend1"), from_s=5, to_s=8, holders={})
    visited(ledger, CT, "", at_s=10, fault="refused")
    assert ledger.breaches == []
    visited(ledger, MR, "", at_s=11, fault="refused")
    assert f"a new connection to vault by {MR} failed" in ledger.breaches.pop()
    visited(ledger, CT, "backend3", at_s=12)
    assert "answered by backend3, not by nobody" in ledger.breaches[0]


def test_ledger_wants_a_source_at_whom_an_operator_assigned() -> None:
    ledger = ledger_with(ct="m1")
    step = step_of(Kind.ASSIGN, source=SOURCES[0], label=f"{VAULT}/m3", node="backend4")
    ledger.begin(step, at_s=5)
    visited(ledger, CT, "backend1", at_s=6)
    visited(ledger, CT, "backend4", at_s=6.5)
    ledger.look(actives={}, holders={CT: "m3"}, at_s=7)
    ledger.settle(at_s=8)
    visited(ledger, CT, "backend4", at_s=9)
    assert ledger.breaches == []
    visited(ledger, CT, "backend1", at_s=10)
    assert "answered by backend1, not by backend4" in ledger.breaches[0]


def test_ledger_lets_a_source_have_another_holder_once_its_own_is_removed_and_only_one() -> None:
    ledger = ledger_with(ct="m1")
    taken(ledger, change(without("m1")), from_s=5, to_s=8, holders={CT: "m2"})
    visited(ledger, CT, "backend3", at_s=9)
    assert ledger.breaches == []
    visited(ledger, CT, "backend4", at_s=10)
    assert "answered by backend4, not by backend3" in ledger.breaches[0]


def test_ledger_new_connection_of_a_source_may_fail_while_its_holder_changes_and_of_no_other() -> None:
    ledger = ledger_with(ct="m1", mr="m2")
    taken(ledger, change(without("m1")), from_s=5, to_s=8, holders={})
    assert not ledger.chronicle.must_accept("vault", CT, 6, 7)
    assert not ledger.chronicle.must_accept("vault", US, 6, 7)  # its first one, while weights change
    assert ledger.chronicle.must_accept("vault", MR, 6, 7)
    assert ledger.chronicle.must_accept("vault", US, 9, 10)


def test_chronicle_wants_the_table_to_hold_what_is_known_after_the_step() -> None:
    chronicle = Chronicle(FIRST, holders=Holders(dict.fromkeys(ALL, "m1")))
    chronicle.begin(step_of(Kind.ASSIGN, source=SOURCES[0], label=f"{VAULT}/m3"), at_s=1)
    assert chronicle.must_hold() == {**dict.fromkeys(ALL, "m1"), CT: "m3"}


def test_ledger_wants_a_source_at_its_holder_though_that_weighs_nothing_in_its_class() -> None:
    ledger = ledger_with(ct="m1")
    taken(ledger, change(with_vault(class_weight=0)), from_s=5, to_s=8, holders={CT: "m1"})
    visited(ledger, CT, "backend1", at_s=9)
    assert ledger.breaches == []
    assert ledger.chronicle.must_accept("vault", CT, 9, 10)


def test_ledger_lets_a_new_connection_go_where_an_earlier_one_from_its_ports_went() -> None:
    ledger = Ledger(Chronicle(FIRST))
    before = Session(number=1, service="s1", node="backend1", dialled_s=1, port=40_000)
    ledger.visited(before, ended_s=1.1, fault="")
    after = replace(FIRST, given={"p1/m1": 0})
    taken(ledger, step_of(Kind.WEIGHT, after=after, label="p1/m1"), from_s=5, to_s=8, holders={})
    ledger.visited(replace(before, number=2, dialled_s=9), ended_s=9.1, fault="")
    assert (ledger.breaches, ledger.visits["by the ports of another"]) == ([], 1)
    ledger.visited(replace(before, number=3, dialled_s=9, port=40_002), ended_s=9.1, fault="")
    assert len(ledger.breaches) == 1


def test_ledger_wants_new_connections_at_members_that_take_them() -> None:
    ledger = Ledger(Chronicle(FIRST))
    after = replace(FIRST, given={"p1/m1": 0})
    taken(ledger, step_of(Kind.WEIGHT, after=after, label="p1/m1"), from_s=5, to_s=8, holders={})
    ledger.visited(Session(number=1, service="s1", node="backend2", dialled_s=9), ended_s=9.1, fault="")
    assert ledger.breaches == []
    ledger.visited(Session(number=1, service="s1", node="backend1", dialled_s=9), ended_s=9.1, fault="")
    assert "a new connection to s1 was answered by backend1, not by backend2 or backend3" in ledger.breaches[0]
