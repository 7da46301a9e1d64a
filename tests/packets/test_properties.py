"""What holds for every packet: the program agrees with the oracle, and keeps what it promises over several packets."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbctl.dataplane import bpf
from lbctl.dataplane.flows import FLOW_MAPS
from lbctl.dataplane.layout import FLOW, FlowState, Reason
from tests.packets.cases import USUAL, Verdict
from tests.packets.frames import COLLIDING, DICOM, FOREIGN, addressed_to, first_fragment, forwarded, tcp, udp
from tests.packets.hashes import hash_flow, slot_of
from tests.packets.memory import Flow, FlowKey, Recent
from tests.packets.oracle import Decision, Oracle
from tests.packets.refusals import answer_to
from tests.packets.rig import (
    BUDGET,
    FOR_ANSWERS,
    FOR_RESETS,
    HANDSHAKES,
    SIZE,
    VIP,
    Rig,
    for_handshakes,
    for_pick_ups,
)
from tests.packets.traffic import random_frame, random_syn, random_tables

STATES, FRAMES_PER_STATE = 160, 60


def flows_of(rig: Rig) -> dict[FlowKey, Flow]:
    """The flow tables as the oracle keeps them."""
    found = {}
    for protocol, table in FLOW_MAPS.items():
        for keys, values in rig.flows[table].batches():
            for key, value in zip(keys.tolist(), values.tolist(), strict=True):
                flow_key = FlowKey(protocol, IPv4Address(key[0]), IPv4Address(key[1]), key[2], key[3])
                flow = dict(zip(FLOW.names or (), value, strict=True))
                state = FlowState(flow["state"])
                found[flow_key] = Flow(
                    flow["backend"], flow["service"], state, flow["acked"], flow["next"], bool(flow["is_unproven"])
                )
    return found


def places_of(rig: Rig, numbers: Iterable[int]) -> dict[int, tuple[int, int, bool]]:
    """(connections, reservations, whether it is full) by backend."""
    rows = rig.connections
    live = (rows["opened"].astype(np.uint32) - rows["corrected"]).view(np.int32)
    return {i: (int(live[i]), rig.reserved(i), bool(rows["is_full"][i])) for i in numbers}


def assignments_of(rig: Rig) -> dict[tuple[IPv4Address, int], int]:
    """The backend that each source has in each pool."""
    return {(key.source, key.pool_id): ref for key, ref in rig.dataplane.assignments().items()}


def recent_of(rig: Rig, name: str) -> dict[int, tuple[int, int]]:
    """(tag, id and low half of the generation) by row."""
    words = rig.recent(name).items()
    return {row: (word >> 32, word >> 16 & 0xFFFF | (word >> 8 & 0xFF) << 16) for row, word in words}


def entries_of(memory: Recent) -> dict[int, tuple[int, int]]:
    """The oracle's, as `recent_of` has them."""
    return {row: (tag, ref & 0x00FFFFFF) for row, (tag, ref) in memory.entries.items()}


def check(outcome: bpf.TestRun, frame: bytes, decision: Decision) -> None:
    """What left is what the decision says, byte by byte."""
    if decision.reason is Reason.PING_REPLY:
        assert (outcome.data[:6], outcome.data[6:12]) == (frame[6:12], frame[:6])
        assert (outcome.data[26:30], outcome.data[30:34]) == (frame[30:34], frame[26:30])
        return
    if decision.reason in (Reason.WRONG_PORT, Reason.TURNED_AWAY, Reason.RESET):
        assert outcome.data == answer_to(frame)
        return
    sent = decision.backend and Reason.ESTABLISHED <= decision.reason < Reason.NO_SERVICE
    assert outcome.data == (forwarded(frame, decision.backend & 0xFFFF) if sent else frame)


def verdict_of(reason: Reason) -> Verdict:
    if reason in (Reason.NOT_VIP, Reason.OTHER_MAC):
        return Verdict.PASS
    return Verdict.TX if reason < Reason.NO_SERVICE else Verdict.DROP


@pytest.mark.usefixtures("one_cpu")
def test_program_agrees_with_the_oracle_on_random_packets_in_random_states(rig: Rig) -> None:
    """Reason, verdict, bytes out; after every state all memories; and that every way that IPv4 has was taken."""
    random = Random(20_260_101)
    oracle, seen = Oracle(USUAL.tables), set[Reason]()
    for _ in range(STATES):
        oracle.hold(random_tables(random))
        rig.hold(oracle.tables)
        tokens, handshakes = random.choice((BUDGET, BUDGET, 3, 0)), random.choice((HANDSHAKES, HANDSHAKES, 2))
        rig.set_tokens(tokens, handshakes=handshakes)
        services = [row.id for row in oracle.tables.services.values()]
        oracle.tokens = dict.fromkeys((FOR_ANSWERS, FOR_RESETS, *map(for_pick_ups, services)), tokens)
        oracle.tokens |= dict.fromkeys(map(for_handshakes, services), handshakes)
        for frame in (random_frame(random) for _ in range(FRAMES_PER_STATE)):
            rig.hold_time()
            outcome, reason = rig.run_for_reason(frame)
            decision = oracle.decide(frame)
            assert (reason.name, outcome.verdict) == (decision.reason.name, verdict_of(decision.reason)), frame.hex()
            check(outcome, frame, decision)
            seen.add(reason)
        assert_memories_agree(rig, oracle)
    assert seen == set(Reason) - {Reason.ARP_REPLY}


def assert_memories_agree(rig: Rig, oracle: Oracle) -> None:
    assert flows_of(rig) == oracle.flows
    assert recent_of(rig, "lb_half_opens") == entries_of(oracle.half_opens)
    assert recent_of(rig, "lb_fragments") == entries_of(oracle.fragments)
    assert assignments_of(rig) == oracle.assignments
    here = oracle.tables.backends
    expected = {i: (found.live, found.reserved, found.is_full) for i, found in oracle.places.items() if i in here}
    assert places_of(rig, here) == expected


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


def test_foreign_traffic_is_neither_counted_nor_remembered(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    before = rig.reasons()

    for make, destination in product((tcp, udp, first_fragment), (FOREIGN, COLLIDING)):
        rig.run(make(vip=destination))

    assert rig.reasons() == before
    assert flows_of(rig) == {}
    assert rig.recent("lb_half_opens") == {}
    assert rig.recent("lb_fragments") == {}
