"""The reconciler: facts in, plans out, on a fake data plane."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lbctl.core.plan import SetBackend, SetMembers, SetSlots
from lbctl.core.standing import Override
from lbctl.core.tables import BackendState
from lbctl.core.verdict import AgentReport, AgentSilence, AgentWord
from tests.tables import comparable
from tests.unit.daemon.rig import HEALTHY, IFINDEX, LINK, REFUSED, UNREACHABLE, Rig, declared, neighbour


def test_backend_without_history_gets_connections_from_its_first_good_probe_on() -> None:
    rig = Rig(declared("a", "b"))
    rig.reconcile()
    assert rig.shares() == {"nobody": 1}
    rig.probe(HEALTHY, "a")
    rig.reconcile()
    assert rig.shares() == {"a": 1}


def test_plan_when_nothing_changed_is_empty_and_not_counted() -> None:
    rig = Rig(declared("a", "b")).up()
    before = rig.dataplane.sealed
    rig.probe(HEALTHY)
    assert rig.reconcile().is_empty
    assert rig.dataplane.sealed == rig.reconciler.generation == before


# Restart --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "backends",
    [
        ("a", "b", "c"),
        ("a weight=100", "b weight=37", "c weight=1"),
        ("a agent", "b agent", "c agent"),
        ("a weight=256 agent", "b weight=3 agent", "c weight=0"),
    ],
)
def test_restart_with_the_same_declaration_plans_nothing(backends: tuple[str, ...]) -> None:
    rig = Rig(declared(*backends)).up()
    assert rig.restarted().reconcile().is_empty


@pytest.mark.parametrize("percent", [1, 10, 25, 33, 50, 75, 90, 98])
def test_restart_keeps_the_share_that_an_agent_had_asked_for(percent: int) -> None:
    rig = Rig(declared("a agent", "b agent", "c")).up()
    for _ in range(20):
        rig.now += 0.5
        rig.reconciler.observed.agent_answered("p/a", AgentReport(percent=percent), now=rig.now)
    rig.reconcile()
    again = rig.restarted()
    assert again.reconcile().is_empty
    assert again.reconciler.observed.members["p/a"].capacity.percent == percent


def test_restart_while_a_backend_is_down_gives_it_nothing_before_a_good_probe() -> None:
    rig = Rig(declared("a", "b")).up()
    rig.probe(REFUSED, "a", times=2)
    rig.reconcile()
    again = rig.restarted()
    assert again.reconcile().declared_steps == ()
    assert again.shares() == {"b": 1}
    again.probe(REFUSED, "a")
    again.reconcile()
    assert again.shares() == {"b": 1}
    again.probe(HEALTHY, "a", times=2)
    again.reconcile()
    assert again.shares().keys() == {"a", "b"}


def test_restart_does_not_take_a_backend_that_was_never_probed_for_healthy() -> None:
    rig = Rig(declared("a", "b"))
    rig.probe(HEALTHY, "a")
    rig.reconcile()
    again = rig.restarted()
    again.reconcile()
    assert again.shares() == {"a": 1}


def test_neighbour_of_the_same_address_on_another_interface_is_somebody_else() -> None:
    rig = Rig(declared("a", "b")).up()
    stranger = replace(neighbour(IPv4Address("192.0.2.11"), mac=bytes.fromhex("0200000000ff")), ifindex=IFINDEX + 1)
    assert not rig.reconciler.neighbour_seen(stranger)
    assert rig.reconcile().is_empty


@pytest.mark.parametrize("mac", ["ffffffffffff", "01005e000001", "000000000000", LINK.mac.hex()])
def test_neighbour_claimed_with_a_mac_that_is_no_other_stations_gets_nothing(mac: str) -> None:
    rig = Rig(declared("a", "b")).up()
    before = rig.row("a").mac
    rig.reconciler.neighbour_seen(neighbour(IPv4Address("192.0.2.11"), mac=bytes.fromhex(mac)))
    rig.reconcile()
    assert rig.shares() == {"b": 1}
    assert rig.row("a").mac == before


def test_restart_before_the_neighbours_are_known_declares_nothing_and_forgets_no_mac() -> None:
    rig = Rig(declared("a", "b")).up()
    again = rig.restarted()
    again.reconciler.neighbourhood.neighbours.clear()
    assert again.reconcile().declared_steps == ()
    assert again.row("a").mac == rig.row("a").mac is not None


def test_restart_with_another_declaration_plans_the_difference_only() -> None:
    rig = Rig(declared("a", "b")).up()
    again = Rig(declared("a", "b", "c"), dataplane=rig.dataplane)
    declared_steps = again.reconcile().declared_steps
    assert [(type(step), getattr(step, "before", 0)) for step in declared_steps] == [(SetBackend, None)]
    assert again.number("a") == 1


# Drains, agents, health, neighbours -----------------------------------------------------------------------------------


def test_drain_takes_the_slots_and_its_end_gives_the_same_ones_back() -> None:
    rig = Rig(declared("a", "b", "c")).up()
    before = comparable(rig.dataplane.read())
    rig.override("a", to=Override.DRAINED)
    plan = rig.reconcile()
    assert rig.shares().keys() == {"b", "c"}
    assert rig.row("a").state is BackendState.DRAINING
    assert plan.declared_steps == ()
    rig.override("a", to=None)
    rig.reconcile()
    assert comparable(rig.dataplane.read()) == before


def test_drain_survives_a_restart() -> None:
    rig = Rig(declared("a", "b")).up()
    rig.override("a", to=Override.DRAINED)
    rig.reconcile()
    again = rig.restarted()
    assert again.reconcile().is_empty
    again.probe(HEALTHY, times=5)
    assert again.reconcile().is_empty


def test_agent_percentage_becomes_a_share_and_its_silence_gives_it_back() -> None:
    rig = Rig(declared("a agent", "b agent")).up()
    for _ in range(20):
        rig.now += 0.5
        rig.reconciler.observed.agent_answered("p/a", AgentReport(percent=25), now=rig.now)
    rig.reconcile()
    assert rig.shares()["a"] == pytest.approx(0.2, abs=0.002)
    for _ in range(20):
        rig.now += 0.5
        rig.reconciler.observed.agent_answered("p/a", AgentSilence(detail="no answer"), now=rig.now)
    rig.reconcile()
    assert rig.shares()["a"] == pytest.approx(0.5, abs=0.002)


def test_agent_word_drains_its_backend() -> None:
    rig = Rig(declared("a agent", "b agent")).up()
    rig.reconciler.observed.agent_answered("p/a", AgentReport(word=AgentWord.DRAIN), now=rig.now)
    rig.reconcile()
    assert (rig.shares(), rig.row("a").state) == ({"b": 1}, BackendState.DRAINING)
    assert rig.reconciler.standings()["p/a"].reason == "its agent says drain"


def test_backend_that_went_down_loses_its_slots_before_its_state() -> None:
    rig = Rig(declared("a", "b")).up()
    rig.probe(REFUSED, "a", times=2)
    kinds = [type(step) for step in rig.reconcile().steps]
    assert kinds == [SetSlots, SetMembers, SetBackend]
    assert rig.row("a").state is BackendState.DEAD


def fall_silent(rig: Rig, *names: str, state: str = "failed") -> None:
    """No answer to ARP; if it failed, none to probes either."""
    for name in names:
        rig.reconciler.neighbour_seen(neighbour(rig.row(name).address, state=state))
    if state == "failed":
        rig.probe(UNREACHABLE, *names, times=2)
    rig.reconcile()


def test_backend_that_falls_silent_while_another_is_heard_is_dead() -> None:
    rig = Rig(declared("a", "b")).up()
    fall_silent(rig, "a")
    assert (rig.row("a").state, rig.row("b").state) == (BackendState.DEAD, BackendState.UP)


def test_backends_that_fall_silent_together_are_not_dead_not_even_when_one_is_heard_again() -> None:
    rig = Rig(declared("a", "b")).up()
    fall_silent(rig, "a", "b", state="probe")
    fall_silent(rig, "a")
    fall_silent(rig, "b")
    states = [(rig.row("a").state, rig.row("b").state)]
    rig.reconciler.neighbour_seen(neighbour(rig.row("a").address))
    rig.reconcile()
    states.append((rig.row("a").state, rig.row("b").state))
    assert states == [(BackendState.DOWN, BackendState.DOWN)] * 2


def test_backend_whose_silence_was_doubted_is_believed_once_it_has_answered() -> None:
    rig = Rig(declared("a", "b")).up()
    fall_silent(rig, "a", "b")
    rig.meet_all()
    rig.up()
    assert rig.row("a").state is BackendState.UP
    fall_silent(rig, "a")
    assert rig.row("a").state is BackendState.DEAD


def test_neighbour_that_fails_after_it_was_lost_is_news() -> None:
    rig = Rig(declared("a", "b")).up()
    address = rig.row("a").address
    assert rig.reconciler.neighbour_seen(neighbour(address, state="incomplete"))
    assert rig.reconciler.neighbour_seen(neighbour(address, state="failed"))
    assert not rig.reconciler.neighbour_seen(neighbour(address, state="failed"))


def test_neighbour_that_the_kernel_forgot_goes_on_until_it_failed() -> None:
    """As all of them when the director's own MAC changes: nobody has died."""
    rig = Rig(declared("a", "b")).up()
    addresses = [rig.row(name).address for name in ("a", "b")]
    for state in ("deleted", "none", "incomplete"):
        for address in addresses:
            rig.reconciler.neighbour_seen(neighbour(address, state=state))
        assert rig.reconcile().is_empty
    rig.reconciler.neighbour_seen(neighbour(addresses[1]))
    rig.reconciler.neighbour_seen(neighbour(addresses[0], state="failed"))
    rig.reconcile()
    assert (rig.row("a").state, rig.row("b").state) == (BackendState.DEAD, BackendState.UP)
    rig.reconciler.neighbour_seen(neighbour(addresses[0], state="incomplete"))
    rig.reconcile()
    assert rig.row("a").state is BackendState.DOWN


