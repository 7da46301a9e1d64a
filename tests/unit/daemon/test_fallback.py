"""The reconciler with a pool that falls back on another, with limits, and with ports that no service has."""

from __future__ import annotations

import pytest

from lbctl.core.model import Declaration
from lbctl.core.plan import SetBackend, SetMembers, SetSlots, SetWrongPorts
from lbctl.core.standing import Override
from lbctl.core.tables import Members
from lbctl.dataplane.port import Connected
from tests.tables import comparable
from tests.unit.daemon.rig import HEALTHY, Rig, declared


def falling(*backends: str) -> Declaration:
    """Pool ``p`` falls back on ``spare``, which has no service of its own."""
    return declared(*backends or ("a", "b"), keys="fallback: spare", spare=("x", "y"))


def members(rig: Rig, *names: str) -> tuple[int, ...]:
    return tuple(rig.reference(name) for name in names)


# Fallback -------------------------------------------------------------------------------------------------------------


def test_fallback_has_no_slots_of_the_pool_while_one_of_its_own_is_up() -> None:
    rig = Rig(falling()).up()
    assert rig.shares().keys() == {"a", "b"}
    rig.fail("a")
    rig.reconcile()
    assert rig.shares() == {"b": 1}
    assert rig.reconciler.takers("p") == {"p/b"}


def test_fallback_has_the_slots_while_nobody_of_the_pool_takes_connections_and_gives_the_same_ones_back() -> None:
    rig = Rig(falling()).up()
    before = comparable(rig.dataplane.read())
    rig.fail("a", "b")
    plan = rig.reconcile()
    assert [type(step) for step in plan.steps] == [SetSlots, SetMembers, SetBackend, SetBackend]
    assert plan.declared_steps == ()
    assert rig.shares().keys() == {"x", "y"}
    assert rig.reconciler.takers("p") == {"spare/x", "spare/y"}
    rig.probe(HEALTHY, "a", "b", times=2)
    rig.reconcile()
    assert comparable(rig.dataplane.read()) == before


@pytest.mark.parametrize("to", Override)
def test_fallback_takes_over_from_those_that_an_operator_took_out(to: Override) -> None:
    rig = Rig(falling()).up()
    rig.override("a", "b", to=to)
    rig.reconcile()
    assert rig.shares().keys() == {"x", "y"}


def test_fallback_of_which_nobody_takes_connections_leaves_the_slots_empty() -> None:
    rig = Rig(falling()).up()
    rig.fail("a", "b", "x", "y")
    rig.reconcile()
    assert rig.shares() == {"nobody": 1}
    assert rig.reconciler.takers("p") == frozenset()


def test_fallback_is_asked_for_room_behind_the_pools_own() -> None:
    rig = Rig(falling()).up()
    pool, spare = rig.pool_id("p"), rig.pool_id("spare")
    assert rig.dataplane.members == {
        pool: Members(own=members(rig, "a", "b"), fallbacks=members(rig, "x", "y")),
        spare: Members(own=members(rig, "x", "y")),
    }
    rig.fail("a", "x")
    rig.reconcile()
    assert rig.dataplane.members[pool] == Members(own=members(rig, "b"), fallbacks=members(rig, "y"))


def test_fallback_in_use_survives_a_restart() -> None:
    rig = Rig(falling()).up()
    rig.fail("a", "b")
    rig.reconcile()
    again = rig.restarted()
    assert again.reconcile().declared_steps == ()
    assert again.shares().keys() == {"x", "y"}


def test_fallback_that_is_declared_later_is_in_the_members_at_once() -> None:
    rig = Rig(declared("a", "b")).up()
    rig.reconciler.declare(falling(), now=rig.now)
    rig.meet_all()
    rig.probe(HEALTHY)
    rig.reconcile()
    assert rig.dataplane.members[rig.pool_id("p")].fallbacks == members(rig, "x", "y")
    rig.reconciler.declare(declared("a", "b"), now=rig.now)
    rig.reconcile()
    assert rig.dataplane.members == {rig.pool_id("p"): Members(own=members(rig, "a", "b"))}


def test_fallback_is_not_asked_by_a_pool_that_is_merely_full() -> None:
    """That is the program's business: slots stay as they are, so that they are the same when there is room again."""
    rig = Rig(declared("a connection_limit=10", keys="fallback: spare", spare=("x",))).up()
    rig.dataplane.connected[rig.number("a")] = Connected(connections=10, is_full=True)
    assert rig.reconcile().is_empty
    assert rig.shares() == {"a": 1}
    assert rig.conditions() == {"a": "full", "x": "up"}


# Limits ---------------------------------------------------------------------------------------------------------------


def test_limits_stand_in_the_rows() -> None:
    rig = Rig(declared("a connection_limit=10 resume_at=7", "b connection_limit=5", "c")).up()
    assert {name: (rig.row(name).limit, rig.row(name).resume) for name in "abc"} == {
        "a": (10, 7),
        "b": (5, 4),
        "c": (0, 0),
    }
    assert rig.restarted().reconcile().is_empty


def test_limit_that_changes_is_one_declared_step_and_moves_no_slot() -> None:
    rig = Rig(declared("a connection_limit=10", "b")).up()
    rig.reconciler.declare(declared("a connection_limit=12", "b"), now=rig.now)
    (step,) = rig.reconcile().declared_steps
    assert isinstance(step, SetBackend)
    assert (rig.row("a").limit, rig.row("a").resume) == (12, 11)


def test_full_backend_is_told_as_such_only_as_long_as_it_is() -> None:
    rig = Rig(declared("a connection_limit=10 resume_at=7", "b")).up()
    rig.dataplane.connected[rig.number("a")] = Connected(connections=10, is_full=True)
    stands = rig.reconciler.standings()["p/a"]
    assert (stands.condition, stands.reason) == ("full", "all 10 connections are taken; new ones again from 7 down")
    rig.dataplane.connected[rig.number("a")] = Connected(connections=7, is_full=False)
    assert rig.conditions() == {"a": "up", "b": "up"}


# What nobody takes ----------------------------------------------------------------------------------------------------


def test_wrong_ports_are_dropped_or_refused_as_the_file_says() -> None:
    rig = Rig(declared("a")).up()
    assert not rig.dataplane.drops_wrong_ports
    rig.reconciler.declare(declared("a", director="wrong_port: drop"), now=rig.now)
    assert rig.reconcile().declared_steps == (SetWrongPorts(before=False, after=True),)
    assert rig.dataplane.drops_wrong_ports
    assert rig.restarted().reconcile().is_empty


@pytest.mark.parametrize("word", ["reset", "drop"])
def test_pool_row_says_what_becomes_of_whom_nobody_takes(word: str) -> None:
    rig = Rig(declared("a", keys=f"on_empty: {word}")).up()
    assert [row.on_empty.value for row in rig.dataplane.pools.values()] == [word]


def test_pool_row_says_that_its_storage_is_private() -> None:
    rig = Rig(declared("a", "b", kind="archive", keys="storage: private")).up()
    assert [row.is_private for row in rig.dataplane.pools.values()] == [True]
