"""Stations that claim a VIP: when they are told of, and when they are answered (RFC 5227 section 2.4)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from ipaddress import IPv6Address

import pytest

from lbctl.core.model import Address
from lbctl.daemon.conflicts import DEFEND_INTERVAL_S, TOLD_FOR_S, Conflicts
from lbctl.daemon.defending import Defender
from lbctl.dataplane.port import Claim
from tests.unit.daemon.rig import OTHER_VIP, VIP, Rig, declared

STRANGER, OTHER = bytes.fromhex("0200000000ff"), bytes.fromhex("0200000000fe")
VIP6 = IPv6Address("2001:db8::100")


def claim(times: int, mac: bytes = STRANGER) -> Claim:
    return Claim(mac=mac, times=times)


def test_claims_counted_before_the_first_look_are_past() -> None:
    conflicts = Conflicts()
    assert conflicts.noted({VIP: claim(7)}, now=0) == ()
    assert conflicts.noted({VIP: claim(7)}, now=1) == ()
    assert conflicts.to_defend(now=1) == ()
    assert conflicts.current(now=1) == ()


def test_claims_are_summed_by_station_and_forgotten_in_the_end() -> None:
    conflicts = Conflicts()
    conflicts.noted({VIP: claim(7)}, now=0)
    (first,) = conflicts.noted({VIP: claim(9)}, now=1)
    (other,) = conflicts.noted({VIP: claim(10, OTHER)}, now=2)
    (again,) = conflicts.noted({VIP: claim(14)}, now=3)
    assert [(each.mac, each.times) for each in (first, other, again)] == [(STRANGER, 2), (OTHER, 1), (STRANGER, 6)]
    assert conflicts.current(now=3) == (again, other)
    assert conflicts.current(now=2.5 + TOLD_FOR_S) == (again,)
    assert conflicts.current(now=4 + TOLD_FOR_S) == ()


def test_claims_of_a_vip_that_came_anew_count_from_nought() -> None:
    conflicts = Conflicts()
    conflicts.noted({VIP: claim(7)}, now=0)
    assert conflicts.noted({}, now=1) == ()
    (found,) = conflicts.noted({VIP: claim(2)}, now=2)
    assert found.times == 2


def test_defence_is_at_once_then_at_most_every_ten_seconds_and_never_forgotten() -> None:
    conflicts = Conflicts()
    conflicts.noted({}, now=0)
    defended = []
    for second in range(1, 30):
        times = min(second, 5)  # claims in the first five seconds only
        conflicts.noted({VIP: claim(times)}, now=second)
        defended += [second for _ in conflicts.to_defend(now=second)]
    assert defended == [1, 1 + DEFEND_INTERVAL_S]


def test_defence_of_one_vip_does_not_put_off_that_of_another() -> None:
    conflicts = Conflicts()
    conflicts.noted({}, now=0)
    conflicts.noted({VIP: claim(1)}, now=1)
    assert conflicts.to_defend(now=1) == (VIP,)
    conflicts.noted({VIP: claim(1), OTHER_VIP: claim(1)}, now=2)
    assert conflicts.to_defend(now=2) == (OTHER_VIP,)


class Defended(list[Address]):
    def __call__(self, vips: Iterable[Address]) -> None:
        self.extend(vips)


@pytest.fixture
def rig() -> Rig:
    return Rig(declared("a", "b")).up()


def test_claimant_is_named_by_its_backend_once_in_the_log_and_answered(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    defended = Defended()
    defender = Defender(rig.reconciler, rig.dataplane, defend=defended)
    defender.look()
    mac = rig.row("b").mac
    assert mac is not None
    for times in (1, 2, 3):
        rig.dataplane.claimed = {VIP: claim(times, mac)}
        defender.look()
    told = f"p/b answers ARP for the VIP {VIP}: set arp_ignore=1 and arp_announce=2 there"
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [told]
    (found,) = defender.claims()
    assert (found.vip, found.backend, found.mac, found.times, found.message) == (VIP, "p/b", mac.hex(":"), 3, told)
    assert defended == [VIP]


def test_claimant_that_is_a_stranger_is_named_by_its_mac(rig: Rig) -> None:
    defender = Defender(rig.reconciler, rig.dataplane, defend=Defended())
    defender.look()
    rig.dataplane.claimed = {VIP6: claim(1)}
    defender.look()
    (found,) = defender.claims()
    assert found.backend is None
    assert found.message == (
        f"02:00:00:00:00:ff answers neighbour solicitations for the VIP {VIP6}: free the address there"
    )
