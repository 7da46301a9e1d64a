"""From declaration and situation to tables: what is kept, what is reused, and what does not fit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from lbctl.core.desired import desired_tables
from lbctl.core.ids import identity
from lbctl.core.plan import SetMembers
from lbctl.core.situation import Limits, NicFacts
from lbctl.core.tables import BackendState, Tables
from lbctl.dataplane.fake import FakeDataplane
from lbctl.errors import LbctlError
from tests.tables import comparable
from tests.unit.core.controlling import host, numbers, owners, plan_for, reconcile
from tests.unit.core.declarations import (
    BOTH_NICS,
    ETH0,
    LAN,
    LIMITS,
    NICS,
    OTHER_VIP,
    VIP,
    VLAN,
    declaration,
    down,
    draining,
    mac_of,
    service,
    situation,
    up,
)

ABC = declaration({"archives": {"a": 11, "b": 12, "c": 13}})
AB = declaration({"archives": {"a": 11, "b": 12}})

# Backends ------------------------------------------------------------------------------------------------------------


def test_desired_fresh_director_holds_what_was_declared() -> None:
    tables = reconcile(FakeDataplane(), ABC)

    assert tables.interfaces[LAN].mac == NICS["eth0"].mac
    assert tables.vips == {VIP: LAN}
    assert [(key.vip, key.port) for key in tables.services] == [(VIP, 104)]
    assert {row.address: row.mac for row in tables.backends.values()} == {
        host(n): mac_of(host(n)) for n in (11, 12, 13)
    }
    assert set(Counter(owners(tables)).values()) == {340, 341}


def test_desired_order_in_the_file_does_not_matter() -> None:
    shuffled = declaration({"archives": {"c": 13, "a": 11, "b": 12}})
    dataplane = FakeDataplane()

    tables = reconcile(dataplane, ABC)

    assert owners(reconcile(FakeDataplane(), shuffled)) == owners(tables)
    assert {type(step) for step in plan_for(dataplane, shuffled, situation(shuffled)).steps} == {SetMembers}


def test_desired_removed_backend_drains_and_is_freed_when_nobody_uses_it() -> None:
    dataplane = FakeDataplane()
    number = numbers(reconcile(dataplane, ABC))[host(13)]

    drained = reconcile(dataplane, AB, situation(AB, busy_backends=[number]), rounds=3)
    freed = reconcile(dataplane, AB)

    assert (drained.backends[number].state, drained.backends[number].generation) == (BackendState.DRAINING, 1)
    assert drained.backends[number].mac == mac_of(host(13))
    assert host(13) not in owners(drained)
    assert number not in freed.backends
    assert freed.freed == {number: 1}


@pytest.mark.parametrize("state", [BackendState.DOWN, BackendState.DEAD])
def test_desired_removed_backend_that_was_down_stays_down(state: BackendState) -> None:
    """Draining would go on sending a client's datagrams to a dead server, and they would keep the flow alive for ever."""
    dataplane = FakeDataplane()
    number = numbers(reconcile(dataplane, ABC, situation(ABC, {"archives/c": replace(down(), state=state)})))[host(13)]

    tables = reconcile(dataplane, AB, situation(AB, busy_backends=[number]))

    assert tables.backends[number].state is BackendState.DOWN


def test_desired_freed_id_gets_another_generation() -> None:
    dataplane = FakeDataplane()
    number = numbers(reconcile(dataplane, ABC))[host(13)]
    reconcile(dataplane, AB, rounds=2)

    tables = reconcile(dataplane, declaration({"archives": {"a": 11, "b": 12, "d": 14}}))

    assert numbers(tables)[host(14)] == number
    assert tables.backends[number].generation == 2
    assert tables.freed == {}


def test_desired_removed_backend_that_comes_back_in_time_keeps_its_reference() -> None:
    dataplane = FakeDataplane()
    before = reconcile(dataplane, ABC)
    reconcile(dataplane, AB, situation(AB, busy_backends=[3]))

    assert comparable(reconcile(dataplane, ABC)) == comparable(before)


