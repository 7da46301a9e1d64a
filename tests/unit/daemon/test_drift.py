"""What of the kernel's tables somebody else altered, as a plan tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lbctl.core.tables import BackendState, Lan, Tables
from lbctl.dataplane.fake import FakeDataplane
from tests.unit.daemon.planners import OLD, Bench
from tests.unit.daemon.rig import VIP, Rig, declared, file

Meddle = Callable[[FakeDataplane, Rig], None]


def _halt(dataplane: FakeDataplane, rig: Rig) -> None:
    number = rig.number("a")
    dataplane.backends[number] = replace(dataplane.backends[number], state=BackendState.HALTED)


def _take_slots(dataplane: FakeDataplane, rig: Rig) -> None:
    base = dataplane.pools[rig.pool_id("p")].base
    others = dataplane.slots[base : base + 50] != rig.reference("a")
    dataplane.slots[base : base + 50] = rig.reference("a")
    assert others.any()


def _remove_service(dataplane: FakeDataplane, rig: Rig) -> None:
    dataplane.services.clear()


def _move_vip(dataplane: FakeDataplane, rig: Rig) -> None:
    dataplane.vips[VIP] = Lan(9, 20)


def _add_vip(dataplane: FakeDataplane, rig: Rig) -> None:
    dataplane.vips[IPv4Address("192.0.2.199")] = Lan(2)


def _remove_backend(dataplane: FakeDataplane, rig: Rig) -> None:
    del dataplane.backends[rig.number("b")]


def _drop(dataplane: FakeDataplane, rig: Rig) -> None:
    dataplane.drops_wrong_ports = True


MEDDLING: dict[str, tuple[Meddle, str]] = {
    "backend": (_halt, "backend p/a: state halted, should be up"),
    "service": (_remove_service, "service 192.0.2.100 tcp 104: missing"),
    "moved VIP": (_move_vip, "VIP 192.0.2.100: announced on device 9 VLAN 20, should be announced on device 2"),
    "new VIP": (_add_vip, "VIP 192.0.2.199: announced on device 2, should be not answered for"),
    "missing": (_remove_backend, "backend p/b: missing"),
    "ports": (_drop, "other ports of VIPs: dropped, should be refused"),
}


@pytest.mark.parametrize(("meddle", "expected"), MEDDLING.values(), ids=MEDDLING)
def test_drift_of_the_kernels_tables_is_told(meddle: Meddle, expected: str) -> None:
    bench = Bench()
    assert bench.drift() == []
    meddle(bench.dataplane, bench.rig)
    assert bench.drift() == [expected]
    assert not bench.plan(OLD).is_empty


def test_drift_of_slots_is_told_by_their_number() -> None:
    bench = Bench()
    _take_slots(bench.dataplane, bench.rig)
    (found,) = bench.drift()
    assert found.startswith("pool p: ")
    assert found.endswith(" slots sent to others than lbctl chose")


def test_drift_health_and_weights_are_none() -> None:
    """Not even while the kernel does not know of it."""
    bench = Bench()
    bench.rig.fail("a")
    assert bench.drift() == []
    bench.rig.reconcile()
    assert bench.drift() == []


class _Busy(FakeDataplane):
    """While it is read, the daemon writes to it; the reader sees some of what was before."""

    meanwhile: Callable[[], object] | None = None

    def read(self) -> Tables:
        found, act = super().read(), self.meanwhile
        if act is not None:
            self.meanwhile = None
            act()
        return found


def test_drift_is_not_what_the_daemon_itself_writes_meanwhile() -> None:
    dataplane = _Busy()
    bench = Bench(dataplane=dataplane)

    def fail() -> None:
        bench.rig.fail("a")
        assert not bench.rig.reconcile().is_empty

    dataplane.meanwhile = fail
    assert bench.drift() == []
    assert dataplane.meanwhile is None


def test_drift_is_told_beside_changes() -> None:
    bench = Bench()
    _halt(bench.dataplane, bench.rig)
    report = bench.plan(file("a weight=50", "b"))
    assert [drift.text for drift in report.drift] == ["backend p/a: state halted, should be up"]
    assert [each.key for each in report.changes] == ["pools.p.backends.a.weight"]


# Its repair ------------------------------------------------------------------------------------------------------------


def test_drift_repaired_gives_every_backend_the_number_that_its_flows_carry() -> None:
    """Also if the file has them in another order than they came in, and to those that are in the file no more."""
    rig = Rig(declared("b", "c")).up()
    rig.reconciler.declare(declared("a address=192.0.2.13", "b address=192.0.2.11"), now=rig.now)
    rig.meet_all()
    rig.up()
    before = rig.dataplane.read()
    assert sorted(before.backends) == [1, 2, 3]
    rig.dataplane.backends.clear()
    rig.reconciler.look_again()
    rig.reconcile()
    assert rig.dataplane.read().backends == before.backends
    assert rig.reconcile().is_empty
