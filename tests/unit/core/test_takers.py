"""Who takes a pool's new connections: its slots, and whom to ask for room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lbctl.core import slots
from lbctl.core.desired import desired_tables
from lbctl.core.model import Declaration, OnEmpty, Storage, WrongPort
from lbctl.core.plan import SetMembers, SetSlots, SetWrongPorts
from lbctl.core.standing import Standing
from lbctl.core.tables import Members, Tables
from lbctl.core.takers import MEMORY_SLOTS, Memo
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.layout import SLOTS
from tests.unit.core.controlling import host, owners, plan_for, reconcile
from tests.unit.core.declarations import LIMITS, declaration, down, draining, situation, up

PLAIN = declaration({"archives": {"a": 11, "b": 12}, "spare": {"x": 21, "y": 22}})


def falling_back(declared: Declaration = PLAIN) -> Declaration:
    """The first pool falls back on the second."""
    first, *others = declared.pools
    return replace(declared, pools=(replace(first, fallback="spare"), *others))


FALLING = falling_back()


def tables_when(declared: Declaration, **standings: Standing) -> Tables:
    """``standings`` by backend name."""
    labels = {backend.name: backend.label for backend in declared.backends()}
    found = {labels[name]: standing for name, standing in standings.items()}
    return reconcile(FakeDataplane(), declared, situation(declared, found))


def hosts(tables: Tables, refs: tuple[int, ...]) -> list[int]:
    """Last bytes of the addresses."""
    return [tables.backends[ref & 0xFFFF].address.packed[3] for ref in refs]


def asked(tables: Tables, pool_id: int = 1) -> tuple[list[int], list[int]]:
    """(own, fallback's)"""
    members = tables.members[pool_id]
    return hosts(tables, members.own), hosts(tables, members.fallbacks)


def test_takers_are_asked_in_the_order_of_the_file_and_those_of_the_fallback_behind_them() -> None:
    assert asked(tables_when(FALLING)) == ([11, 12], [21, 22])
    assert asked(tables_when(PLAIN)) == ([11, 12], [])


@pytest.mark.parametrize("standing", [down(), draining()])
def test_takers_are_without_those_who_take_none(standing: Standing) -> None:
    assert asked(tables_when(FALLING, a=standing, y=standing)) == ([12], [21])


def test_takers_own_slots_while_one_of_the_pools_own_is_up() -> None:
    assert set(owners(tables_when(FALLING, a=down()))) == {host(12)}


def test_takers_of_the_fallback_own_the_slots_by_weight_while_nobody_of_the_pools_own_does() -> None:
    tables = tables_when(FALLING, a=down(), b=draining(), x=up(7_500), y=up(2_500))

    assert Counter(owners(tables)) == {host(21): 766, host(22): 255}
    assert asked(tables) == ([], [21, 22])


def test_takers_of_nobody_leave_the_slots_empty() -> None:
    tables = tables_when(FALLING, a=down(), b=down(), x=down(), y=down())

    assert set(owners(tables)) == {None}
    assert tables.members[1] == Members()


def test_takers_fallback_has_slots_of_its_own_besides() -> None:
    tables = tables_when(FALLING, a=down(), b=down())

    assert set(owners(tables, 2)) == {host(21), host(22)}
    assert asked(tables, 2) == ([21, 22], [])


def test_takers_that_go_and_come_back_give_the_slots_back_as_they_were() -> None:
    dataplane = FakeDataplane()
    before = reconcile(dataplane, FALLING)
    reconcile(dataplane, FALLING, situation(FALLING, {"archives/a": down(), "archives/b": down()}))

    assert owners(reconcile(dataplane, FALLING)) == owners(before)


def test_takers_that_change_are_dynamic_steps_and_never_outlive_their_rows() -> None:
    dataplane = FakeDataplane()
    reconcile(dataplane, FALLING)

    plan = plan_for(dataplane, FALLING, situation(FALLING, {"archives/a": down(), "archives/b": down()}))

    assert plan.declared_steps == ()
    kinds = [type(step).__name__ for step in plan.steps]
    assert kinds.index(SetSlots.__name__) < kinds.index("SetBackend")
    assert kinds.index(SetMembers.__name__) < kinds.index("SetBackend")


def test_takers_table_is_large_enough_for_the_larger_of_the_two_pools() -> None:
    many = declaration({"archives": {"a": 11}, "spare": {f"s{n}": n for n in range(21, 30)}})

    assert tables_when(many).pools[1].size == 1021
    assert tables_when(falling_back(many)).pools[1].size == 2039


def test_takers_beyond_the_row_are_not_asked() -> None:
    limits = replace(LIMITS, members=3)

    tables = desired_tables(FALLING, situation(FALLING), current=Tables(), limits=limits)
    few = desired_tables(FALLING, situation(FALLING), current=Tables(), limits=replace(LIMITS, members=1))

    assert asked(tables) == ([11, 12], [21])
    assert asked(few) == ([11], [])


def test_takers_of_a_pool_that_goes_come_back_with_the_inverse() -> None:
    dataplane = FakeDataplane()
    before = reconcile(dataplane, FALLING)
    one = replace(FALLING, pools=FALLING.pools[1:], services=())

    plan = plan_for(dataplane, one, situation(one))
    for step in (*plan.steps, *plan.inverse().steps):
        dataplane.write(step)

    assert dataplane.read().members == before.members


def test_settling_pool_that_has_nobody_of_its_own_does_not_wait() -> None:
    dataplane = FakeDataplane()
    reconcile(dataplane, FALLING)
    nobody = {"archives/a": down(), "archives/b": down()}

    settling = situation(FALLING, nobody, settling_pools=["archives"])

    assert set(owners(reconcile(dataplane, FALLING, settling))) == {host(21), host(22)}


# What was computed is remembered ------------------------------------------------------------------------------------


def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the tables that are computed from now on."""
    sizes: list[int] = []

    def counting(weights: Mapping[str, int], *, size: int) -> NDArray[np.int32]:
        sizes.append(size)
        return assign(weights, size=size)

    assign = slots.assign
    monkeypatch.setattr(slots, "assign", counting)
    return sizes


def test_takers_that_change_in_one_pool_of_many_cost_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = replace(LIMITS, backends=1024, pools=512, slots=1 << 19)
    many = declaration({f"pool{n}": {"a": 11, "b": 12} for n in range(300)})
    sizes = computed(monkeypatch)

    found = desired_tables(many, situation(many), current=Tables(), limits=limits)
    at_start = len(sizes)
    desired_tables(many, situation(many), current=found, limits=limits)
    unchanged = len(sizes)
    desired_tables(many, situation(many, {"pool7/a": up(5_000)}), current=found, limits=limits)

    assert (at_start, unchanged, len(sizes)) == (300, 300, 301)


def test_memo_holds_as_many_slots_as_it_is_told_and_forgets_what_was_asked_for_longest_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = computed(monkeypatch)
    memo = Memo(capacity=10)

    for size in (4, 5, 4, 3, 4, 5):  # with 3, 4 and 5 are too many, and 5 goes
        assert memo.owners({"a": 1}, size=size).tolist() == [0] * size

    assert sizes == [4, 5, 3, 5]


def test_memo_computes_a_table_that_is_larger_than_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = computed(monkeypatch)
    memo = Memo(capacity=1)

    assert [len(memo.owners({"a": 1}, size=size)) for size in (5, 5, 6)] == [5, 5, 6]
    assert sizes == [5, 6]


def test_memo_of_all_pools_holds_all_that_the_kernel_does_twice() -> None:
    """What is in use now, and what was before."""
    assert MEMORY_SLOTS >= 2 * SLOTS


# What else is declared -----------------------------------------------------------------------------------------------


def test_what_is_declared_of_pools_backends_and_ports_stands_in_the_rows() -> None:
    first, *others = PLAIN.pools
    limited = tuple(replace(backend, connection_limit=10, resume_at=8) for backend in first.backends)
    first = replace(first, on_empty=OnEmpty.DROP, storage=Storage.PRIVATE, backends=limited)
    director = replace(PLAIN.director, wrong_port=WrongPort.DROP)

    tables = tables_when(replace(PLAIN, pools=(first, *others), director=director))

    rows = tables.pools
    assert (rows[1].on_empty, rows[1].is_private) == (OnEmpty.DROP, True)
    assert (rows[2].on_empty, rows[2].is_private) == (OnEmpty.RESET, False)
    assert {row.address: (row.limit, row.resume) for row in tables.backends.values()} == {
        host(11): (10, 8), host(12): (10, 8), host(21): (0, 0), host(22): (0, 0),
    }  # fmt: skip
    assert tables.drops_wrong_ports


def test_wrong_ports_and_limits_are_declared_changes() -> None:
    dataplane = FakeDataplane()
    reconcile(dataplane, PLAIN)
    changed = replace(PLAIN, director=replace(PLAIN.director, wrong_port=WrongPort.DROP))

    assert plan_for(dataplane, changed, situation(changed)).declared_steps == (SetWrongPorts(before=False, after=True),)


def test_limit_of_a_backend_that_is_added_later_is_one_declared_step() -> None:
    dataplane = FakeDataplane()
    reconcile(dataplane, PLAIN)
    first, *others = PLAIN.pools
    one, *rest = first.backends
    limited = replace(first, backends=(replace(one, connection_limit=10, resume_at=9), *rest))
    changed = replace(PLAIN, pools=(limited, *others))

    plan = plan_for(dataplane, changed, situation(changed))

    assert len(plan.steps) == len(plan.declared_steps) == 1
