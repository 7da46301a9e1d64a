"""Desired tables over a director's history: whatever comes after whatever, every step of the way is safe."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.ids import identity
from lbctl.core.plan import Plan
from lbctl.core.tables import BackendState, reference
from lbctl.dataplane.fake import FakeDataplane
from tests.tables import carry_out, comparable, dangers, states_during
from tests.unit.core.controlling import plan_for, reconcile
from tests.unit.core.declarations import BOTH_NICS, down, situation
from tests.unit.core.worlds import WORLDS, World

DRAINED: dict[str, object] = {"backends": {}, "freed": {}, "interfaces": {}}
"""In place of what a drain keeps for a while."""


@given(WORLDS)
def test_desired_every_prefix_of_every_plan_of_a_history_is_safe(worlds: list[World]) -> None:
    dataplane = FakeDataplane()
    for world in worlds:
        plan = plan_for(dataplane, world.declared, world.observed)
        assert [found for state in states_during(plan, dataplane) if (found := dangers(state))] == []


@given(WORLDS)
def test_desired_no_reference_ever_means_two_servers(worlds: list[World]) -> None:
    """Flows and half-open entries may still carry a reference when its server is long gone."""
    dataplane, meanings = FakeDataplane(), dict[int, int]()
    for world in worlds:
        for state in states_during(plan_for(dataplane, world.declared, world.observed), dataplane):
            for number, row in state.backends.items():
                assert meanings.setdefault(reference(number, row.generation), row.identity) == row.identity


@given(WORLDS)
def test_desired_backend_that_stays_keeps_its_reference(worlds: list[World]) -> None:
    dataplane = FakeDataplane()
    for world in worlds:
        before = dataplane.read()
        after = reconcile(dataplane, world.declared, world.observed)
        kept = {identity(f"{backend.label}@{backend.address}") for backend in world.declared.backends()}
        assert {i: row.generation for i, row in before.backends.items() if row.identity in kept}.items() <= {
            i: row.generation for i, row in after.backends.items()
        }.items()


@given(WORLDS)
def test_desired_busy_backend_keeps_its_reference(worlds: list[World]) -> None:
    dataplane = FakeDataplane()
    for world in worlds:
        before = dataplane.read()
        after = reconcile(dataplane, world.declared, world.observed)
        for number in before.backends.keys() & world.observed.busy_backends:
            assert after.backends[number].generation == before.backends[number].generation


@given(WORLDS)
def test_desired_backend_that_took_connections_is_never_freed_at_once(worlds: list[World]) -> None:
    """A client may have connected since the flows were counted: it drains first."""
    dataplane = FakeDataplane()
    for world in worlds:
        before = dataplane.read()
        after = reconcile(dataplane, world.declared, world.observed)
        took = {i: row.generation for i, row in before.backends.items() if row.state is BackendState.UP}
        assert took.items() <= {i: row.generation for i, row in after.backends.items()}.items()


@given(WORLDS)
def test_desired_unchanged_declaration_and_situation_settle_in_two_rounds(worlds: list[World]) -> None:
    """The second round frees what the first one drained."""
    dataplane = FakeDataplane()
    for world in worlds:
        first = reconcile(dataplane, world.declared, world.observed)
        second = reconcile(dataplane, world.declared, world.observed)
        assert second.backends.items() <= first.backends.items()
        assert second.interfaces.items() <= first.interfaces.items()
        assert comparable(first) | DRAINED == comparable(second) | DRAINED
        assert plan_for(dataplane, world.declared, world.observed).is_empty


@given(WORLDS, WORLDS)
def test_desired_changed_health_weight_and_mac_are_no_declared_change(worlds: list[World], others: list[World]) -> None:
    dataplane, declared = FakeDataplane(), worlds[0].declared
    reconcile(dataplane, declared, situation(declared, nics=BOTH_NICS))
    moods = [standing for world in others for standing in world.observed.standings.values()] or [down()]
    labels = [backend.label for backend in declared.backends()]
    changed = situation(declared, {label: moods[i % len(moods)] for i, label in enumerate(labels)}, nics=BOTH_NICS)
    changed = replace(changed, macs={address: mac[::-1] for address, mac in changed.macs.items()})

    plan = plan_for(dataplane, declared, changed)

    assert plan.declared_steps == ()
    assert plan.is_empty == (not labels)


@given(WORLDS, st.data())
def test_desired_interrupted_anywhere_it_ends_where_it_would_have(worlds: list[World], data: st.DataObject) -> None:
    """Killed between two steps, the controller starts from what it finds."""
    dataplane, twin = FakeDataplane(), FakeDataplane()
    for world in worlds:
        plan = plan_for(dataplane, world.declared, world.observed)
        carry_out(Plan(steps=plan.steps[: data.draw(st.integers(0, len(plan.steps)))]), dataplane)
        resumed = plan_for(dataplane, world.declared, world.observed)
        assert [found for state in states_during(resumed, dataplane) if (found := dangers(state))] == []
        reconcile(dataplane, world.declared, world.observed)
        reconcile(twin, world.declared, world.observed, rounds=2)
        assert comparable(dataplane.read()) == comparable(twin.read())
