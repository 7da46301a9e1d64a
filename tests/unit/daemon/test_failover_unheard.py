"""An active backend whose probes are not answered: it is replaced, unless it may be the director that hears nobody."""

from __future__ import annotations

from lbctl.core.verdict import Outcome, ProbeResult
from tests.unit.daemon.feeds import feeds
from tests.unit.daemon.rig import HEALTHY, UNREACHABLE, Rig, neighbour

TIMEOUT = ProbeResult(outcome=Outcome.TIMEOUT, detail="TCP handshake unanswered on port 104")


def in_turn(rig: Rig, *probes: tuple[ProbeResult, str]) -> None:
    """One probe after the other, a minute apart."""
    for result, name in probes:
        rig.now += 60
        rig.probe(result, name)
        rig.reconcile()


def test_active_one_with_an_entry_made_by_hand_is_replaced_when_only_its_probes_fail() -> None:
    """Such entries never tell who is alive: the standby's probes do."""
    rig = Rig(feeds("a", "b")).up()
    for name in ("a", "b"):
        rig.reconciler.neighbour_seen(neighbour(rig.row(name).address, state="permanent"))
    rig.reconcile()
    in_turn(rig, (UNREACHABLE, "a"), (HEALTHY, "b"), (UNREACHABLE, "a"))
    assert rig.states() == {"a": "halted", "b": "up"}


def test_active_one_whose_probes_time_out_stays_until_another_is_heard_in_between() -> None:
    """The director may have a firewall in its way: its probes fail one after the other, and come back one after the other."""
    rig = Rig(feeds("a", "b")).up()
    in_turn(rig, (HEALTHY, "b"), (TIMEOUT, "a"), (TIMEOUT, "a"))
    assert rig.reconciler.actives == {"p": "a"}
    in_turn(rig, (TIMEOUT, "b"), (TIMEOUT, "a"), (TIMEOUT, "b"), (TIMEOUT, "a"), *[(HEALTHY, "b")] * 3)
    assert rig.reconciler.actives == {"p": "a"}
    assert rig.states() == {"a": "down", "b": "halted"}
    in_turn(rig, *[(HEALTHY, "a")] * 3)
    assert rig.states() == {"a": "up", "b": "halted"}


def test_active_one_whose_probes_time_out_is_replaced_by_one_that_is_heard_in_between() -> None:
    rig = Rig(feeds("a", "b")).up()
    in_turn(rig, (TIMEOUT, "a"), (HEALTHY, "b"), (TIMEOUT, "a"))
    assert rig.states() == {"a": "halted", "b": "up"}


def test_active_one_that_is_not_heard_when_others_are_again_is_replaced() -> None:
    rig = Rig(feeds("a", "b")).up()
    in_turn(rig, (TIMEOUT, "a"), (TIMEOUT, "a"), (TIMEOUT, "b"), (TIMEOUT, "b"), *[(HEALTHY, "b")] * 3, (TIMEOUT, "a"))
    assert rig.states() == {"a": "halted", "b": "up"}


def test_active_one_is_not_replaced_for_a_probe_that_began_before_another_was_heard_again() -> None:
    rig = Rig(feeds("a", "b")).up()
    in_turn(rig, (TIMEOUT, "a"), (TIMEOUT, "a"), (TIMEOUT, "b"), (TIMEOUT, "b"), (HEALTHY, "b"))
    rig.now += 0.1
    rig.probe(TIMEOUT, "a")
    rig.reconcile()
    assert rig.reconciler.actives == {"p": "a"}
