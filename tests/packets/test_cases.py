"""One table of packets: what goes in, in which state, and exactly what comes out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from lbctl.core.model import Protocol
from lbctl.core.tables import reference
from lbctl.dataplane.flows import FLOW_MAPS
from lbctl.dataplane.layout import FlowState, Reason
from tests.packets import (
    rows_errors,
    rows_fragments,
    rows_icmp,
    rows_link,
    rows_nobody,
    rows_refused,
    rows_states,
    rows_tcp,
    rows_udp,
)
from tests.packets.cases import USUAL, Case, Entry, Verdict
from tests.packets.frames import CLIENT, CLIENT_PORT, COLLIDING, DICOM, SYSLOG, addressed_to, ping, tcp
from tests.packets.rig import OWN_MAC, VIP, Rig, backend_mac

ROOMS = (rows_link, rows_icmp, rows_tcp, rows_udp, rows_fragments, rows_errors, rows_refused, rows_states, rows_nobody)
CASES: list[Case] = [case for room in ROOMS for case in room.ROWS]
TO_VIP = [case for case in CASES if case.frame[12:14] == b"\x08\x00" and case.frame[30:34] == VIP.packed]

PORTS = {Protocol.TCP: DICOM, Protocol.UDP: SYSLOG}


def usual_key(protocol: Protocol) -> tuple[int, int, int, int, int]:
    return int(CLIENT), int(VIP), CLIENT_PORT, PORTS[protocol], 0


def put_flow(rig: Rig, flow: Entry) -> None:
    """The flow that a case begins with, a moment old."""
    last_seen = rig.clock.jiffies() - 10 & 0xFFFFFFFF
    value = (reference(flow.backend, flow.generation), last_seen, 1, flow.state, 0, 0, 0, 0)
    rig.flows[FLOW_MAPS[flow.protocol]].set(usual_key(flow.protocol), value)


def all_flows(rig: Rig) -> dict[str, Entry]:
    """Every flow of either table."""
    found = {}
    for protocol, table in FLOW_MAPS.items():
        for keys, values in rig.flows[table].batches():
            for key, (ref, _, _, state, *_) in zip(keys.tolist(), values.tolist(), strict=True):
                entry = Entry(backend=ref & 0xFFFF, protocol=protocol, state=FlowState(state), generation=ref >> 16)
                found[f"{table} {key}"] = entry
    return found


def expected_flows(case: Case) -> dict[str, Entry]:
    flow = case.after
    return {f"{FLOW_MAPS[flow.protocol]} {usual_key(flow.protocol)}": flow} if flow else {}


def given_state(rig: Rig, case: Case) -> None:
    rig.hold(case.before.tables)
    rig.set_tokens(case.before.tokens, handshakes=case.before.handshakes)
    if case.before.flow is not None:
        put_flow(rig, case.before.flow)
    for frame in case.before.earlier:
        rig.run(frame)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_packet_of_the_table_leaves_as_the_table_says(rig: Rig, case: Case) -> None:
    given_state(rig, case)

    outcome, reason = rig.run_for_reason(case.frame)

    assert (Verdict(outcome.verdict), reason.name) == (case.verdict, case.reason.name)
    assert outcome.data.hex() == case.out.hex()
    assert all_flows(rig) == expected_flows(case)


@pytest.mark.parametrize("case", TO_VIP, ids=lambda case: case.name)
def test_packet_to_a_foreign_address_with_the_vips_filter_bit_passes_unaltered(rig: Rig, case: Case) -> None:
    """Every packet of the table, whole or not: the filter errs, but what it errs about is none of our business."""
    given_state(rig, case)
    frame = addressed_to(case.frame, COLLIDING)
    before = all_flows(rig)

    outcome, reason = rig.run_for_reason(frame)

    assert (Verdict(outcome.verdict), outcome.data.hex()) == (Verdict.PASS, frame.hex())
    assert reason in (Reason.NOT_VIP, Reason.OTHER_MAC)
    assert all_flows(rig) == before


def test_table_has_a_row_for_every_reason() -> None:
    assert {case.reason for case in CASES} == set(Reason)


def test_table_rows_have_names_of_their_own() -> None:
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []


# Counters ------------------------------------------------------------------------------------------------------------


def test_packet_that_a_backend_sent_back_is_counted_as_returned(rig: Rig) -> None:
    case = next(case for case in CASES if case.name == "SYN from the backend that owns its slot")
    given_state(rig, case)
    before = rig.dataplane.counters(services=(1,), backends=(1, 2, 3))

    for _ in range(3):
        rig.run(case.frame)

    after = rig.dataplane.counters(services=(1,), backends=(1, 2, 3))
    gained = {i: after.backends[i].returned - before.backends[i].returned for i in (1, 2, 3)}
    assert gained == {i: 3 if backend_mac(i) == case.frame[6:12] else 0 for i in (1, 2, 3)}
    assert after.services == before.services
    assert {i: t.packets for i, t in after.backends.items()} == {i: t.packets for i, t in before.backends.items()}


def test_packet_counts_the_bytes_of_its_ip_datagram_and_not_the_padding(rig: Rig) -> None:
    case = next(case for case in CASES if case.name == "padding on a flow")
    given_state(rig, case)
    before = rig.dataplane.counters(services=(1,), backends=(rows_tcp.OLD,))

    rig.run(case.frame)

    after = rig.dataplane.counters(services=(1,), backends=(rows_tcp.OLD,))
    pairs = [
        (before.services[1], after.services[1]),
        (before.backends[rows_tcp.OLD], after.backends[rows_tcp.OLD]),
        (before.reasons["established"], after.reasons["established"]),
    ]
    assert [(late.packets - early.packets, late.bytes - early.bytes) for early, late in pairs] == [(1, 40)] * 3
    assert after.services[1].connections == before.services[1].connections


# Checksums -----------------------------------------------------------------------------------------------------------


def sums(words: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """The one's complement sum of each row; 0xFFFF where a checksum is right."""
    totals: NDArray[np.uint64] = words.astype(np.uint64).sum(axis=1)
    for _ in range(3):
        totals = (totals & np.uint64(0xFFFF)) + (totals >> np.uint64(16))
    return totals


def test_ping_checksums_are_right_for_every_identifier(rig: Rig) -> None:
    """Both: the IP identification runs along, so every checksum of either header occurs (RFC 1624)."""
    rig.hold(USUAL.tables)
    template = np.frombuffer(ping(data=b"\x5a\xa5"), np.uint8).view(">u2")
    frames = np.tile(template, (1 << 16, 1))
    frames[:, 9] = frames[:, 19] = np.arange(1 << 16)
    frames[:, 12] = frames[:, 18] = 0
    frames[:, 12], frames[:, 18] = ~sums(frames[:, 7:17]) & 0xFFFF, ~sums(frames[:, 17:]) & 0xFFFF

    outcomes = [rig.run(frame.tobytes()) for frame in frames]

    assert {outcome.verdict for outcome in outcomes} == {Verdict.TX}
    replies = np.frombuffer(b"".join(outcome.data for outcome in outcomes), ">u2").reshape(1 << 16, -1)
    assert set(sums(replies[:, 7:17]).tolist()) == {0xFFFF}
    assert set(sums(replies[:, 17:]).tolist()) == {0xFFFF}
    assert np.array_equal(replies[:, 19], frames[:, 19])
    assert set((replies[:, 11] >> 8).tolist()) == {64}


def test_forwarded_packet_is_addressed_from_our_own_mac(rig: Rig) -> None:
    rig.hold(USUAL.tables)

    outcome = rig.run(tcp("S"))

    assert outcome.data[6:12] == OWN_MAC
