"""Floods at the size of an attack, through the very program that a director runs: ten million segments of connections that
nobody opened, and more short connections than the table holds. Time is advanced, not waited for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from time import monotonic

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from lbctl.core.model import Protocol
from lbctl.core.tables import Tables, reference
from lbctl.dataplane import bpf
from lbctl.dataplane.layout import FLOWS_TCP4, HALF_OPENS, Reason
from lbctl.dataplane.port import IdleLimits
from tests.packets.cases import USUAL, all_slots, backends
from tests.packets.departures import Verdict
from tests.packets.frames import CLIENT, CLIENT_PORT, forwarded, tcp
from tests.packets.memory import FlowKey
from tests.packets.rig import BUDGET, ENDLESS, Rig
from tests.packets.running import map_keys
from tests.packets.spoofer import ACKS, CHURN, HANDSHAKES, SYNS, Spoofer, compile_spoofer, keys_of, spoofer_of
from tests.packets.world import DICOM, VIP, tables

IDLE_S = 3600.0
LIMITS = IdleLimits(open_s={1: IDLE_S})
"""The rig's DICOM service is number 1."""
CLOSE_TO_S = 60.0
"""The association was idle for this much less than it may be."""
MILLION = 1_000_000
OVERFLOW = FLOWS_TCP4 // 10
DATA = tcp("PA", data=b"x")
ENTERED = {Reason.FIRST_ACK, Reason.PICKED_UP}

pytestmark = pytest.mark.usefixtures("one_cpu")


@pytest.fixture(scope="module")
def spoofer() -> Iterator[Spoofer]:
    with spoofer_of(compile_spoofer()) as loaded:
        yield loaded


@pytest.fixture
def guarded(rig: Rig) -> Rig:
    """An association from `CLIENT`, held by backend 1, whose slot is backend 2's by now; budgets come back in real time."""
    rig.hold(held_by(1))
    for frame in (tcp("S"), tcp("A"), DATA):
        rig.run(frame)
    rig.hold(held_by(2))
    rig.set_tokens(BUDGET, hz=rig.clock.hz)
    return rig


def held_by(number: int) -> Tables:
    """Every slot belongs to one backend."""
    return tables(backends(), all_slots(number))


def let_pass(rig: Rig, seconds: float) -> None:
    """Let every TCP flow be idle for so much longer."""
    table, ticks = rig.flows["lb_flows_tcp4"], round(seconds * rig.clock.hz)
    for keys, flows in list(table.batches()):
        flows["last_seen"] -= np.uint32(ticks)
        table.set_all(keys, flows)


def is_idle_association_there(rig: Rig) -> bool:
    """Asked of the table, which does not touch it."""
    (key,) = map_keys(FlowKey(Protocol.TCP, CLIENT, VIP, CLIENT_PORT, DICOM)).tolist()
    flow = rig.flows["lb_flows_tcp4"].get(key)
    return flow is not None and int(flow["backend"][0]) == reference(1, 7)


def assert_association_works(rig: Rig) -> None:
    outcome, reason = rig.run_for_reason(DATA)
    assert (reason, outcome.data) == (Reason.ESTABLISHED, forwarded(DATA, 1))


def connect(rig: Rig, port: int) -> list[tuple[Reason, int]]:
    """A client's handshake and first data; the reason and the backend of each segment."""
    return [segment(rig, flags, port) for flags in ("S", "A", "PA")]


def segment(rig: Rig, flags: str, port: int) -> tuple[Reason, int]:
    outcome, reason = rig.run_for_reason(tcp(flags, client_port=port))
    assert outcome.verdict == Verdict.TX
    return reason, outcome.data[5]  # the last byte of a backend's MAC is its number


def test_spoofer_makes_sound_frames_of_connections_that_all_differ(rig: Rig, spoofer: Spoofer) -> None:
    """The other tests here rest on it."""
    rig.hold(USUAL.tables)
    rig.set_tokens(handshakes=ENDLESS)
    first = spoofer.connection

    burst = spoofer.run_into(rig, CHURN, 100_000)
    found = {tuple(key) for keys, _ in rig.flows["lb_flows_tcp4"].batches() for key in keys.tolist()}
    last = bpf.test_run(spoofer.programs["spoof_into"], tcp(), repeat=2).data

    assert burst.reasons == dict.fromkeys(("syn", "first_ack", "established"), 100_000)
    assert found == {tuple(key) for key in keys_of(first, 100_000).tolist()}
    assert len(found) == 100_000
    frame = Ether(last)
    assert (frame[TCP].flags, frame[TCP].sport) == ("A", keys_of(first + 100_000, 1)["client_port"][0])
    sums = frame[IP].chksum, frame[TCP].chksum
    del frame[IP].chksum, frame[TCP].chksum
    again = Ether(bytes(frame))
    assert (again[IP].chksum, again[TCP].chksum) == sums


