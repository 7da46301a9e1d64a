"""Connection limits: who has room, and that nobody is kept out by what a flood reserves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbctl.core.model import OnEmpty
from lbctl.core.tables import BackendState, Members, reference
from lbctl.dataplane.layout import Reason
from tests.packets.connecting import FIRST_PORT, connect, connect_many, limited, send
from tests.packets.frames import forwarded, patched, tcp, udp
from tests.packets.refusals import answer_to
from tests.packets.rig import Rig
from tests.packets.world import backend_row

# Room ----------------------------------------------------------------------------------------------------------------


def test_connections_beyond_a_limit_go_to_whoever_has_room_and_then_are_turned_away(rig: Rig) -> None:
    rig.hold(limited(2, 3))

    assert connect_many(rig, 7) == [1, 1, 2, 2, 2, 0, 0]
    assert (rig.live(1), rig.live(2), rig.is_full(1), rig.is_full(2)) == (2, 3, True, True)
    frame = tcp("S", client_port=FIRST_PORT + 9)
    assert rig.run(frame).data == answer_to(frame)


def test_connections_beyond_all_limits_are_dropped_where_the_pool_says_so(rig: Rig) -> None:
    held = limited(1)
    rig.hold(replace(held, pools={1: replace(held.pools[1], on_empty=OnEmpty.DROP)}))
    assert connect(rig, FIRST_PORT) == 1

    assert send(rig, "S", FIRST_PORT + 1) == (Reason.NO_BACKEND, 0)


def test_full_backend_takes_new_connections_again_when_it_has_come_down_to_its_threshold(rig: Rig) -> None:
    rig.hold(limited(4, resume=2))
    assert connect_many(rig, 5) == [1, 1, 1, 1, 0]

    seen = []
    for port in range(FIRST_PORT, FIRST_PORT + 3):
        send(rig, "FA", port)
        seen.append((rig.live(1), rig.is_full(1), connect(rig, port + 1_000)))

    assert seen == [(3, True, 0), (2, False, 1), (2, False, 1)]
    assert connect_many(rig, 2, first=60_000) == [1, 0]


@pytest.mark.parametrize("flags", ["FA", "F", "R", "RA"])
def test_fin_and_rst_free_a_place(rig: Rig, flags: str) -> None:
    rig.hold(limited(1))
    assert connect_many(rig, 2) == [1, 0]

    for _ in range(2):  # sent again, it frees no second one
        send(rig, flags, FIRST_PORT)

    assert rig.live(1) == 0
    assert connect_many(rig, 2, first=60_000) == [1, 0]


def test_fin_and_then_rst_free_one_place(rig: Rig) -> None:
    rig.hold(limited(2))
    connect_many(rig, 2)
    for flags in ("FA", "A", "RA", "FA"):
        send(rig, flags, FIRST_PORT)

    assert rig.live(1) == 1


def test_traffic_after_a_rst_counts_again_and_is_never_refused(rig: Rig) -> None:
    """The RST was not the client's: its connection lives, beyond the limit if it must."""
    rig.hold(limited(1))
    assert connect(rig, FIRST_PORT) == 1
    send(rig, "R", FIRST_PORT)
    assert connect(rig, FIRST_PORT + 1) == 1

    assert send(rig, "PA", FIRST_PORT) == (Reason.ESTABLISHED, 1)
    assert (rig.live(1), connect(rig, FIRST_PORT + 2)) == (2, 0)


def test_connections_in_mid_stream_are_counted_and_never_refused(rig: Rig) -> None:
    rig.hold(limited(1))

    sent = [send(rig, "PA", port) for port in range(FIRST_PORT, FIRST_PORT + 3)]

    assert sent == [(Reason.PICKED_UP, 1)] * 3
    assert (rig.live(1), connect(rig, 60_000)) == (3, 0)


def test_datagrams_are_not_counted_and_not_limited(rig: Rig) -> None:
    rig.hold(limited(1))
    connect(rig, FIRST_PORT)

    assert [rig.run(udp(client_port=port)).data for port in (1, 2)] == [
        forwarded(udp(client_port=port), 1) for port in (1, 2)
    ]
    assert rig.live(1) == 1


@pytest.mark.parametrize("opened", [0, 5])
def test_backend_without_a_limit_takes_connections_whatever_was_counted(rig: Rig, opened: int) -> None:
    """Below nought for a moment, when a correction comes before what it corrects."""
    rig.hold(limited(0))
    rig.connections["opened"][1], rig.connections["corrected"][1] = opened, 7

    assert connect_many(rig, 10) == [1] * 10


# Whom to ask ---------------------------------------------------------------------------------------------------------


def test_fallback_is_asked_only_when_all_of_the_pools_own_are_full(rig: Rig) -> None:
    rig.hold(limited(1, 2, 0, fallbacks=(3,)))

    assert connect_many(rig, 6) == [1, 2, 2, 3, 3, 3]
    send(rig, "FA", FIRST_PORT + 2)
    assert connect_many(rig, 2, first=60_000) == [2, 3]


