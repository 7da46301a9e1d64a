"""The reconciler when the file changes, when somebody else has the VIP, and when the kernel refuses half-way."""

from __future__ import annotations

import pytest

from lbctl.core.model import Declaration
from lbctl.core.plan import SetVip, Step
from lbctl.core.retention import HANDSHAKE_S
from lbctl.core.standing import Override
from lbctl.core.tables import BackendState
from lbctl.dataplane.fake import FakeDataplane
from lbctl.errors import KernelError, UsageError
from tests.tables import comparable, dangers
from tests.unit.daemon.rig import HEALTHY, LAN, OTHER_VIP, REFUSED, UNREACHABLE, VIP, Rig, declared, neighbour

ONLY_B = declared("b address=192.0.2.12")


# Removal --------------------------------------------------------------------------------------------------------------


def test_removed_backend_drains_while_it_has_flows_and_goes_after_them() -> None:
    rig = Rig(declared("a", "b")).up()
    number, flow = rig.number("a"), rig.flow_to("a")
    rig.reconciler.declare(ONLY_B, now=rig.now)
    rig.reconcile()
    assert rig.dataplane.backends[number].state is BackendState.DRAINING
    assert rig.shares() == {"b": 1}
    for _ in range(30):
        rig.now += 10
        rig.sweep()
        assert rig.reconcile().is_empty
    rig.dataplane.live_flows.remove(flow)
    rig.now += 10
    rig.sweep()
    rig.reconcile()
    assert number not in rig.dataplane.backends


def test_removed_backend_without_flows_stays_as_long_as_a_handshake_may_take() -> None:
    rig = Rig(declared("a", "b")).up()
    number, began = rig.number("a"), rig.now
    rig.reconciler.declare(ONLY_B, now=rig.now)
    rig.reconcile()
    while rig.now < began + HANDSHAKE_S:
        assert number in rig.dataplane.backends
        rig.now += 10
        rig.sweep()
        rig.reconcile()
    assert number not in rig.dataplane.backends


def test_removed_backend_that_comes_back_keeps_its_reference_and_its_health() -> None:
    rig = Rig(declared("a", "b")).up()
    flow = rig.flow_to("a")
    rig.reconciler.declare(ONLY_B, now=rig.now)
    rig.reconcile()
    rig.reconciler.declare(declared("a", "b"), now=rig.now)
    rig.meet_all()
    rig.probe(HEALTHY, "a")
    rig.reconcile()
    assert rig.dataplane.read().reference(rig.number("a")) == flow.backend
    assert rig.shares().keys() == {"a", "b"}


def test_backend_whose_silence_is_doubted_stays_so_when_a_file_without_it_comes_to_nothing() -> None:
    """Else its clients' connections, which may be alive, would be reset."""
    rig = Rig(declared("a", "b")).up()
    for backend in rig.reconciler.declaration.backends():
        rig.reconciler.neighbour_seen(neighbour(backend.address, state="failed"))
    rig.probe(UNREACHABLE, times=2)
    rig.reconcile()
    rig.reconciler.neighbour_seen(neighbour(rig.row("b").address))
    rig.probe(HEALTHY, "b", times=2)
    rig.reconcile()
    before = rig.reconciler.facts()
    rig.reconciler.declare(ONLY_B, now=rig.now)
    rig.reconciler.plan(now=rig.now)
    rig.reconciler.restore(before)
    rig.reconcile()
    assert rig.states() == {"a": "down", "b": "up"}
    rig.reconciler.neighbour_seen(neighbour(rig.row("a").address))
    rig.probe(HEALTHY, "a", times=2)
    rig.fail("a")
    rig.reconcile()
    assert rig.states() == {"a": "dead", "b": "up"}


def test_backend_under_another_address_is_another_server_and_must_prove_itself() -> None:
    rig = Rig(declared("a", "b")).up()
    number = rig.number("a")
    rig.flow_to("a")
    rig.reconciler.declare(declared("a address=192.0.2.50", "b"), now=rig.now)
    rig.meet_all()
    rig.reconcile()
    assert rig.number("a") != number
    assert rig.shares() == {"b": 1}
    assert rig.dataplane.backends[number].state is BackendState.DRAINING
    rig.probe(HEALTHY, "a")
    rig.reconcile()
    assert rig.shares().keys() == {"a", "b"}


def test_removed_vip_stays_while_it_has_flows_but_its_services_go_at_once() -> None:
    rig = Rig(declared("a", vips=(VIP, OTHER_VIP))).up()
    flow = rig.flow_to("a", vip=OTHER_VIP)
    rig.reconciler.declare(declared("a"), now=rig.now)
    rig.reconcile()
    assert rig.dataplane.vips.keys() == {VIP, OTHER_VIP}
    assert {key.vip for key in rig.dataplane.services} == {VIP}
    rig.dataplane.live_flows.remove(flow)
    rig.now += HANDSHAKE_S
    rig.sweep()
    rig.reconcile()
    assert rig.dataplane.vips.keys() == {VIP}


def test_removed_backend_keeps_its_name_in_this_daemon() -> None:
    rig = Rig(declared("a", "b")).up()
    identity = rig.row("a").identity
    rig.reconciler.declare(ONLY_B, now=rig.now)
    assert rig.reconciler.labels[identity] == "p/a"


