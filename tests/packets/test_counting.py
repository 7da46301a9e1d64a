"""Connections as they are counted: by the program from packet to packet, by the daemon where there was no packet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lbctl.core.tables import BackendState, reference
from lbctl.dataplane.layout import Reason
from lbctl.dataplane.maps import HashMap
from lbctl.dataplane.port import IdleLimits
from tests.packets.connecting import FIRST_PORT, connect, connect_many, limited, send
from tests.packets.frames import tcp
from tests.packets.refusals import answer_to
from tests.packets.rig import Rig
from tests.packets.world import backend_row, tables

LIMITS = IdleLimits(open_s={1: 3600.0})


# The last word is at the first ACK -----------------------------------------------------------------------------------


def test_handshake_whose_backend_is_full_by_now_is_turned_away_before_the_server_accepts_it(rig: Rig) -> None:
    rig.hold(limited(1))
    assert [send(rig, "S", port) for port in (1, 2)] == [(Reason.SYN, 1)] * 2
    assert send(rig, "A", 1) == (Reason.FIRST_ACK, 1)

    outcome, reason = rig.run_for_reason(tcp("A", client_port=2, ack=9))

    assert (reason, outcome.data) == (Reason.TURNED_AWAY, answer_to(tcp("A", client_port=2, ack=9)))
    assert (rig.live(1), rig.flow_backends().total()) == (1, 1)
    assert send(rig, "R", 2) == (Reason.UNTRACKED, 1)  # the server's half of the handshake ends, too


def test_syn_from_the_ports_of_a_closed_connection_goes_elsewhere_when_its_backend_is_full(rig: Rig) -> None:
    rig.hold(limited(1, 0))
    assert connect(rig, FIRST_PORT) == 1
    send(rig, "FA", FIRST_PORT)
    assert connect(rig, FIRST_PORT + 1) == 1

    assert send(rig, "S", FIRST_PORT) == (Reason.SYN, 2)
    assert send(rig, "A", FIRST_PORT) == (Reason.FIRST_ACK, 2)
    assert (rig.live(1), rig.live(2)) == (1, 1)


def test_syn_from_the_ports_of_an_earlier_connection_counts_once(rig: Rig) -> None:
    rig.hold(limited(1))
    connect(rig, FIRST_PORT)
    assert send(rig, "S", FIRST_PORT) == (Reason.REUSED_PORT, 1)  # it was still open: the client crashed, say
    assert rig.live(1) == 1
    send(rig, "FA", FIRST_PORT)

    assert [send(rig, flags, FIRST_PORT) for flags in ("S", "S", "A")] == [
        (Reason.SYN, 1), (Reason.SYN, 1), (Reason.FIRST_ACK, 1),
    ]  # fmt: skip
    assert rig.live(1) == 1


# The daemon's part ---------------------------------------------------------------------------------------------------


def let_pass(rig: Rig, seconds: float) -> None:
    table = rig.flows["lb_flows_tcp4"]
    for keys, flows in list(table.batches()):
        flows["last_seen"] -= np.uint32(round(seconds * rig.clock.hz))
        table.set_all(keys, flows)


def test_connections_that_expired_free_their_places(rig: Rig) -> None:
    rig.hold(limited(3))
    assert connect_many(rig, 4) == [1, 1, 1, 0]
    let_pass(rig, 3_601)

    swept = rig.dataplane.sweep(LIMITS)

    assert (swept.ended, swept.open) == ({reference(1, 7): 3}, {})
    assert (rig.live(1), rig.is_full(1)) == (0, False)
    assert connect_many(rig, 4, first=60_000) == [1, 1, 1, 0]


@pytest.mark.parametrize("error", [-2, 3])
def test_count_that_went_wrong_settles_by_the_next_sweep(rig: Rig, error: int) -> None:
    rig.hold(limited(10))
    connect_many(rig, 5)
    rig.connections["opened"][1] = 5 + error

    swept = rig.dataplane.sweep(LIMITS)

    assert swept.open == {reference(1, 7): 5}
    assert rig.live(1) == 5


def test_clients_that_are_given_up_free_their_places(rig: Rig) -> None:
    rig.hold(limited(3))
    connect_many(rig, 3)
    send(rig, "FA", FIRST_PORT)

    given_up = rig.dataplane.give_up([reference(1, 7)])

    assert sorted(client.was_open for client in given_up) == [False, True, True]
    assert rig.live(1) == 0


def test_id_that_is_given_to_another_server_begins_at_nought_and_owes_nothing_for_the_earlier_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.hold(limited(0))
    connect_many(rig, 5)
    another = replace(backend_row(1, limit=3), generation=8)
    rig.hold(tables({1: another}))
    assert rig.live(1) == 0
    assert connect_many(rig, 2, first=60_000) == [1, 1]

    with monkeypatch.context() as busy:  # there is never a quiet moment
        busy.setattr(type(rig.dataplane._connections), "settle", lambda *_, **__: None)
        swept = rig.dataplane.sweep(LIMITS)

    assert swept.expired == 5
    assert rig.live(1) == 2
    assert connect_many(rig, 2, first=61_000) == [1, 0]


def test_backend_that_connections_in_mid_stream_fill_is_full_and_a_scan_holds_its_places_for_a_minute_only(
    rig: Rig,
) -> None:
    """As after a director's reboot; and as by a scan, whose packets have no second."""
    rig.hold(limited(2))
    assert [send(rig, "A", port)[0] for port in (1, 2)] == [Reason.PICKED_UP] * 2
    assert (rig.live(1), rig.is_full(1)) == (2, True)
    assert send(rig, "PA", 2)[0] is Reason.ESTABLISHED

    let_pass(rig, 61)
    swept = rig.dataplane.sweep(LIMITS)

    assert (swept.ended, swept.open) == ({reference(1, 7): 1}, {reference(1, 7): 1})
    assert (rig.live(1), rig.is_full(1)) == (1, False)


