"""What a flow knows of both ends: where a reset of either must stand to be believed."""

from __future__ import annotations

from typing import Any

import pytest

from lbctl.dataplane.layout import FLOW, FlowState, Reason
from tests.packets.cases import USUAL
from tests.packets.frames import CLIENT, CLIENT_PORT, DICOM, IP_OPTIONS, TCP_OPTIONS, tcp, udp
from tests.packets.rig import VIP, Rig

WRAP = 1 << 32
WINDOW = 1 << 24
"""The largest of TCP (RFC 7323)."""
START = 1_000


def flow(rig: Rig) -> dict[str, Any]:
    """The usual client's, by field."""
    found = rig.flows["lb_flows_tcp4"].get((int(CLIENT), int(VIP), CLIENT_PORT, DICOM, 0))
    assert found is not None
    return dict(zip(FLOW.names or (), found[0].tolist(), strict=True))


def connected(rig: Rig, start: int = START) -> Rig:
    """A connection whose client sends ``start`` next, and has seen 77 bytes."""
    rig.hold(USUAL.tables)
    for frame in (tcp("S", seq=start - 1), tcp("A", seq=start, ack=77)):
        rig.run(frame)
    assert (flow(rig)["next"], flow(rig)["acked"]) == (start, 77)
    return rig


@pytest.mark.parametrize(
    ("frame", "next_", "acked"),
    [
        pytest.param(tcp("PA", seq=START, ack=99, data=bytes(10)), START + 10, 99, id="data"),
        pytest.param(tcp("A", seq=START, ack=99), START, 99, id="acknowledgement"),
        pytest.param(tcp("FA", seq=START, ack=77), START + 1, 77, id="FIN"),
        pytest.param(tcp("FPA", seq=START, ack=77, data=bytes(10)), START + 11, 77, id="data and FIN"),
        pytest.param(tcp("P", seq=START, ack=99, data=bytes(10)), START + 10, 77, id="no ACK flag"),
        pytest.param(tcp("R", seq=START), START, 77, id="RST"),
        pytest.param(
            tcp("PA", seq=START, ack=99, data=bytes(10), options=TCP_OPTIONS, ip_options=IP_OPTIONS), START + 10, 99,
            id="options of both kinds",
        ),
        pytest.param(tcp("A", seq=START - 1, ack=77), START, 77, id="keep-alive"),
        pytest.param(tcp("A", seq=START - 1, ack=77, data=b"\0"), START, 77, id="keep-alive with a byte"),
        pytest.param(tcp("PA", seq=START - 500, ack=70, data=bytes(100)), START, 70, id="sent again"),
        pytest.param(tcp("PA", seq=START - 500, ack=77, data=bytes(600)), START + 100, 77, id="sent again with more"),
        pytest.param(tcp("PA", seq=START + 5_000, ack=77, data=bytes(10)), START + 5_010, 77, id="one lost in between"),
        pytest.param(tcp("A", seq=(START - WINDOW) % WRAP, ack=77), START, 77, id="as old as can be"),
        pytest.param(
            tcp("A", seq=(START - WINDOW - 1) % WRAP, ack=77), (START - WINDOW - 1) % WRAP, 77, id="of another connection"
        ),
    ],
)  # fmt: skip
def test_flow_knows_what_the_client_sends_next_and_has_seen(rig: Rig, frame: bytes, next_: int, acked: int) -> None:
    connected(rig)
    rig.run(frame)

    assert (flow(rig)["next"], flow(rig)["acked"]) == (next_, acked)


@pytest.mark.parametrize("flags", ["R", "RA", "FA"])
@pytest.mark.parametrize(
    ("away", "is_believed"), [(0, True), (-WINDOW, True), (WINDOW, True), (-WINDOW - 1, False), (WINDOW + 1, False)]
)
def test_end_that_stands_far_from_where_the_client_is_is_passed_on_and_not_believed(
    rig: Rig, flags: str, away: int, is_believed: bool
) -> None:
    """It would have the director forget a quiet connection that its server keeps."""
    connected(rig)
    before = flow(rig)

    assert rig.run_for_reason(tcp(flags, seq=(START + away) % WRAP, ack=1))[1] is Reason.ESTABLISHED

    assert (flow(rig)["state"] != FlowState.OPEN) is is_believed
    assert (flow(rig) == before) is not is_believed


@pytest.mark.parametrize("start", [1, WRAP - 1, WRAP - 5, 1 << 31])
def test_flow_counts_across_the_end_of_the_numbers(rig: Rig, start: int) -> None:
    connected(rig, start)
    rig.run(tcp("PA", seq=start, ack=5, data=bytes(10)))
    rig.run(tcp("PA", seq=start, ack=5, data=bytes(4)))

    assert flow(rig)["next"] == (start + 10) % WRAP


def test_flow_that_was_picked_up_in_mid_stream_begins_with_what_its_segment_says(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    rig.run(tcp("PA", seq=7, ack=9, data=bytes(100)))

    assert (flow(rig)["next"], flow(rig)["acked"]) == (107, 9)


def test_flow_from_the_ports_of_a_closed_connection_begins_anew(rig: Rig) -> None:
    connected(rig)
    rig.run(tcp("FA", seq=START, ack=80))

    assert rig.run_for_reason(tcp("S", seq=START - 100))[1] is Reason.SYN
    assert rig.run_for_reason(tcp("A", seq=START - 99, ack=5))[1] is Reason.FIRST_ACK
    assert (flow(rig)["next"], flow(rig)["acked"]) == (START - 99, 5)


def test_flow_of_datagrams_has_no_numbers(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    rig.run(udp())
    ((_, found),) = rig.flows["lb_flows_udp4"].batches()

    assert (found["next"].tolist(), found["acked"].tolist(), found["spare"].tolist()) == ([0], [0], [0])


def test_flow_is_unproven_until_another_packet_comes(rig: Rig) -> None:
    """A spoofed one has no second."""
    rig.hold(USUAL.tables)
    seen = []
    for flags in ("S", "A", "S", "A", "FA", "S", "A"):
        rig.run(tcp(flags))
        seen.append(flow(rig)["is_unproven"] if rig.flow_backends() else None)

    assert seen == [None, 1, 1, 0, 0, None, 1]