@pytest.mark.parametrize("own", [1, 24, 25, 30, 32])
def test_room_is_found_wherever_it_is_among_as_many_as_are_asked(rig: Rig, own: int) -> None:
    rig.hold(limited(*[1] * own))
    for free in {1, own // 2 + 1, own}:
        rig.connections["opened"][1 : own + 1], rig.connections["opened"][free] = 1, 0
        rig.connections["pending"] = 0
        assert {send(rig, "S", port)[1] for port in range(FIRST_PORT, FIRST_PORT + 20)} == {free}
        rig.forget()


@pytest.mark.parametrize("own", [1, 24, 25, 40])
def test_fallback_is_asked_although_the_pool_has_many_of_its_own(rig: Rig, own: int) -> None:
    rig.hold(limited(*[1] * own, 0, fallbacks=(own + 1,)))
    rig.connections["opened"][1 : own + 1] = 1

    assert {send(rig, "S", port)[1] for port in range(FIRST_PORT, FIRST_PORT + 50)} == {own + 1}


def test_members_that_take_nobody_or_are_others_by_now_are_passed_over(rig: Rig) -> None:
    held = limited(1, 0, 0)
    stale = (reference(1, 7), reference(2, 6), reference(60_000, 7), 0, reference(3, 7))
    draining = {**held.backends, 3: backend_row(3, state=BackendState.DRAINING)}
    rig.hold(replace(held, members={1: Members(own=stale)}, backends=draining))

    assert connect_many(rig, 10) == [1] + [0] * 9


# Reservations --------------------------------------------------------------------------------------------------------


def test_burst_of_syns_is_spread_before_any_handshake_is_complete(rig: Rig) -> None:
    """When all places are reserved, reservations keep nobody out: the slot's owner is asked again."""
    rig.hold(limited(2, 2))
    ports = range(FIRST_PORT, FIRST_PORT + 4)

    assert [send(rig, "S", port)[1] for port in ports] == [1, 1, 2, 2]
    assert send(rig, "S", FIRST_PORT + 4) == (Reason.SYN, 1)
    assert [send(rig, "A", port) for port in ports] == [(Reason.FIRST_ACK, number) for number in (1, 1, 2, 2)]
    assert send(rig, "A", FIRST_PORT + 4) == (Reason.TURNED_AWAY, 0)


def test_syn_sent_again_reserves_one_place_and_its_handshake_gives_it_back(rig: Rig) -> None:
    rig.hold(limited(5))
    reserved = []
    for flags in ("S", "S", "S", "A", "A", "PA"):
        send(rig, flags, FIRST_PORT)
        reserved.append(rig.reserved(1))

    assert reserved == [1, 1, 1, 0, 0, 0]


def test_syn_sent_again_goes_elsewhere_when_its_backend_has_become_full(rig: Rig) -> None:
    rig.hold(limited(1, 1))
    assert [send(rig, "S", port)[1] for port in (1, 2, 3)] == [1, 2, 1]
    assert send(rig, "A", 1) == (Reason.FIRST_ACK, 1)

    assert send(rig, "S", 3) == (Reason.SYN, 2)
    assert send(rig, "A", 3) == (Reason.FIRST_ACK, 2)


def test_syn_from_the_port_of_a_handshake_that_was_turned_away_goes_elsewhere(rig: Rig) -> None:
    rig.hold(limited(1, 1))
    for port in (1, 2, 3):
        send(rig, "S", port)
    assert [send(rig, "A", port)[0] for port in (1, 3)] == [Reason.FIRST_ACK, Reason.TURNED_AWAY]

    assert connect(rig, 3) == 2


def test_syn_sent_again_stays_while_its_own_reservation_is_the_last_place(rig: Rig) -> None:
    rig.hold(limited(1, 1))
    send(rig, "S", 1)

    assert send(rig, "S", 1) == (Reason.SYN, 1)


@pytest.mark.parametrize(("ticks", "goes_to"), [(0, 2), (1, 2), (2, 1), (3, 1), (100, 1)])
def test_reservation_expires_after_two_ticks(rig: Rig, ticks: int, goes_to: int) -> None:
    for _ in range(10):  # until no tick begins while we look
        rig.forget()
        rig.hold(limited(1, 1))
        send(rig, "S", FIRST_PORT)
        began = rig.recent_tick()
        rig.age_reservations(ticks=ticks)
        sent = send(rig, "S", FIRST_PORT + 1)
        if rig.recent_tick() == began:
            break

    assert sent == (Reason.SYN, goes_to)


def test_flood_of_syns_at_a_limited_pool_keeps_nobody_out(rig: Rig) -> None:
    rig.hold(limited(3))
    for number in range(5_000):
        rig.run(patched(tcp("S"), 26, (0x0B000000 + number).to_bytes(4, "big")))
    assert rig.reserved(1) > 3

    assert connect_many(rig, 4) == [1, 1, 1, 0]
    assert rig.live(1) == 3
