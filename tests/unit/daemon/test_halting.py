"""The reconciler when an operator halts a backend of a pool where all of them share."""

from __future__ import annotations

from lbctl.core.plan import SetBackend, SetMembers, SetSlots
from lbctl.core.standing import Override
from lbctl.core.tables import BackendState
from tests.unit.daemon.feeds import shape
from tests.unit.daemon.rig import HEALTHY, Rig, declared


def test_halt_is_written_before_the_slots_and_its_end_gives_the_same_ones_back() -> None:
    rig = Rig(declared("a", "b", "c")).up()
    before = rig.shares()
    rig.override("a", to=Override.HALTED)
    plan = rig.reconcile()
    assert [type(step) for step in plan.steps] == [SetBackend, SetSlots, SetMembers]
    assert plan.declared_steps == ()
    assert rig.states() == {"a": "halted", "b": "up", "c": "up"}
    rig.override("a", to=None)
    rig.reconcile()
    assert rig.shares() == before


def test_halt_survives_a_restart_and_a_removal() -> None:
    rig = Rig(declared("a", "b")).up()
    number = rig.number("a")
    rig.override("a", to=Override.HALTED)
    rig.reconcile()
    again = rig.restarted()
    again.probe(HEALTHY, times=3)
    assert again.reconcile().is_empty
    again.reconciler.declare(declared("b address=192.0.2.12"), now=again.now)
    again.reconcile()
    assert again.dataplane.backends[number].state is BackendState.HALTED


def test_halt_that_becomes_a_drain_takes_no_new_connections_in_between() -> None:
    rig = Rig(declared("a", "b")).up()
    rig.override("a", to=Override.HALTED)
    rig.reconcile()
    rig.override("a", to=Override.DRAINED)
    assert shape(rig.reconcile()) == [("halted", "draining")]