def test_flood_of_ten_million_syns_and_a_million_acks_enters_what_the_budget_allows_and_moves_no_idle_association(
    guarded: Rig, spoofer: Spoofer
) -> None:
    rig = guarded
    let_pass(rig, IDLE_S - CLOSE_TO_S)
    began, entered, spent_ns = monotonic(), 0, 0
    for _ in range(10):
        syns, acks = spoofer.run_into(rig, SYNS, MILLION), spoofer.run_into(rig, ACKS, MILLION // 10)
        assert syns.reasons == {"syn": MILLION}
        assert acks.reasons.keys() == {"picked_up", "over_budget"}
        entered, spent_ns = entered + acks.reasons["picked_up"], spent_ns + syns.frame_ns
        assert rig.dataplane.sweep(LIMITS).expired == 0
        assert is_idle_association_there(rig)
    allowed = BUDGET * (1 + monotonic() - began + 1 / rig.clock.hz)  # a full bucket, and what came back meanwhile
    print(f"\n{spent_ns / 10:.0f} ns a spoofed SYN; {entered} flows by a million spoofed ACKs, {allowed:.0f} allowed")

    assert BUDGET <= entered <= allowed
    assert rig.flow_backends() == {reference(1, 7): 1, reference(2, 7): entered}
    assert_association_works(rig)
    let_pass(rig, IDLE_S + 1)
    assert rig.dataplane.sweep(LIMITS).expired == entered + 1


def test_churn_of_ten_times_the_table_between_sweeps_evicts_nobody_and_counts_whom_it_refused(
    guarded: Rig, spoofer: Spoofer
) -> None:
    """Each of the ten rounds opens more connections than there is room for, and closes them."""
    rig, room = guarded, FLOWS_TCP4 - 1
    rig.set_tokens(handshakes=ENDLESS)
    for _ in range(10):
        burst = spoofer.run_into(rig, CHURN, FLOWS_TCP4 + OVERFLOW)
        refused = FLOWS_TCP4 + OVERFLOW - room
        entered = {"syn": room + refused, "first_ack": room, "established": room}
        assert burst.reasons == entered | {"untracked": 2 * refused}  # the ACK and the FIN of each
        full = rig.dataplane.sweep(LIMITS)
        assert (full.expired, full.fill) == (0, 1.0)
        assert connect(rig, 50_000) == [(Reason.SYN, 2), (Reason.UNTRACKED, 2), (Reason.UNTRACKED, 2)]
        let_pass(rig, LIMITS.closing_s + 1)
        swept = rig.dataplane.sweep(LIMITS)
        assert (swept.expired, swept.total) == (room, 1)

    let_pass(rig, IDLE_S - 10 * (LIMITS.closing_s + 1) - CLOSE_TO_S)
    assert rig.dataplane.sweep(LIMITS).expired == 0
    assert_association_works(rig)
    assert connect(rig, 50_001) == [(Reason.SYN, 2), (Reason.FIRST_ACK, 2), (Reason.ESTABLISHED, 2)]


def test_flood_of_whole_handshakes_fills_the_table_and_evicts_and_stops_nobody(guarded: Rig, spoofer: Spoofer) -> None:
    """Who answers a SYN is not seen here, so an ACK behind a SYN is believed, whoever sent them. A full table is the worst
    that comes of it: it is told, and connections are forwarded by their slots."""
    rig, room = guarded, FLOWS_TCP4 - 1
    rig.set_tokens(handshakes=ENDLESS)

    burst = spoofer.run_into(rig, HANDSHAKES, MILLION)

    assert burst.reasons == {"syn": MILLION, "first_ack": room, "untracked": MILLION - room}
    assert rig.dataplane.sweep(LIMITS).fill == 1.0
    assert_association_works(rig)
    for port in range(50_000, 50_100):
        assert connect(rig, port) == [(Reason.SYN, 2), (Reason.UNTRACKED, 2), (Reason.UNTRACKED, 2)]
    let_pass(rig, IDLE_S + 1)
    assert rig.dataplane.sweep(LIMITS).total == 0
    assert connect(rig, 50_000) == [(Reason.SYN, 2), (Reason.FIRST_ACK, 2), (Reason.ESTABLISHED, 2)]


def test_connections_made_during_a_flood_each_reach_one_backend_and_are_entered_in_the_end(
    rig: Rig, spoofer: Spoofer
) -> None:
    """Between any two segments of a client come 10,000 spoofed SYNs and 1,000 spoofed ACKs. A SYN among those that has the
    same row overwrites the client's half-open entry: then its slot, which is where its SYN went, has to do."""
    rig.hold(USUAL.tables)
    rig.set_tokens(BUDGET, hz=rig.clock.hz)
    ports, between = range(50_000, 50_300), 10_000
    seen: dict[int, list[tuple[Reason, int]]] = {port: [] for port in ports}

    for wave in range(0, len(ports), 100):
        for flags in ("S", "A", "PA"):
            for port in ports[wave : wave + 100]:
                seen[port].append(segment(rig, flags, port))
            spoofer.run_into(rig, SYNS, between)
            spoofer.run_into(rig, ACKS, between // 10)
    rig.set_tokens()
    for port in ports:
        seen[port].append(segment(rig, "PA", port))

    assert all(len({backend for _, backend in segments}) == 1 for segments in seen.values())
    assert {segments[0][1] for segments in seen.values()} == set(backends())
    handshakes = [segments[1][0] for segments in seen.values()]
    kept = handshakes.count(Reason.FIRST_ACK) / len(ports)
    assert set(handshakes) <= {*ENTERED, Reason.OVER_BUDGET}
    assert kept > math.exp(-between / HALF_OPENS) - 0.1
    assert {segments[-1][0] for segments in seen.values()} <= {Reason.ESTABLISHED, Reason.PICKED_UP}
    assert rig.dataplane.sweep(LIMITS).expired == 0
    print(f"\n{kept:.0%} of the handshakes were entered by their own half-open entry")