def test_flow_that_a_packet_touches_while_it_is_swept_is_counted_among_the_living(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its backend may be in the tables for its sake alone."""
    rig.hold(limited(3))
    connect(rig, FIRST_PORT)
    let_pass(rig, 3_601)
    remove = HashMap.remove_unchanged

    def meanwhile(flows: HashMap, keys: Any, values: Any) -> Any:
        send(rig, "A", FIRST_PORT)
        return remove(flows, keys, values)

    monkeypatch.setattr(HashMap, "remove_unchanged", meanwhile)

    swept = rig.dataplane.sweep(LIMITS)

    assert (swept.expired, swept.flows, swept.open) == (0, {reference(1, 7): 1}, {reference(1, 7): 1})
    assert send(rig, "A", FIRST_PORT)[0] is Reason.ESTABLISHED


def test_flow_to_a_backend_that_was_added_while_the_tables_are_swept_is_let_alone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.hold(limited(0))
    batches, changes = HashMap.batches, [limited(0, 0, slots_of=2)]

    def meanwhile(flows: HashMap) -> Any:
        if changes:
            rig.hold(changes.pop())
            connect(rig, FIRST_PORT)
        return batches(flows)

    monkeypatch.setattr(HashMap, "batches", meanwhile)

    swept = rig.dataplane.sweep(LIMITS)

    assert (swept.expired, swept.open) == (0, {reference(2, 7): 1})


# Another limit -------------------------------------------------------------------------------------------------------


def test_limit_that_is_added_later_counts_the_connections_that_are_there(rig: Rig) -> None:
    rig.hold(limited(0, 0))
    connect_many(rig, 5)
    rig.hold(limited(3, 0, resume=1))

    assert (rig.live(1), rig.is_full(1), connect(rig, 60_000)) == (5, True, 2)
    for port in range(FIRST_PORT, FIRST_PORT + 3):
        assert send(rig, "PA", port) == (Reason.ESTABLISHED, 1)
        send(rig, "FA", port)
    assert (rig.live(1), connect(rig, 60_001)) == (2, 2)
    send(rig, "FA", FIRST_PORT + 3)
    assert (rig.live(1), connect(rig, 60_002)) == (1, 1)


@pytest.mark.parametrize("limit", [0, 4])
def test_limit_that_is_raised_or_taken_away_lets_a_full_backend_go_on_at_once(rig: Rig, limit: int) -> None:
    rig.hold(limited(3, resume=0))
    assert connect_many(rig, 4) == [1, 1, 1, 0]
    rig.hold(limited(limit, resume=0))

    assert connect(rig, 60_000) == 1
    assert rig.is_full(1) == (limit == 4)


def test_state_and_mac_that_change_leave_a_full_backend_full(rig: Rig) -> None:
    rig.hold(limited(3, resume=0))
    connect_many(rig, 3)
    send(rig, "FA", FIRST_PORT)
    for state in (BackendState.DRAINING, BackendState.UP):
        held = limited(3, resume=0)
        rig.hold(replace(held, backends={1: replace(held.backends[1], state=state)}))

    assert (rig.live(1), rig.is_full(1), connect(rig, 60_000)) == (2, True, 0)