def test_desired_same_name_with_another_address_is_another_reference() -> None:
    dataplane = FakeDataplane()
    before = reconcile(dataplane, ABC)
    moved = declaration({"archives": {"a": 11, "b": 12, "c": 99}})

    after = reconcile(dataplane, moved, situation(moved, busy_backends=[3]))

    assert numbers(before)[host(13)] == numbers(after)[host(13)] == 3
    assert after.backends[3].state is BackendState.DRAINING
    assert numbers(after)[host(99)] == 4
    assert [host(99) if owner == host(13) else owner for owner in owners(before)] == owners(after)


def test_desired_pool_without_anybody_up_has_empty_slots() -> None:
    tables = reconcile(FakeDataplane(), AB, situation(AB, {"archives/a": down(), "archives/b": draining()}))

    assert set(owners(tables)) == {None}
    assert {row.state for row in tables.backends.values()} == {BackendState.DOWN, BackendState.DRAINING}


def test_desired_weights_give_shares() -> None:
    tables = reconcile(FakeDataplane(), AB, situation(AB, {"archives/a": up(7_500), "archives/b": up(2_500)}))

    assert Counter(owners(tables)) == {host(11): 766, host(12): 255}


# Pools and services --------------------------------------------------------------------------------------------------


def test_desired_grown_pool_moves_to_a_block_of_its_own() -> None:
    dataplane = FakeDataplane()
    before = reconcile(dataplane, AB)
    many = declaration({"archives": {f"s{n}": n for n in range(11, 20)}})

    grown = reconcile(dataplane, many)
    shrunk = reconcile(dataplane, AB)

    assert (before.pools[1].base, before.pools[1].size) == (0, 1021)
    assert (grown.pools[1].base, grown.pools[1].size) == (1021, 2039)
    assert (shrunk.pools[1].base, shrunk.pools[1].size) == (0, 1021)


def test_desired_pool_keeps_its_row_when_another_is_put_before_it() -> None:
    dataplane = FakeDataplane()
    before = reconcile(dataplane, AB)

    after = reconcile(dataplane, declaration({"web": {"w": 21}, "archives": {"a": 11, "b": 12}}, service("archives")))

    assert after.pools[1] == before.pools[1]
    assert after.pools[2].identity == identity("web")


def test_desired_service_keeps_its_counters_when_another_is_put_before_it() -> None:
    dataplane = FakeDataplane()
    reconcile(dataplane, declaration({"archives": {"a": 11}}, service("archives", ports=(104, 11112))))

    more = declaration({"archives": {"a": 11}}, service("archives", ports=(80, 104, 11112)))
    tables = reconcile(dataplane, more)

    assert {key.port: row.id for key, row in tables.services.items()} == {104: 1, 11112: 2, 80: 3}


def test_desired_counters_of_a_removed_service_are_nobodys_while_it_has_flows() -> None:
    """Its flows carry the number, and with it an idle limit."""
    dataplane = FakeDataplane()
    number = next(iter(reconcile(dataplane, AB).services.values())).id
    other = declaration({"archives": {"a": 11, "b": 12}}, service("archives", ports=(80,)))

    busy = reconcile(dataplane, other, situation(other, busy_services=[number]))
    reconcile(dataplane, AB)
    idle = reconcile(dataplane, other)

    assert [row.id for row in busy.services.values()] == [number + 1]
    assert [row.id for row in idle.services.values()] == [number]


def test_desired_settling_pool_keeps_the_slots_that_it_was_found_with() -> None:
    """After a restart nobody knows the weights until the agents have spoken."""
    dataplane = FakeDataplane()
    before = reconcile(dataplane, AB, situation(AB, {"archives/a": up(2_500)}))

    settling = situation(AB, settling_pools=["archives"])

    assert plan_for(dataplane, AB, settling).is_empty
    assert owners(reconcile(dataplane, AB)) != owners(before)


