"""Connections between SYN and first ACK, as user space is told of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbctl.core.tables import BackendState
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
