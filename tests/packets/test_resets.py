"""A connection of a dead backend: its next packet is answered by a reset, and give_up tells of the clients that wait."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from lbctl.core.model import Protocol
from lbctl.core.tables import BackendState, Tables, reference
from lbctl.dataplane.layout import FlowState, Reason
from lbctl.dataplane.port import Waiting
from tests.packets import running
from tests.packets.cases import Entry
from tests.packets.frames import CLIENT, CLIENT_MAC, CLIENT_PORT, forwarded, packet, tcp, udp
from tests.packets.memory import FlowKey
from tests.packets.rig import Rig
from tests.packets.world import DICOM, OWN_MAC, SYSLOG, VIP, backend_row, tables

TX, DROP = 3, 1
DEAD, HEIR = 1, 2
ACKNOWLEDGED = 0x89ABCDEF


def tables_with(state: BackendState) -> Tables:
    return tables({DEAD: backend_row(DEAD, state=state), HEIR: backend_row(HEIR)})


def segment(flags: str = "A", *, client_port: int = CLIENT_PORT, ack: int = ACKNOWLEDGED, data: bytes = b"") -> bytes:
    return packet(TCP(sport=client_port, dport=DICOM, flags=flags, seq=77, ack=ack) / data)


def put_flow(
    rig: Rig, *, client_port: int = CLIENT_PORT, backend: int = DEAD, state: FlowState = FlowState.OPEN, acked: int = 1
) -> None:
    key = FlowKey(Protocol.TCP, CLIENT, VIP, client_port, DICOM)
    running.put_flow(rig, key, Entry(backend=backend, state=state), acked=acked, first_acked=acked)


def flow_states(rig: Rig) -> dict[int, FlowState]:
    """By client port."""
    return {
        int(key["client_port"]): FlowState(flow["state"])
        for keys, flows in rig.flows["lb_flows_tcp4"].batches()
        for key, flow in zip(keys, flows, strict=True)
    }


@pytest.fixture
def dead(rig: Rig) -> Rig:
    """Backend 1 is dead, 2 is up; one connection went to 1."""
    rig.hold(tables_with(BackendState.DEAD))
    put_flow(rig)
    return rig


@pytest.mark.parametrize("frame", [segment(), segment("PA", data=bytes(1000)), segment("FA")], ids=["A", "PA", "FA"])
def test_packet_to_a_dead_backend_is_answered_by_a_reset_that_the_client_believes(dead: Rig, frame: bytes) -> None:
    outcome, reason = dead.run_for_reason(frame)

    answer = IP(src=str(VIP), dst=str(CLIENT), id=0, flags="DF", ttl=64) / TCP(
        sport=DICOM, dport=CLIENT_PORT, flags="R", seq=ACKNOWLEDGED, ack=0, window=0
    )
    assert (outcome.verdict, reason) == (TX, Reason.RESET)
    assert outcome.data == bytes(Ether(src=OWN_MAC.hex(":"), dst=CLIENT_MAC.hex(":")) / answer)


def test_reset_of_the_clients_own_is_not_answered(dead: Rig) -> None:
    outcome, reason = dead.run_for_reason(segment("RA"))
    assert (outcome.verdict, reason) == (DROP, Reason.DEAD)


def test_packet_to_a_dead_backend_beyond_the_budget_is_dropped_as_dead(dead: Rig) -> None:
    dead.set_tokens(1)
    assert dead.run_for_reason(segment())[1] is Reason.RESET
    assert (dead.run(segment()).verdict, dead.run_for_reason(segment())[1]) == (DROP, Reason.DEAD)


def test_syn_from_the_port_of_a_dead_connection_chooses_anew(dead: Rig) -> None:
    outcome, reason = dead.run_for_reason(tcp("S"))
    assert (outcome.data, reason) == (forwarded(tcp("S"), HEIR), Reason.SYN)
    outcome, reason = dead.run_for_reason(segment())
    assert (outcome.data, reason) == (forwarded(segment(), HEIR), Reason.FIRST_ACK)


def test_datagrams_to_a_dead_backend_move_on(rig: Rig) -> None:
    rig.hold(replace(tables_with(BackendState.UP), slots=tables({DEAD: backend_row(DEAD)}).slots))
    assert rig.run(udp(SYSLOG)).data == forwarded(udp(SYSLOG), DEAD)
    rig.hold(tables_with(BackendState.DEAD))
    outcome, reason = rig.run_for_reason(udp(SYSLOG))
    assert (outcome.data, reason) == (forwarded(udp(SYSLOG), HEIR), Reason.UDP_NEW)


@pytest.mark.parametrize("state", [BackendState.UP, BackendState.DRAINING, BackendState.DOWN])
def test_packet_to_a_backend_in_any_other_state_goes_on(rig: Rig, state: BackendState) -> None:
    rig.hold(tables_with(state))
    put_flow(rig)
    outcome, reason = rig.run_for_reason(segment())
    assert (outcome.data, reason) == (forwarded(segment(), DEAD), Reason.ESTABLISHED)


def test_backend_that_returns_gets_new_connections_also_from_the_same_port(dead: Rig) -> None:
    dead.dataplane.give_up([reference(DEAD, 7)])
    dead.hold(tables_with(BackendState.UP))
    assert dead.run(tcp("S")).data == forwarded(tcp("S"), DEAD)
    assert dead.run_for_reason(segment())[1] is Reason.FIRST_ACK
    assert flow_states(dead) == {CLIENT_PORT: FlowState.OPEN}


def test_give_up_returns_the_flows_of_that_backend_that_are_not_reset_and_marks_them(rig: Rig) -> None:
    rig.hold(tables_with(BackendState.UP))
    put_flow(rig, client_port=1)
    rig.run(segment(client_port=1, ack=ACKNOWLEDGED, data=b"four"))
    put_flow(rig, client_port=2, acked=0xFFFFFFFF)
    put_flow(rig, client_port=3, backend=HEIR)
    put_flow(rig, client_port=4, state=FlowState.CLOSING)
    put_flow(rig, client_port=5, state=FlowState.RESET)
    rig.run(udp(SYSLOG, client_port=6))
    rig.hold(tables_with(BackendState.DEAD))

    found = rig.dataplane.give_up([reference(DEAD, 7)])

    expected = {1: (ACKNOWLEDGED, 81, True), 2: (0xFFFFFFFF, 0, True), 4: (1, 0, False)}
    assert sorted(found, key=lambda waiting: waiting.client_port) == [
        Waiting(
            backend=reference(DEAD, 7), client=CLIENT, client_port=port, vip=VIP, vip_port=DICOM, acked=acked, next=next_,
            was_open=was_open,
        )
        for port, (acked, next_, was_open) in expected.items()
    ]  # fmt: skip
    assert flow_states(rig) == {
        1: FlowState.RESET, 2: FlowState.RESET, 3: FlowState.OPEN, 4: FlowState.RESET, 5: FlowState.RESET,
    }  # fmt: skip
    assert rig.dataplane.give_up([reference(DEAD, 7)]) == []


def test_give_up_leaves_alone_a_client_that_came_back_from_the_same_port_meanwhile(dead: Rig) -> None:
    table = dead.flows["lb_flows_tcp4"]
    ((keys, flows),) = table.batches()
    dead.run(tcp("S"))
    marked = flows.copy()
    marked["state"] = FlowState.RESET

    assert table.replace_unchanged(keys, flows, marked).tolist() == [False]
    assert dead.run(segment()).data == forwarded(segment(), HEIR)
    assert flow_states(dead) == {CLIENT_PORT: FlowState.OPEN}


def test_give_up_of_another_generation_finds_nobody(dead: Rig) -> None:
    assert dead.dataplane.give_up([reference(DEAD, 6), reference(HEIR, 7)]) == []
