"""Fragments while the world changes: backends come and go, time passes, many datagrams are on their way at once."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from random import Random

import pytest

from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import FRAGMENTS, Reason
from tests.packets.cases import USUAL, all_slots, backends
from tests.packets.departures import Verdict
from tests.packets.frames import CLIENT, DATAGRAM, first_fragment, forwarded, fragment
from tests.packets.hashes import hash_datagram
from tests.packets.rig import Rig
from tests.packets.world import VIP, tables


def test_fragments_follow_their_first_across_a_reweighting(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(first_fragment())
    rig.hold(tables(backends(), all_slots(2)))

    outcomes = [rig.run_for_reason(frame) for frame in (fragment(3), fragment(6, more=False))]

    assert [reason for _, reason in outcomes] == [Reason.FRAGMENT] * 2
    assert [outcome.data for outcome, _ in outcomes] == [
        forwarded(fragment(3), 1), forwarded(fragment(6, more=False), 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (BackendState.UP, Reason.FRAGMENT),
        (BackendState.DRAINING, Reason.FRAGMENT),
        (BackendState.DOWN, Reason.FRAGMENT),
        (BackendState.DEAD, Reason.FRAGMENT),
        (BackendState.HALTED, Reason.FRAGMENT),
        (BackendState.ABSENT, Reason.LOST_FRAGMENT),
    ],
)
def test_fragment_whose_backend_changed_state_follows_while_that_is_there(
    rig: Rig, state: BackendState, reason: Reason
) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(first_fragment())
    rig.hold(tables(backends(state, number=1), all_slots(2)))

    assert rig.run_for_reason(fragment(3))[1] is reason


def test_fragment_whose_backends_id_went_to_another_server_does_not_follow_it(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(first_fragment())
    rows = backends()
    rig.hold(tables({**rows, 1: replace(rows[1], generation=8)}, all_slots(2)))

    outcome, reason = rig.run_for_reason(fragment(3))

    assert (reason, Verdict(outcome.verdict)) == (Reason.LOST_FRAGMENT, Verdict.DROP)


@pytest.mark.parametrize(("age_ticks", "is_trusted"), [(0, True), (60, True), (66, False), (200, False)])
def test_first_fragment_is_remembered_for_a_minute(rig: Rig, age_ticks: int, is_trusted: bool) -> None:
    rig.hold(USUAL.tables)
    rig.run(first_fragment())
    rig.age_recent("lb_fragments", ticks=age_ticks)

    assert rig.run_for_reason(fragment(3))[1] is (Reason.FRAGMENT if is_trusted else Reason.LOST_FRAGMENT)


def test_identification_used_again_follows_the_latest_first_fragment(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(first_fragment())
    rig.hold(tables(backends(), all_slots(2)))
    rig.run(first_fragment(client_port=40_001))

    assert rig.run(fragment(3)).data == forwarded(fragment(3), 2)


def test_datagrams_on_their_way_at_once_are_told_apart(rig: Rig) -> None:
    """First fragments of a thousand datagrams, then the rest in another order. Where two fall into one row, the later one
    counts and the earlier one is lost, never misled."""
    rig.hold(USUAL.tables)
    random = Random(11)
    clients = [IPv4Address(int(CLIENT) + number) for number in range(1_000)]
    row_of = [hash_datagram(client, VIP, number, 17) % FRAGMENTS for number, client in enumerate(clients)]
    owners = [rig.run(first_fragment(id=n, client=client)).data[:6] for n, client in enumerate(clients)]
    assert len(set(owners)) == 3

    for number in random.sample(range(1_000), 1_000):
        outcome, reason = rig.run_for_reason(fragment(3, id=number, client=clients[number]))
        is_latest = row_of[number] not in row_of[number + 1 :]
        assert reason is (Reason.FRAGMENT if is_latest else Reason.LOST_FRAGMENT)
        assert not is_latest or outcome.data[:6] == owners[number]


def test_fragments_are_counted_for_their_backend(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    before = rig.dataplane.counters(services=(), backends=(1,)).backends[1]
    for frame in (first_fragment(), fragment(3), fragment(6, more=False)):
        rig.run(frame)
    after = rig.dataplane.counters(services=(), backends=(1,)).backends[1]

    assert (after.packets - before.packets, after.connections - before.connections) == (3, 1)
    assert after.bytes - before.bytes == (20 + 8 + 16) + 2 * (20 + 16)


def test_datagram_of_the_test_is_one_datagram() -> None:
    assert first_fragment()[18:20] == fragment(3)[18:20] == DATAGRAM.to_bytes(2, "big")
