"""What holds for every packet: the program agrees with the oracle, and keeps what it promises over several packets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbctl.core.model import Protocol
from lbctl.core.tables import BackendState, reference
from lbctl.dataplane import bpf
from lbctl.dataplane.flows import FLOW_MAPS
from lbctl.dataplane.layout import HALF_OPENS, MAPS, FlowState, Reason
from lbctl.dataplane.objectfile import ObjectFile
from tests.packets.cases import USUAL, Verdict, all_slots, backends
from tests.packets.frames import CLIENT, COLLIDING, DICOM, FOREIGN, addressed_to, forwarded, patched, tcp, udp
from tests.packets.oracle import Decision, Flow, FlowKey, Oracle, hash_flow, slot_of
from tests.packets.rig import SIZE, VIP, Rig, rig_of, tables
from tests.packets.traffic import random_frame, random_syn, random_tables

STATES, FRAMES_PER_STATE = 120, 60


def flows_of(rig: Rig) -> dict[FlowKey, Flow]:
    """The flow tables as the oracle keeps them."""
    found = {}
    for protocol, table in FLOW_MAPS.items():
        for keys, values in rig.flows[table].batches():
            for key, value in zip(keys.tolist(), values.tolist(), strict=True):
                flow_key = FlowKey(protocol, IPv4Address(key[0]), IPv4Address(key[1]), key[2], key[3])
                found[flow_key] = Flow(value[0], value[2], FlowState(value[3]))
    return found


def half_open_words(rig: Rig) -> dict[int, int]:
    """Every entry that is not empty, by row."""
    value = np.zeros(HALF_OPENS, MAPS["lb_half_opens"].value)
    keys = np.zeros(HALF_OPENS, MAPS["lb_half_opens"].key)
    count = bpf.lookup_batch(rig.half_opens, keys, value, cursor=np.zeros(2, np.uint64), first=True)
    assert HALF_OPENS in (count, -1 - count)
    return {int(row): int(value[row]) for row in np.flatnonzero(value)}


def half_opens_of(rig: Rig) -> dict[int, tuple[int, int]]:
    """(tag, id and low half of the generation) by row."""
    return {
        row: (word >> 32, word >> 16 & 0xFFFF | (word >> 8 & 0xFF) << 16) for row, word in half_open_words(rig).items()
    }


def check(outcome: bpf.TestRun, frame: bytes, decision: Decision) -> None:
    """What left is what the decision says, byte by byte."""
    if decision.reason is Reason.PING_REPLY:
        assert (outcome.data[:6], outcome.data[6:12]) == (frame[6:12], frame[:6])
        assert (outcome.data[26:30], outcome.data[30:34]) == (frame[30:34], frame[26:30])
        return
    sent = decision.backend and Reason.ESTABLISHED <= decision.reason < Reason.NO_SERVICE
    assert outcome.data == (forwarded(frame, decision.backend & 0xFFFF) if sent else frame)


def verdict_of(reason: Reason) -> Verdict:
    if reason in (Reason.NOT_VIP, Reason.OTHER_MAC):
        return Verdict.PASS
    return Verdict.TX if reason < Reason.NO_SERVICE else Verdict.DROP


def test_program_agrees_with_the_oracle_on_random_packets_in_random_states(rig: Rig) -> None:
    """Reason, verdict, bytes out; after every state both memories; and that every way that IPv4 has was taken."""
    random = Random(20_260_101)
    oracle, seen = Oracle(USUAL.tables), set[Reason]()
    for _ in range(STATES):
        oracle.tables = random_tables(random)
        rig.hold(oracle.tables)
        for frame in (random_frame(random) for _ in range(FRAMES_PER_STATE)):
            outcome, reason = rig.run_for_reason(frame)
            decision = oracle.decide(frame)
            assert (reason.name, outcome.verdict) == (decision.reason.name, verdict_of(decision.reason)), frame.hex()
            check(outcome, frame, decision)
            seen.add(reason)
        assert flows_of(rig) == oracle.flows
        assert half_opens_of(rig) == {row: (tag, ref & 0x00FFFFFF) for row, (tag, ref) in oracle.half_opens.items()}
    assert seen == set(Reason) - {Reason.ARP_REPLY}


@given(st.binary(min_size=14, max_size=200), st.sampled_from([b"", b"\x08\x00", b"\x08\x06", b"\x81\x00", b"\x86\xdd"]))
@settings(max_examples=300, deadline=None)
def test_program_never_alters_what_it_passes(shared_rig: Rig, noise: bytes, ethertype: bytes) -> None:
    shared_rig.hold(USUAL.tables)
    frame = noise[:12] + ethertype + noise[12 + len(ethertype) :]
    frames = [frame, addressed_to(frame, VIP), addressed_to(frame, COLLIDING)] if len(frame) >= 34 else [frame]

    outcomes = [(shared_rig.run(sent), sent) for sent in frames]

    assert all(outcome.data == sent for outcome, sent in outcomes if outcome.verdict == Verdict.PASS)
    assert outcomes[-1][0].verdict == Verdict.PASS


def test_new_connection_goes_to_the_owner_of_its_slot(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    slots, random = USUAL.tables.slots[1].tolist(), Random(7)
    for frame, client, port in (random_syn(random) for _ in range(3_000)):
        slot = slot_of(hash_flow(client, VIP, port, DICOM), SIZE)
        assert rig.run(frame).data == forwarded(frame, slots[slot] & 0xFFFF)


# Several packets of one connection -----------------------------------------------------------------------------------


def first_ack_after(rig: Rig, *, backend: int) -> tuple[Reason, bytes]:
    """Re-weight everything to one backend, then send the handshake's last segment."""
    rig.hold(tables(backends(), all_slots(backend)))
    outcome, reason = rig.run_for_reason(tcp("A"))
    return reason, outcome.data