def test_neighbour_with_another_mac_changes_one_row_and_no_slot() -> None:
    rig = Rig(declared("a", "b")).up()
    address = rig.row("a").address
    assert rig.reconciler.neighbour_seen(neighbour(address, mac=bytes.fromhex("02aaaaaaaaaa")))
    (step,) = rig.reconcile().steps
    assert isinstance(step, SetBackend)
    assert step.after is not None
    assert step.after.mac == bytes.fromhex("02aaaaaaaaaa")
    assert not rig.reconciler.neighbour_seen(neighbour(address, state="stale", mac=bytes.fromhex("02aaaaaaaaaa")))


def test_neighbour_that_failed_keeps_its_mac_and_loses_its_slots() -> None:
    rig = Rig(declared("a", "b")).up()
    mac = rig.row("a").mac
    assert rig.reconciler.neighbour_seen(neighbour(rig.row("a").address, state="failed"))
    rig.reconcile()
    assert (rig.shares(), rig.row("a").mac) == ({"b": 1}, mac)
    assert rig.reconciler.standings()["p/a"].reason == "192.0.2.11 does not answer ARP (its entry is failed)"


def test_neighbour_of_nobody_is_no_matter() -> None:
    rig = Rig(declared("a")).up()
    assert not rig.reconciler.neighbour_seen(neighbour(rig.row("a").address + 100))


def test_probe_of_a_backend_that_is_no_longer_declared_counts_for_nothing() -> None:
    rig = Rig(declared("a", "b")).up()
    rig.reconciler.declare(declared("b address=192.0.2.12"), now=rig.now)
    assert rig.reconciler.observed.probed("p/a", REFUSED, now=rig.now) == ()
    assert rig.reconciler.observed.agent_answered("p/a", AgentReport(percent=1), now=rig.now) == ()
