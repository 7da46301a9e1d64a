"""The reconciler with a pool of which only one backend may receive: switches, restarts, and an operator's word."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lbctl.core.plan import Step
from lbctl.core.standing import Override
from lbctl.core.tables import BackendState, Members, Tables
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.port import Connected
from lbctl.errors import KernelError, UsageError
from tests.tables import dangers
from tests.unit.daemon.feeds import AUTOMATIC, MANUAL, SWITCH, feeds, shape
from tests.unit.daemon.rig import HEALTHY, Rig, declared, neighbour


class Watching(FakeDataplane):
    """Remembers all tables that ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Tables] = []

    def write(self, step: Step) -> None:
        super().write(step)
        self.history.append(self.read())


def receivers(tables: Tables) -> Iterator[str]:
    """Those that would get a new packet, by the last byte of their address."""
    for row in tables.backends.values():
        if row.state not in (BackendState.HALTED, BackendState.DEAD):
            yield str(row.address)


# At the start, and in between ----------------------------------------------------------------------------------------


def test_first_of_the_file_is_active_and_the_others_stand_by() -> None:
    rig = Rig(feeds()).up()
    assert rig.states() == {"a": "up", "b": "halted", "c": "halted"}
    assert rig.conditions() == {"a": "up", "b": "standby", "c": "standby"}
    assert rig.shares() == {"a": 1}
    assert rig.dataplane.members == {1: Members(own=(rig.reference("a"),))}
    assert rig.reconciler.actives == {"p": "a"}


def test_standby_is_never_anything_but_halted() -> None:
    """Not for a moment, not even while nobody was probed."""
    rig = Rig(feeds(), dataplane=Watching())
    rig.reconcile()
    rig.probe(HEALTHY, "c")
    rig.reconcile()
    assert rig.reconciler.actives == {"p": "c"}
    rig.up()
    assert rig.states() == {"a": "halted", "b": "halted", "c": "up"}
    assert isinstance(rig.dataplane, Watching)
    assert {tuple(receivers(tables)) for tables in rig.dataplane.history} == {(), ("192.0.2.13",)}


def test_switch_halts_the_former_one_before_the_slots_change() -> None:
    rig = Rig(feeds()).up()
    rig.fail("a")
    assert shape(rig.reconcile()) == SWITCH
    assert rig.states() == {"a": "halted", "b": "up", "c": "halted"}
    assert rig.conditions() == {"a": "down", "b": "up", "c": "standby"}
    assert rig.shares() == {"b": 1}


def test_switch_refused_by_the_kernel_at_any_step_never_has_two_receivers_and_is_made_by_the_next_try() -> None:
    for done in range(4):
        rig = Rig(feeds()).up()
        rig.fail("a")
        rig.dataplane.fail_after = len(rig.dataplane.written) + done
        with pytest.raises(KernelError):
            rig.reconcile()
        assert len(list(receivers(rig.dataplane.read()))) <= 1
        assert dangers(rig.dataplane.read()) == []
        rig.dataplane.fail_after = None
        rig.reconcile()
        assert (rig.shares(), rig.reconciler.actives) == ({"b": 1}, {"p": "b"})
        assert rig.reconcile().is_empty


def test_former_one_that_returns_stands_by_until_an_operator_says_otherwise() -> None:
    rig = Rig(feeds()).up()
    rig.fail("a")
    rig.reconcile()
    rig.probe(HEALTHY, times=3)
    assert rig.reconcile().is_empty
    assert rig.conditions() == {"a": "standby", "b": "up", "c": "standby"}
    assert rig.reconciler.standings()["p/a"].reason == "takes over if b fails"


def test_former_one_that_returns_is_active_again_where_failback_is_automatic() -> None:
    rig = Rig(feeds(keys=AUTOMATIC)).up()
    rig.fail("a")
    rig.reconcile()
    rig.probe(HEALTHY, "a")
    assert rig.reconcile().is_empty
    rig.probe(HEALTHY, "a")
    assert shape(rig.reconcile()) == SWITCH
    assert rig.shares() == {"a": 1}


def test_active_one_that_fails_with_nobody_to_replace_it_keeps_its_connections_as_its_pool_says() -> None:
    rig = Rig(feeds()).up()
    rig.fail("b", "c")
    rig.reconcile()
    rig.fail("a")
    rig.reconcile()
    assert rig.reconciler.actives == {"p": "a"}
    assert rig.states() == {"a": "dead", "b": "halted", "c": "halted"}
    rig.probe(HEALTHY, "c", times=2)
    assert shape(rig.reconcile()) == [("dead", "halted"), ("halted", "up"), ("SetSlots",), ("SetMembers",)]
    assert rig.reconciler.actives == {"p": "c"}


def test_active_one_that_is_full_stays_the_only_one() -> None:
    rig = Rig(declared("a connection_limit=10", "b", keys=MANUAL)).up()
    rig.dataplane.connected[rig.number("a")] = Connected(connections=10, is_full=True)
    assert rig.reconcile().is_empty
    assert rig.conditions() == {"a": "full", "b": "standby"}


# Whose cable is it? ----------------------------------------------------------------------------------------------------


def hears(rig: Rig, state: str, *names: str) -> None:
    """What the kernel says of their ARP entries."""
    for name in names:
        rig.reconciler.neighbour_seen(neighbour(rig.row(name).address, state=state))


