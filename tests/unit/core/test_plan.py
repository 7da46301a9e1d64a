"""Plans: they lead where they should, they can be undone, interrupted and repeated, and no prefix of one does harm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.plan import Plan, SetBackend, SetPool, SetService, SetSlots, SetSources, diff
from lbctl.core.tables import BackendState, Lan, PoolRow, ServiceRow, Tables, reference
from lbctl.dataplane.fake import FakeDataplane
from lbctl.errors import KernelError
from tests.strategies import BLOCK, CHANGES, KEYS, PREFIXES, TABLES, backend_row
from tests.tables import carry_out, comparable, dangers, states_during, without_freed

Change = tuple[Tables, Tables]


def holding(tables: Tables) -> FakeDataplane:
    """A data plane with these tables, and with the generations of the free ids."""
    dataplane = FakeDataplane()
    carry_out(diff(Tables(), tables), dataplane)
    dataplane.freed.update(tables.freed)
    dataplane.written.clear()
    return dataplane


@given(CHANGES)
def test_plan_carried_out_gives_the_desired_tables(change: Change) -> None:
    current, desired = change
    dataplane = holding(current)

    carry_out(diff(current, desired), dataplane)

    assert comparable(dataplane.read()) == comparable(desired)
    assert diff(dataplane.read(), desired).is_empty


@given(TABLES)
def test_plan_from_tables_to_themselves_is_empty(tables: Tables) -> None:
    assert diff(tables, tables).is_empty
    assert diff(holding(tables).read(), tables).is_empty


@given(CHANGES)
def test_plan_inverse_restores_all_but_the_generations_of_free_ids(change: Change) -> None:
    """An id that was used for a moment must not be used again with the same generation: flows may carry it."""
    current, desired = change
    dataplane = holding(current)
    plan = diff(current, desired)

    carry_out(plan, dataplane)
    carry_out(plan.inverse(), dataplane)

    assert without_freed(dataplane.read()) == without_freed(current)
    new = {number: row.generation for number, row in desired.backends.items() if number not in current.backends}
    assert dataplane.read().freed == {**current.freed, **new}


@given(CHANGES)
def test_plan_inverse_of_the_inverse_is_the_plan(change: Change) -> None:
    plan = diff(*change)
    twice = plan.inverse().inverse()

    assert [repr(step) for step in twice.steps] == [repr(step) for step in plan.steps]


@given(CHANGES, st.data())
def test_plan_interrupted_and_diffed_anew_converges(change: Change, data: st.DataObject) -> None:
    current, desired = change
    plan = diff(current, desired)
    dataplane = holding(current)
    dataplane.fail_after = data.draw(st.integers(0, len(plan.steps)))
    if dataplane.fail_after < len(plan.steps):
        with pytest.raises(KernelError):
            carry_out(plan, dataplane)
    dataplane.fail_after = None

    states = list(states_during(diff(dataplane.read(), desired), dataplane))

    assert comparable(states[-1]) == comparable(desired)
    assert [danger for state in states for danger in dangers(state)] == []


@given(CHANGES, st.data())
def test_plan_replayed_from_any_offset_converges(change: Change, data: st.DataObject) -> None:
    """Whoever does not know how far it came may start over from any step that was reached."""
    current, desired = change
    steps = diff(current, desired).steps
    reached = data.draw(st.integers(0, len(steps)))
    resumed = data.draw(st.integers(0, reached))
    dataplane = holding(current)

    carry_out(Plan(steps=steps[:reached]), dataplane)
    carry_out(Plan(steps=steps[resumed:]), dataplane)

    assert comparable(dataplane.read()) == comparable(desired)


@given(CHANGES)
def test_plan_every_prefix_is_safe(change: Change) -> None:
    current, desired = change

    assert [dangers(state) for state in states_during(diff(current, desired), holding(current)) if dangers(state)] == []


@given(CHANGES)
def test_plan_every_prefix_of_the_inverse_is_safe(change: Change) -> None:
    """A rollback runs on live traffic too; what it must not do is refer to an id that has another holder by then."""
    current, desired = change
    plan = diff(current, desired).inverse()

    assert [dangers(state) for state in states_during(plan, holding(desired)) if dangers(state)] == []


@given(CHANGES)
def test_plan_moved_pool_keeps_its_old_block_until_the_pointer_switches(change: Change) -> None:
    current, desired = change
    moved = {i: pool for i, pool in current.pools.items() if i in desired.pools and desired.pools[i] != pool}

    for state in states_during(diff(current, desired), holding(current)):
        for pool_id, pool in moved.items():
            expected = current if state.pools[pool_id] == pool else desired
            assert state.slots[pool_id].tolist() == expected.slots[pool_id].tolist()


@given(CHANGES)
def test_plan_vip_is_answered_for_only_with_its_services(change: Change) -> None:
    """A client that learns the VIP's MAC a moment early would be refused."""
    current, desired = change

    for state in states_during(diff(current, desired), holding(current)):
        for vip in state.vips:
            needed = desired if vip not in current.vips else current if vip not in desired.vips else None
            wanted = [key for key in needed.services if key.vip == vip] if needed else []
            assert [key for key in wanted if key not in state.services] == []