# A VIP that somebody else has -----------------------------------------------------------------------------------------


def test_refused_vip_is_not_answered_for_until_it_is_free() -> None:
    rig = Rig(declared("a", vips=(VIP, OTHER_VIP)))
    rig.reconciler.refused_vips = {VIP: bytes.fromhex("02eeeeeeeeee")}
    rig.up()
    assert rig.dataplane.vips.keys() == {OTHER_VIP}
    assert {key.vip for key in rig.dataplane.services} == {OTHER_VIP}
    rig.reconciler.refused_vips = {}
    rig.reconcile()
    assert rig.dataplane.vips.keys() == {VIP, OTHER_VIP}
    assert {key.vip for key in rig.dataplane.services} == {VIP, OTHER_VIP}


# A kernel that refuses ------------------------------------------------------------------------------------------------


CHANGES = {
    "first start": (None, declared("a", "b", "c")),
    "backend added": (declared("a", "b"), declared("a", "b", "c")),
    "backend removed": (declared("a", "b", "c"), declared("a", "c address=192.0.2.13")),
    "vip added and address changed": (declared("a", "b"), declared("a", "b address=192.0.2.44", vips=(VIP, OTHER_VIP))),
    "vip removed": (declared("a", vips=(VIP, OTHER_VIP)), declared("a")),
}


def about_to_change(before: Declaration | None, after: Declaration) -> Rig:
    """Everything known, and nothing of the second declaration written yet."""
    rig = Rig(before or after)
    if before is not None:
        rig.up()
        rig.reconciler.declare(after, now=rig.now)
        rig.meet_all()
    rig.probe(HEALTHY)
    rig.now += 2 * HANDSHAKE_S
    rig.sweep()
    return rig


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_kernel_refusing_at_any_step_leaves_it_safe_and_the_next_try_converges(
    before: Declaration | None, after: Declaration
) -> None:
    expected = about_to_change(before, after)
    steps = len(expected.reconcile().steps)
    assert steps > 0
    for done in range(steps):
        rig = about_to_change(before, after)
        rig.dataplane.fail_after = len(rig.dataplane.written) + done
        with pytest.raises(KernelError, match="as the test wants it"):
            rig.reconcile()
        assert dangers(rig.dataplane.read()) == []
        rig.dataplane.fail_after = None
        rig.reconcile()
        assert comparable(rig.dataplane.read()) == comparable(expected.dataplane.read())
        assert rig.reconcile().is_empty


def test_facts_that_came_while_the_kernel_refused_are_in_the_next_try() -> None:
    rig = Rig(declared("a", "b")).up()
    rig.probe(REFUSED, "a", times=2)
    rig.dataplane.fail_after = len(rig.dataplane.written) + 1
    with pytest.raises(KernelError):
        rig.reconcile()
    rig.dataplane.fail_after = None
    rig.probe(HEALTHY, "a", times=2)
    rig.reconcile()
    assert rig.shares().keys() == {"a", "b"}
    assert rig.row("a").state is BackendState.UP


class ForgetfulDataplane(FakeDataplane):
    """Says that it wrote, and did not: once, for the step that the test names."""

    forgets: type[Step] | None = None

    def write(self, step: Step) -> None:
        if self.forgets is not None and isinstance(step, self.forgets):
            self.forgets = None
            return
        super().write(step)


def test_declared_change_that_did_not_take_effect_is_noticed_and_repaired() -> None:
    dataplane = ForgetfulDataplane()
    rig = Rig(declared("a", "b"), dataplane=dataplane)
    rig.probe(HEALTHY)
    dataplane.forgets = SetVip
    with pytest.raises(KernelError, match="what was written to the tables is not there: VIP "):
        rig.reconcile()
    rig.reconcile()
    assert dataplane.vips == {VIP: LAN}


def test_pool_without_anybody_who_takes_connections_is_told_by_its_takers() -> None:
    rig = Rig(declared("a", "b")).up()
    assert rig.reconciler.takers("p") == {"p/a", "p/b"}
    rig.override("a", "b", to=Override.DRAINED)
    rig.reconcile()
    assert rig.reconciler.takers("p") == frozenset()


def test_condition_is_dated_from_its_own_beginning() -> None:
    rig = Rig(declared("a", "b")).up()
    rig.now += 100
    rig.override("a", to=Override.DRAINED)
    rig.reconcile()
    rig.now += 5
    rig.reconcile()
    assert rig.reconciler.conditions.since("p/a", otherwise=0.0) == rig.now - 5


def test_condition_is_as_old_as_it_was_after_a_file_without_the_backend_was_only_tried() -> None:
    rig = Rig(declared("a", "b")).up()
    began, before = rig.reconciler.conditions.since("p/a", otherwise=0.0), rig.reconciler.facts()
    rig.now += 100
    rig.reconciler.declare(ONLY_B, now=rig.now)
    rig.reconciler.plan(now=rig.now)
    rig.reconciler.restore(before)
    rig.reconcile()
    assert rig.reconciler.conditions.since("p/a", otherwise=0.0) == began


def test_backend_that_was_removed_is_not_mistaken_for_another() -> None:
    rig = Rig(declared("a", "b")).up()
    rig.reconciler.declare(declared("b"), now=rig.now)
    with pytest.raises(UsageError, match="p/a was removed from the file"):
        rig.reconciler.require_backend("p/a")