def test_desired_settling_pool_whose_backend_went_down_does_not_wait() -> None:
    dataplane = FakeDataplane()
    reconcile(dataplane, AB)

    settling = situation(AB, {"archives/b": down()}, settling_pools=["archives"])

    assert set(owners(reconcile(dataplane, AB, settling))) == {host(11)}


def test_desired_refused_vip_is_neither_announced_nor_a_service() -> None:
    both = declaration({"archives": {"a": 11}}, service("archives"), service("archives", OTHER_VIP))

    tables = reconcile(FakeDataplane(), both, situation(both, refused_vips=[OTHER_VIP]))

    assert list(tables.vips) == [VIP]
    assert [key.vip for key in tables.services] == [VIP]


def test_desired_removed_vip_lingers_while_connections_to_it_live() -> None:
    dataplane = FakeDataplane()
    both = declaration({"archives": {"a": 11}}, service("archives"), service("archives", OTHER_VIP))
    one = declaration({"archives": {"a": 11}}, service("archives"))
    reconcile(dataplane, both)

    lingering = reconcile(dataplane, one, situation(one, busy_vips=[OTHER_VIP]))
    gone = reconcile(dataplane, one)

    assert lingering.vips == {VIP: LAN, OTHER_VIP: LAN}
    assert [key.vip for key in lingering.services] == [VIP]
    assert gone.vips == {VIP: LAN}


def test_desired_busy_vip_that_was_never_answered_for_is_not_answered_for() -> None:
    assert reconcile(FakeDataplane(), AB, situation(AB, busy_vips=[OTHER_VIP])).vips == {VIP: LAN}


def test_desired_interface_that_is_gone_announces_nothing_and_keeps_references() -> None:
    """And nobody on it is given new connections, whatever was heard of him last."""
    dataplane = FakeDataplane()
    before = reconcile(dataplane, AB)

    after = reconcile(dataplane, AB, replace(situation(AB), nics={}))

    assert (after.interfaces, after.vips) == ({}, {})
    assert after.services == before.services
    assert after.backends == {i: replace(row, state=BackendState.DOWN) for i, row in before.backends.items()}
    assert set(owners(after)) == {None}
    assert comparable(reconcile(dataplane, AB)) == comparable(before)


def test_desired_interface_with_a_new_mac_is_one_dynamic_step() -> None:
    dataplane = FakeDataplane()
    reconcile(dataplane, AB)
    nics = {"eth0": NicFacts(lan=LAN, mac=bytes.fromhex("020000000077"))}

    plan = plan_for(dataplane, AB, replace(situation(AB), nics=nics))

    assert (len(plan.steps), plan.declared_steps) == (1, ())


# Room ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (replace(LIMITS, backends=3), "no id is left for 'archives/c@192.0.2.13'"),
        (replace(LIMITS, services=1), "no counter is left"),
        (replace(LIMITS, pools=1), "no row is left for pool archives"),
        (replace(LIMITS, slots=1020), "no room for a table of 1021 slots"),
    ],
    ids=["backends", "services", "pools", "slots"],
)
def test_desired_beyond_the_kernels_tables_is_an_error_with_a_hint(limits: Limits, told: str) -> None:
    with pytest.raises(LbctlError, match=told) as caught:
        desired_tables(ABC, situation(ABC), current=Tables(), limits=limits)
    assert caught.value.hint


def test_desired_more_interfaces_than_rows_are_an_error_with_a_hint() -> None:
    declared = replace(AB, interfaces=(ETH0, VLAN))

    with pytest.raises(LbctlError, match="no room for 2 interfaces in a table of 1") as caught:
        desired_tables(declared, situation(AB, nics=BOTH_NICS), current=Tables(), limits=replace(LIMITS, interfaces=1))
    assert caught.value.hint


def test_desired_exactly_filled_tables_are_no_error() -> None:
    limits = Limits(backends=4, services=2, pools=2, slots=1021, interfaces=1, members=1, sources=0)

    tables = desired_tables(ABC, situation(ABC), current=Tables(), limits=limits)

    assert (len(tables.backends), len(tables.services), len(tables.pools)) == (3, 1, 1)