def test_handshake_across_a_reweighting_stays_with_the_backend_of_its_syn(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    syn, reason = rig.run_for_reason(tcp("S"))
    assert (reason, syn.data) == (Reason.SYN, forwarded(tcp("S"), 1))

    assert first_ack_after(rig, backend=2) == (Reason.FIRST_ACK, forwarded(tcp("A"), 1))

    rig.hold(tables(backends(), all_slots(3)))
    data, reason = rig.run_for_reason(tcp("PA", data=b"x"))
    assert (reason, data.data) == (Reason.ESTABLISHED, forwarded(tcp("PA", data=b"x"), 1))


@pytest.mark.parametrize(
    ("state", "goes_to"),
    [(BackendState.UP, 1), (BackendState.DRAINING, 2), (BackendState.DOWN, 2), (BackendState.ABSENT, 2)],
)
def test_repeated_syn_stays_with_its_backend_while_that_is_up(rig: Rig, state: BackendState, goes_to: int) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(tcp("S"))
    rig.hold(tables(backends(state, number=1), all_slots(2)))

    assert rig.run(tcp("S")).data == forwarded(tcp("S"), goes_to)
    assert rig.run(tcp("A")).data == forwarded(tcp("A"), goes_to)


@pytest.mark.parametrize(
    ("state", "goes_to", "reason"),
    [
        (BackendState.UP, 1, Reason.FIRST_ACK),
        (BackendState.DRAINING, 1, Reason.FIRST_ACK),
        (BackendState.DOWN, 1, Reason.FIRST_ACK),
        (BackendState.ABSENT, 2, Reason.PICKED_UP),
    ],
)
def test_handshake_whose_backend_changed_state_ends_where_it_can(
    rig: Rig, state: BackendState, goes_to: int, reason: Reason
) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(tcp("S"))
    rig.hold(tables(backends(state, number=1), all_slots(2)))

    outcome, found = rig.run_for_reason(tcp("A"))

    assert (found.name, outcome.data) == (reason.name, forwarded(tcp("A"), goes_to))


def test_handshake_whose_backends_id_went_to_another_server_does_not_follow_it(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(tcp("S"))
    rows = backends()
    rig.hold(tables({**rows, 1: replace(rows[1], generation=8)}, all_slots(2)))

    assert rig.run(tcp("A")).data == forwarded(tcp("A"), 2)


def test_connection_is_counted_once_its_handshake_is_complete(rig: Rig) -> None:
    rig.hold(tables(backends(), all_slots(1)))
    counts = []
    for frame in (tcp("S"), tcp("S"), tcp("A"), tcp("PA", data=b"x"), tcp("FA"), tcp("R")):
        before = rig.dataplane.counters(services=(1,), backends=(1,))
        rig.run(frame)
        after = rig.dataplane.counters(services=(1,), backends=(1,))
        counts.append(after.backends[1].connections - before.backends[1].connections)
        assert after.services[1].connections - before.services[1].connections == counts[-1]

    assert counts == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(("age_ticks", "is_trusted"), [(0, True), (60, True), (66, False), (200, False)])
def test_half_open_entry_is_trusted_for_a_minute(rig: Rig, age_ticks: int, is_trusted: bool) -> None:
    """A tick is 256 jiffies. The low byte of an entry is when it was written."""
    rig.hold(tables(backends(), all_slots(1)))
    rig.run(tcp("S"))
    ((row, word),) = half_open_words(rig).items()
    written = (rig.dataplane.jiffies() >> 8) - age_ticks & 0xFF
    bpf.update(rig.half_opens, np.array([row], "<u4"), np.array([word & ~0xFF | written], "<u8"))

    reason, data = first_ack_after(rig, backend=2)

    expected = (Reason.FIRST_ACK, 1) if is_trusted else (Reason.PICKED_UP, 2)
    assert (reason, data) == (expected[0], forwarded(tcp("A"), expected[1]))


def spoofed(count: int) -> Iterator[bytes]:
    """SYNs from so many addresses."""
    frame = tcp("S")
    return (patched(frame, 26, (0x0B000000 + i).to_bytes(4, "big")) for i in range(count))


def test_syn_flood_of_a_hundred_thousand_writes_no_flow_and_counts_no_connection(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    rig.run(tcp("S"))
    rig.run(tcp("A"))
    before, alive = rig.dataplane.counters(services=(1,), backends=()), flows_of(rig)

    verdicts = Counter(rig.run(frame).verdict for frame in spoofed(100_000))

    after = rig.dataplane.counters(services=(1,), backends=())
    assert verdicts == {Verdict.TX: 100_000}
    assert after.reasons["syn"].packets - before.reasons["syn"].packets == 100_000
    assert after.services[1].connections == before.services[1].connections
    assert flows_of(rig) == alive
    assert len(alive) == 1
    assert len(half_open_words(rig)) <= HALF_OPENS


# A full table --------------------------------------------------------------------------------------------------------

ROOM = 8


@pytest.fixture
def small_rig(object_file: ObjectFile, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A program with room for few flows."""
    for table in FLOW_MAPS.values():
        monkeypatch.setitem(MAPS, table, replace(MAPS[table], max_entries=ROOM))
    with rig_of(object_file) as rig:
        yield rig


@pytest.mark.parametrize("protocol", Protocol)
def test_full_flow_table_forwards_everything_and_says_so(small_rig: Rig, protocol: Protocol) -> None:
    small_rig.hold(USUAL.tables)
    make, entered = (tcp, "picked_up") if protocol is Protocol.TCP else (udp, "udp_new")
    frames = [make(client_port=port) for port in range(50_000, 50_000 + 3 * ROOM)]

    rounds = [[small_rig.run(frame) for frame in frames] for _ in range(2)]

    for (outcome, frame), again in zip(zip(rounds[0], frames, strict=True), rounds[1], strict=True):
        assert (outcome.verdict, outcome.data[12:]) == (Verdict.TX, frame[12:])
        assert again.data == outcome.data
    reasons = small_rig.reasons()
    assert (reasons[entered], reasons["untracked"]) == (ROOM, 4 * ROOM)
    assert len(flows_of(small_rig)) == ROOM


def test_full_flow_table_still_lets_a_flow_change_its_backend(small_rig: Rig) -> None:
    small_rig.hold(tables(backends(), all_slots(1)))
    for port in range(50_000, 50_000 + ROOM):
        small_rig.run(udp(client_port=port))
    small_rig.hold(tables(backends(BackendState.DOWN, number=1), all_slots(2)))

    outcome, reason = small_rig.run_for_reason(udp(client_port=50_000))

    assert (reason, outcome.data) == (Reason.UDP_NEW, forwarded(udp(client_port=50_000), 2))
    assert Counter(flow.backend for flow in flows_of(small_rig).values()) == {
        reference(1, 7): ROOM - 1,
        reference(2, 7): 1,
    }


def test_foreign_traffic_is_neither_counted_nor_remembered(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    before = rig.reasons()

    for make, destination in product((tcp, udp), (FOREIGN, COLLIDING)):
        rig.run(make(vip=destination, client=CLIENT))

    assert rig.reasons() == before
    assert flows_of(rig) == {}
    assert half_open_words(rig) == {}
