"""The reconciler when the file changes a pool of which only one backend may receive: no feed may go on at a former receiver."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbctl.core.model import Pool
from lbctl.core.retention import HANDSHAKE_S
from lbctl.core.tables import BackendState
from tests.unit.daemon.feeds import AUTOMATIC, MANUAL, feeds, shape
from tests.unit.daemon.rig import HEALTHY, Rig, declared


def test_active_one_removed_from_the_file_is_halted_while_its_row_lingers() -> None:
    rig = Rig(feeds()).up()
    number, flow = rig.number("a"), rig.flow_to("a")
    rig.reconciler.declare(feeds("b address=192.0.2.12", "c address=192.0.2.13"), now=rig.now)
    assert shape(rig.reconcile())[0] == ("up", "halted")
    assert rig.dataplane.backends[number].state is BackendState.HALTED
    assert rig.shares() == {"b": 1}
    rig.now += HANDSHAKE_S
    rig.sweep()
    assert rig.reconcile().is_empty
    rig.dataplane.live_flows.remove(flow)
    rig.sweep()
    rig.reconcile()
    assert number not in rig.dataplane.backends


def test_active_one_removed_from_the_file_stays_halted_after_a_restart() -> None:
    rig = Rig(feeds()).up()
    number = rig.number("a")
    rig.reconciler.declare(feeds("b address=192.0.2.12"), now=rig.now)
    rig.reconcile()
    again = rig.restarted()
    assert again.reconcile().is_empty
    assert again.dataplane.backends[number].state is BackendState.HALTED


def test_active_one_under_another_address_is_another_server_and_the_former_is_halted() -> None:
    rig = Rig(feeds()).up()
    number = rig.number("a")
    rig.reconciler.declare(feeds("a address=192.0.2.50", "b", "c"), now=rig.now)
    rig.meet_all()
    rig.reconcile()
    assert rig.dataplane.backends[number].state is BackendState.HALTED
    assert rig.shares() == {"b": 1}


def test_former_receiver_that_returns_to_the_file_may_be_active_again() -> None:
    rig = Rig(feeds("a", "b")).up()
    rig.reconciler.declare(feeds("b address=192.0.2.12"), now=rig.now)
    rig.reconcile()
    rig.reconciler.declare(feeds("a", "b"), now=rig.now)
    rig.meet_all()
    rig.probe(HEALTHY, "a")
    rig.reconcile()
    assert rig.states() == {"a": "halted", "b": "up"}
    rig.reconciler.activate("p/a")
    rig.reconcile()
    assert rig.states() == {"a": "up", "b": "halted"}


@pytest.mark.parametrize("keys", [MANUAL, AUTOMATIC])
def test_policy_that_becomes_failover_leaves_one_active_and_halts_the_others_first(keys: str) -> None:
    rig = Rig(declared("a", "b", "c")).up()
    rig.reconciler.declare(feeds(keys=keys), now=rig.now)
    assert shape(rig.reconcile()) == [("up", "halted"), ("up", "halted"), ("SetSlots",), ("SetMembers",)]
    assert rig.shares() == {"a": 1}


def test_policy_that_becomes_balance_lets_all_of_them_take_connections() -> None:
    rig = Rig(feeds()).up()
    rig.reconciler.declare(declared("a", "b", "c"), now=rig.now)
    rig.reconcile()
    assert rig.states() == {"a": "up", "b": "up", "c": "up"}
    assert rig.reconciler.actives == {}
    assert rig.shares().keys() == {"a", "b", "c"}


def test_policy_that_becomes_balance_as_a_receiver_goes_still_halts_that_one() -> None:
    """Its feeds must not go on there while their messages go elsewhere."""
    rig = Rig(feeds()).up()
    number = rig.number("a")
    rig.reconciler.declare(declared("b address=192.0.2.12", "c address=192.0.2.13"), now=rig.now)
    rig.reconcile()
    assert rig.dataplane.backends[number].state is BackendState.HALTED


def test_backend_removed_from_a_pool_that_balances_drains_as_ever() -> None:
    rig = Rig(declared("a", "b")).up()
    number = rig.number("a")
    rig.reconciler.declare(declared("b address=192.0.2.12"), now=rig.now)
    rig.reconcile()
    assert rig.dataplane.backends[number].state is BackendState.DRAINING


def test_reload_that_is_taken_back_leaves_the_active_one_as_it_was() -> None:
    rig = Rig(feeds()).up()
    facts = rig.reconciler.facts()
    rig.reconciler.declare(declared("c address=192.0.2.13"), now=rig.now)
    rig.reconciler.plan(now=rig.now)
    rig.reconciler.restore(facts)
    assert rig.reconcile().is_empty
    assert rig.reconciler.actives == {"p": "a"}


def test_policy_that_becomes_failover_as_a_backend_goes_halts_that_one() -> None:
    """Its feeds would go on there beside the active one."""
    rig = Rig(declared("a", "b")).up()
    number = rig.number("a")
    rig.reconciler.declare(feeds("b address=192.0.2.12"), now=rig.now)
    rig.reconcile()
    assert rig.dataplane.backends[number].state is BackendState.HALTED


@pytest.mark.parametrize("keys", [MANUAL, ""])
def test_backend_removed_while_no_daemon_ran_is_halted_if_only_one_may_receive(keys: str) -> None:
    rig = Rig(declared("a", "b", keys=keys)).up()
    number = rig.number("a")
    again = Rig(declared("b address=192.0.2.12", keys=keys), dataplane=rig.dataplane)
    again.up()
    expected = BackendState.HALTED if keys else BackendState.DRAINING
    assert again.dataplane.backends[number].state is expected
    assert again.shares() == {"b": 1}


def test_active_one_of_a_pool_that_was_renamed_while_no_daemon_ran_is_halted() -> None:
    """Under its new name the pool has another active one, which would receive beside it."""
    rig = Rig(feeds("a", "b")).up()
    number = rig.number("a")
    renamed = replace(feeds("a", "b"), pools=tuple(_renamed(pool) for pool in feeds("a", "b").pools))
    services = tuple(replace(service, pool="q") for service in renamed.services)
    again = Rig(replace(renamed, services=services), dataplane=rig.dataplane, actives={"p": "a"}, now=rig.now + 5)
    again.reconcile()
    assert rig.dataplane.backends[number].state is BackendState.HALTED


def _renamed(pool: Pool) -> Pool:
    return replace(pool, name="q", backends=tuple(replace(backend, pool="q") for backend in pool.backends))


def test_reload_that_was_taken_back_halts_nobody_later() -> None:
    """The file that was refused would have made `a` a former receiver."""
    rig = Rig(declared("a", "b")).up()
    number, facts = rig.number("a"), rig.reconciler.facts()
    rig.reconciler.declare(feeds("b address=192.0.2.12"), now=rig.now)
    rig.reconciler.restore(facts)
    rig.reconciler.declare(declared("b address=192.0.2.12"), now=rig.now)
    rig.reconcile()
    assert rig.dataplane.backends[number].state is BackendState.DRAINING


def test_former_receiver_that_shares_a_pool_later_drains_when_it_is_removed_again() -> None:
    rig = Rig(feeds("a", "b")).up()
    number = rig.number("a")
    for declaration in (feeds("b address=192.0.2.12"), declared("a", "b")):
        rig.reconciler.declare(declaration, now=rig.now)
        rig.meet_all()
        rig.probe(HEALTHY)
        rig.reconcile()
    assert rig.states() == {"a": "up", "b": "up"}
    rig.reconciler.declare(declared("b address=192.0.2.12"), now=rig.now)
    rig.reconcile()
    assert rig.dataplane.backends[number].state is BackendState.DRAINING
