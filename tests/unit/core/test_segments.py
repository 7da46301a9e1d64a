"""Segments: where backends and VIPs are, also when interfaces come, go, and come back under another index."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbctl.core.desired import NOWHERE
from lbctl.core.model import Announce
from lbctl.core.plan import SetBackend, SetInterface, SetSlots, SetVip
from lbctl.core.situation import NicFacts
from lbctl.core.tables import ROUTED, BackendState, InterfaceRow, Lan
from lbctl.dataplane.fake import FakeDataplane
from lbctl.errors import LbctlError
from tests.tables import comparable
from tests.unit.core.controlling import numbers, owners, plan_for, reconcile
from tests.unit.core.declarations import (
    BOTH_NICS,
    ETH0,
    LAN,
    NICS,
    OTHER_VIP,
    VIP,
    VLAN,
    VLAN_LAN,
    address,
    declared,
    pool,
    service,
    situation,
)

VIP6 = address(100, interface=VLAN, version=6)
FILE = declared(
    pool("archives", {"a": 11, "b": 12}),
    pool("web", {"x": 11}, version=6, interface=VLAN),
    services=(service("archives"), service("web", VIP6, interface=VLAN)),
)
HERE = situation(FILE, nics=BOTH_NICS)
MAC = BOTH_NICS["eth0"].mac
ANEW = {name: NicFacts(lan=Lan(9, nic.lan.vlan), mac=nic.mac) for name, nic in BOTH_NICS.items()}
X = address(11, interface=VLAN, version=6)


def test_segment_of_each_interface_has_a_row_with_the_addresses_of_both_families() -> None:
    own4, own6 = ETH0.address, VLAN.address6
    assert own4 is not None and own6 is not None
    one_each = replace(FILE, interfaces=(replace(ETH0, address6=None), replace(VLAN, address=None)))

    assert reconcile(FakeDataplane(), one_each, HERE).interfaces == {
        LAN: InterfaceRow(mac=MAC, address=own4.ip),
        VLAN_LAN: InterfaceRow(mac=MAC, address6=own6.ip),
    }


def test_segment_of_backends_and_vips_is_that_of_their_interface() -> None:
    tables = reconcile(FakeDataplane(), FILE, HERE)

    assert tables.vips == {VIP: LAN, VIP6: VLAN_LAN}
    assert {row.address: row.lan for row in tables.backends.values()} == {
        address(11): LAN, address(12): LAN, X: VLAN_LAN,
    }  # fmt: skip


def test_routed_vip_is_of_no_segment_and_needs_no_interface() -> None:
    routed = replace(FILE, services=(service("archives", announce=Announce.ROUTED),))

    assert reconcile(FakeDataplane(), routed, HERE).vips == {VIP: ROUTED}
    assert reconcile(FakeDataplane(), routed, replace(HERE, nics={})).vips == {VIP: ROUTED}


def test_vip_that_is_routed_from_now_on_is_one_step() -> None:
    dataplane = FakeDataplane()
    reconcile(dataplane, FILE, HERE)
    first, *others = FILE.services
    routed = replace(FILE, services=(replace(first, announce=Announce.ROUTED), *others))

    assert plan_for(dataplane, routed, HERE).steps == (SetVip(vip=VIP, before=LAN, after=ROUTED),)


@pytest.mark.parametrize("lan", [LAN, Lan(5, 7)])
def test_interfaces_that_are_one_segment_are_an_error_with_a_hint(lan: Lan) -> None:
    nics = {name: NicFacts(lan=lan, mac=MAC) for name in BOTH_NICS}

    with pytest.raises(LbctlError, match=r"interfaces eth0 and eth0\.20 are one and the same") as caught:
        plan_for(FakeDataplane(), FILE, replace(HERE, nics=nics))
    assert f"index {lan.ifindex}" in str(caught.value)
    assert ("VLAN 7" in str(caught.value)) == (lan.vlan == 7)
    assert "eth0 only" in caught.value.hint


# Created anew ----------------------------------------------------------------------------------------------------------


def test_interface_created_anew_moves_everything_and_makes_no_other_server() -> None:
    dataplane = FakeDataplane()
    before = reconcile(dataplane, FILE, HERE)

    plan = plan_for(dataplane, FILE, replace(HERE, nics=ANEW))
    after = reconcile(dataplane, FILE, replace(HERE, nics=ANEW))

    assert [type(step) for step in plan.steps] == [SetInterface] * 2 + [SetBackend] * 3 + [SetVip] * 2 + [
        SetInterface
    ] * 2
    assert not any(isinstance(step, SetBackend) for step in plan.declared_steps)
    assert after.interfaces == {replace(lan, ifindex=9): row for lan, row in before.interfaces.items()}
    assert after.backends == {i: replace(row, lan=replace(row.lan, ifindex=9)) for i, row in before.backends.items()}
    assert owners(after) == owners(before)


def test_interface_that_vanishes_and_comes_back_under_another_index_leaves_references_as_they_were() -> None:
    dataplane, twin = FakeDataplane(), FakeDataplane()
    reconcile(dataplane, FILE, HERE)
    reconcile(dataplane, FILE, replace(HERE, nics={}))

    after = reconcile(dataplane, FILE, replace(HERE, nics=ANEW))

    assert comparable(after) == comparable(reconcile(twin, FILE, replace(HERE, nics=ANEW)))


def test_backends_on_an_interface_that_is_gone_stay_where_they_were_and_take_no_new_ones() -> None:
    dataplane = FakeDataplane()
    reconcile(dataplane, FILE, HERE)

    after = reconcile(dataplane, FILE, replace(HERE, nics=NICS))

    row = after.backends[numbers(after)[X]]
    assert (row.lan, row.state, row.generation) == (VLAN_LAN, BackendState.DOWN, 1)
    assert set(owners(after, 2)) == {None}
    assert set(owners(after)) == {address(11), address(12)}


def test_backend_whose_interface_was_never_seen_is_nowhere() -> None:
    tables = reconcile(FakeDataplane(), FILE, replace(HERE, nics=NICS))

    assert tables.backends[numbers(tables)[X]].lan == NOWHERE


def test_fallback_on_another_interface_takes_over_when_the_pools_own_is_gone() -> None:
    spare = pool("spare", {"s": 21}, interface=VLAN)
    file = declared(replace(FILE.pools[0], fallback="spare"), spare, services=FILE.services[:1])
    dataplane = FakeDataplane()
    reconcile(dataplane, file, situation(file, nics=BOTH_NICS))

    without = {"eth0.20": BOTH_NICS["eth0.20"]}
    plan = plan_for(dataplane, file, situation(file, nics=without))
    after = reconcile(dataplane, file, situation(file, nics=without))

    assert set(owners(after)) == {address(21, interface=VLAN)}
    kinds = [type(step) for step in plan.steps]
    assert kinds.index(SetSlots) < kinds.index(SetBackend) < kinds.index(SetInterface)


# What was removed and lives on -------------------------------------------------------------------------------------------

WITHOUT_WEB = replace(FILE, interfaces=(ETH0,), pools=FILE.pools[:1], services=FILE.services[:1])


def test_interface_that_was_removed_stays_while_connections_by_it_live() -> None:
    dataplane = FakeDataplane()
    before = reconcile(dataplane, FILE, HERE)
    number = numbers(before)[X]

    busy = reconcile(dataplane, WITHOUT_WEB, situation(WITHOUT_WEB, busy_backends=[number], busy_vips=[VIP6]), rounds=2)
    gone = reconcile(dataplane, WITHOUT_WEB)

    assert busy.interfaces == before.interfaces
    assert (busy.vips[VIP6], busy.backends[number].lan) == (VLAN_LAN, VLAN_LAN)
    assert busy.backends[number].state is BackendState.DRAINING
    assert (gone.interfaces, gone.vips) == ({LAN: before.interfaces[LAN]}, {VIP: LAN})


def test_what_was_removed_follows_its_interface_when_that_is_created_anew() -> None:
    """The file has the interface still; it is known by its subnet."""
    dataplane = FakeDataplane()
    file = replace(FILE, services=(service("archives"), service("archives", OTHER_VIP)))
    number = numbers(reconcile(dataplane, file, HERE))[address(12)]
    one = declared(pool("archives", {"a": 11}), services=(service("archives"),))

    moved = reconcile(
        dataplane, one, situation(one, nics=ANEW, busy_backends=[number], busy_vips=[OTHER_VIP]), rounds=2
    )

    assert (moved.vips[OTHER_VIP], moved.backends[number].lan) == (Lan(9), Lan(9))
    assert set(moved.interfaces) == {Lan(9), Lan(9, 20)}


def test_routed_vip_that_was_removed_stays_routed() -> None:
    dataplane = FakeDataplane()
    routed = service("archives", OTHER_VIP, announce=Announce.ROUTED)
    both = replace(FILE, services=(service("archives"), routed))
    reconcile(dataplane, both, HERE)

    assert reconcile(dataplane, FILE, replace(HERE, busy_vips=frozenset({OTHER_VIP}))).vips[OTHER_VIP] == ROUTED