def one_pool(
    slots: list[int], *, base: int = 0, states: tuple[BackendState, ...] = (BackendState.UP, BackendState.UP)
) -> Tables:
    """Backends 1 and 2 of generation 1; ``slots`` are their ids."""
    rows = {i: backend_row(i, 1, state=state, mac=bytes((2, 0, 0, 0, 0, i))) for i, state in enumerate(states, start=1)}
    return Tables(
        pools={1: PoolRow(identity=1, base=base, size=len(slots))},
        backends=rows,
        slots={1: np.array([reference(i, 1) if i else 0 for i in slots], np.uint32)},
    )


def test_plan_reweighting_writes_only_the_slots_that_change() -> None:
    plan = diff(one_pool([1, 2, 1, 2]), one_pool([1, 1, 1, 2]))

    (step,) = plan.steps
    assert isinstance(step, SetSlots)
    assert (step.at.tolist(), step.before.tolist(), step.after.tolist()) == ([1], [reference(2, 1)], [reference(1, 1)])
    assert plan.declared_steps == ()


def test_plan_backend_going_down_gives_up_its_slots_first() -> None:
    plan = diff(one_pool([1, 2, 1, 2]), one_pool([1, 1, 1, 1], states=(BackendState.UP, BackendState.DOWN)))

    assert [type(step) for step in plan.steps] == [SetSlots, SetBackend]
    assert plan.declared_steps == ()


def test_plan_backend_coming_up_is_written_before_its_slots() -> None:
    plan = diff(one_pool([1, 1, 1, 1], states=(BackendState.UP, BackendState.DOWN)), one_pool([1, 2, 1, 2]))

    assert [type(step) for step in plan.steps] == [SetBackend, SetSlots]


def test_plan_changed_mac_is_one_dynamic_step() -> None:
    current = one_pool([1, 2])
    changed = replace(current.backends[2], mac=bytes.fromhex("020000000099"))

    plan = diff(current, replace(current, backends={**current.backends, 2: changed}))

    assert plan.steps == (SetBackend(backend_id=2, before=current.backends[2], after=changed),)
    assert plan.declared_steps == ()


def test_plan_changed_segment_is_one_dynamic_step() -> None:
    """Its interface was created anew."""
    current = one_pool([1, 2])
    changed = replace(current.backends[2], lan=Lan(9, 20))

    plan = diff(current, replace(current, backends={**current.backends, 2: changed}))

    assert plan.steps == (SetBackend(backend_id=2, before=current.backends[2], after=changed),)
    assert plan.declared_steps == ()


def test_plan_another_list_of_sources_is_written_before_its_service_and_the_former_removed_after() -> None:
    key, everybody, site = KEYS[0], PREFIXES[4][0], PREFIXES[4][1]
    before = ServiceRow(id=1, pool_id=1, source_list=1)
    current = replace(one_pool([1, 2]), services={key: before}, sources={1: {everybody: 0}})
    after = replace(before, source_list=2)

    plan = diff(current, replace(current, services={key: after}, sources={2: {site: 1}}))

    assert plan.steps == (
        SetSources(number=2, before=None, after={site: 1}),
        SetService(key=key, before=before, after=after),
        SetSources(number=1, before={everybody: 0}, after=None),
    )
    assert plan.declared_steps == plan.steps


@given(CHANGES)
def test_plan_list_that_a_service_has_is_never_changed(change: Change) -> None:
    current, desired = change
    lists = {**current.sources, **desired.sources}

    for state in states_during(diff(current, desired), holding(current)):
        used = {row.source_list for row in state.services.values()} - {0}
        assert {number: state.sources[number] for number in used} == {number: lists[number] for number in used}


def test_plan_moved_pool_writes_the_whole_block_and_then_the_pointer() -> None:
    current, desired = one_pool([1, 2, 1]), one_pool([2, 2, 1, 1], base=BLOCK)

    slots, pool = diff(current, desired).steps

    assert isinstance(slots, SetSlots)
    assert (slots.base, slots.at.tolist()) == (BLOCK, [0, 1, 2, 3])
    assert pool == SetPool(pool_id=1, before=current.pools[1], after=desired.pools[1])
    assert diff(current, desired).declared_steps == (pool,)


def test_plan_empty_of_nothing_is_its_own_inverse() -> None:
    assert Plan().is_empty
    assert Plan().inverse() == Plan()