def test_active_one_that_falls_silent_while_another_is_heard_is_replaced() -> None:
    rig = Rig(feeds("a", "b")).up()
    hears(rig, "failed", "a")
    rig.reconcile()
    assert rig.reconciler.actives == {"p": "b"}


def test_active_one_that_falls_silent_while_nobody_is_heard_stays_and_so_it_does_when_all_are_heard_again() -> None:
    """The director's cable was cut, and the standby's entry is only in question yet."""
    rig = Rig(feeds("a", "b")).up()
    hears(rig, "probe", "b")
    hears(rig, "failed", "a")
    rig.reconcile()
    hears(rig, "failed", "b")
    rig.reconcile()
    assert rig.states() == {"a": "down", "b": "halted"}
    hears(rig, "reachable", "a", "b")
    rig.reconcile()
    assert rig.states() == {"a": "up", "b": "halted"}


def test_active_one_that_stays_silent_is_replaced_as_soon_as_another_is_heard() -> None:
    rig = Rig(feeds("a", "b")).up()
    hears(rig, "probe", "b")
    hears(rig, "failed", "a")
    rig.reconcile()
    assert rig.reconciler.actives == {"p": "a"}
    assert rig.reconciler.neighbour_seen(
        neighbour(rig.row("b").address)
    )  # so that the daemon does not wait for a sweep
    rig.reconcile()
    assert rig.states() == {"a": "halted", "b": "up"}


# Restart and reboot --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembered", [{}, {"p": "a"}, {"p": "c"}, {"p": "gone"}])
def test_restart_adopts_the_active_one_of_the_kernel_whatever_the_disk_says(remembered: dict[str, str]) -> None:
    rig = Rig(feeds()).up()
    rig.reconciler.activate("p/b")
    rig.reconcile()
    again = rig.restarted(actives=remembered)
    assert again.reconciler.actives == {"p": "b"}
    assert again.reconcile().is_empty
    again.probe(HEALTHY, times=3)
    assert again.reconcile().is_empty


def test_reboot_goes_on_with_the_active_one_that_the_disk_has() -> None:
    rig = Rig(feeds(), actives={"p": "b", "removed": "x"}).up()
    assert (rig.shares(), rig.reconciler.actives) == ({"b": 1}, {"p": "b"})


def test_reboot_with_an_active_one_that_was_removed_begins_with_the_first() -> None:
    assert Rig(feeds(), actives={"p": "gone"}).up().shares() == {"a": 1}


def test_restart_while_the_active_one_is_down_adopts_what_the_disk_has() -> None:
    rig = Rig(feeds("a", "b"), actives={"p": "b"}).up()
    rig.fail("a", "b")
    rig.reconcile()
    again = rig.restarted(actives={"p": "b"})
    again.probe(HEALTHY, times=3)
    again.reconcile()
    assert again.reconciler.actives == {"p": "b"}


# An operator's word ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("to", "condition"), [(Override.HALTED, "halted"), (Override.DRAINED, "draining")])
def test_active_one_that_an_operator_takes_out_is_replaced_and_stands_by_afterwards(
    to: Override, condition: str
) -> None:
    rig = Rig(feeds()).up()
    rig.override("a", to=to)
    rig.reconcile()
    assert rig.states() == {"a": "halted", "b": "up", "c": "halted"}
    assert rig.conditions() == {"a": condition, "b": "up", "c": "standby"}
    rig.override("a", to=None)
    assert rig.reconcile().is_empty
    assert rig.conditions()["a"] == "standby"


def test_drain_of_the_last_one_lets_its_connections_go_on_and_a_halt_does_not() -> None:
    rig = Rig(feeds("a", "b")).up()
    rig.override("b", to=Override.DRAINED)
    rig.reconcile()
    rig.override("a", to=Override.DRAINED)
    rig.reconcile()
    assert rig.states() == {"a": "draining", "b": "halted"}
    rig.override("a", to=Override.HALTED)
    rig.reconcile()
    assert rig.states() == {"a": "halted", "b": "halted"}
    assert rig.reconciler.takers("p") == frozenset()


def test_activate_makes_the_switch_with_the_next_reconciliation_and_names_the_former_one() -> None:
    rig = Rig(feeds()).up()
    assert rig.reconciler.activate("p/c") == "a"
    assert shape(rig.reconcile()) == SWITCH
    assert rig.shares() == {"c": 1}


def test_activate_of_one_that_cannot_changes_nothing() -> None:
    rig = Rig(feeds()).up()
    rig.fail("b")
    rig.reconcile()
    with pytest.raises(UsageError, match=r"p/b takes no connections: it is down \(connection refused on port 104\)"):
        rig.reconciler.activate("p/b")
    assert rig.reconcile().is_empty


def test_activation_that_the_kernel_refuses_is_made_by_the_next_try() -> None:
    rig = Rig(feeds()).up()
    rig.reconciler.activate("p/b")
    rig.dataplane.fail_after = len(rig.dataplane.written)
    with pytest.raises(KernelError):
        rig.reconcile()
    rig.dataplane.fail_after = None
    rig.reconcile()
    assert (rig.shares(), rig.reconciler.actives) == ({"b": 1}, {"p": "b"})
