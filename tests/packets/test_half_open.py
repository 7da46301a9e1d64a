"""Connections between SYN and first ACK, as user space is told of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbctl.core.tables import BackendState
from lbctl.dataplane.clock import Clock
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.port import IdleLimits
from tests.packets.cases import all_slots, backends
from tests.packets.frames import tcp
from tests.packets.rig import Rig
from tests.packets.world import GENERATION, tables


@pytest.mark.parametrize(("age_ticks", "is_trusted"), [(0, True), (50, True), (66, False), (180, False)])
def test_half_open_connection_is_told_of_as_long_as_its_entry_is_trusted(
    rig: Rig, age_ticks: int, is_trusted: bool
) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(tcp("S"))
    assert rig.dataplane.half_open() == {1: 1}
    rig.age_recent("lb_half_opens", ticks=age_ticks)

    assert rig.dataplane.half_open() == ({1: 1} if is_trusted else {})
    rig.hold(tables(backends(), all_slots(2)))
    rig.run(tcp("A"))
    assert (rig.live(1), rig.live(2)) == ((1, 0) if is_trusted else (0, 1))


def test_half_open_connections_are_told_by_backend_until_their_first_ack(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    for port in (50_001, 50_002):
        rig.run(tcp("S", client_port=port))
    rig.hold(tables(backends(BackendState.DRAINING, number=1), all_slots(2)))
    rig.run(tcp("S", client_port=50_003))
    assert rig.dataplane.half_open() == {1: 2, 2: 1}

    rig.run(tcp("A", client_port=50_001))
    assert (rig.dataplane.half_open(), rig.live(1)) == ({1: 1, 2: 1}, 1)
    rig.run(tcp("S", client_port=50_002))  # sent again, to where it is taken
    assert rig.dataplane.half_open() == {2: 2}


def test_half_open_connection_of_a_server_whose_id_was_given_away_is_nobodys(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(tcp("S"))
    rows = backends()
    rig.hold(tables({**rows, 1: replace(rows[1], generation=GENERATION + 1)}, all_slots(2)))
    assert rig.dataplane.half_open() == {}


def test_half_open_connection_that_nobody_completed_is_not_told_of_again_when_its_time_wraps(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scanner leaves many, and whoever drains the server hours later would wait for them."""
    read, later_ticks = Clock.jiffies, 0
    monkeypatch.setattr(Clock, "jiffies", lambda clock: read(clock) + (later_ticks << 8))
    dataplane = KernelDataplane(rig.loaded, rig.pins)
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(tcp("S"))
    later_ticks = 30
    assert dataplane.half_open() == {1: 1}

    later_ticks = 100
    dataplane.sweep(IdleLimits(open_s={}))
    later_ticks = 270
    assert dataplane.half_open() == {}
    rig.run(tcp("S", client_port=50_002))
    assert dataplane.half_open() == {1: 1}
