"""What a flow knows of both ends: where a reset of either must stand to be believed, and how many bytes went each way."""

from __future__ import annotations

from typing import Any

import pytest

from lbctl.core.model import Protocol
from lbctl.dataplane.layout import FlowState, Reason
from tests.packets.cases import USUAL
from tests.packets.comparing import flows_of
from tests.packets.families import FAMILIES, IPV4, IPV6, Family
from tests.packets.frames import CLIENT_PORT, TCP_OPTIONS
from tests.packets.memory import FlowKey
from tests.packets.rig import Rig
from tests.packets.running import flow_at
from tests.packets.world import DICOM, SERVICES, SYSLOG

WRAP = 1 << 32
WINDOW = 1 << 24
"""More than anybody has under way."""
STEP = 1 << 24
"""The largest window of TCP (RFC 7323)."""
START = 1_000

pytestmark = pytest.mark.parametrize("ip", FAMILIES, ids=lambda ip: f"IPv{ip.version}")


def key_of(ip: Family) -> FlowKey:
    """The usual client's."""
    return FlowKey(Protocol.TCP, ip.client, ip.vip, CLIENT_PORT, DICOM)


def flow(rig: Rig, ip: Family) -> dict[str, int]:
    """The same, by field."""
    found = flow_at(rig, key_of(ip))
    assert found is not None
    return found


def transferred(rig: Rig, ip: Family) -> tuple[int, int]:
    """(bytes returned, bytes sent)"""
    found = flows_of(rig)[key_of(ip)]
    return found.returned, found.sent


def connected(rig: Rig, ip: Family, start: int = START, acked: int = 77) -> Rig:
    """A connection whose client sends ``start`` next, and has seen ``acked`` bytes."""
    rig.hold(USUAL.tables)
    for frame in (ip.tcp("S", seq=(start - 1) % WRAP), ip.tcp("A", seq=start, ack=acked)):
        rig.run(frame)
    assert (flow(rig, ip)["next"], flow(rig, ip)["acked"]) == (start, acked)
    return rig


SEGMENTS: dict[str, tuple[dict[str, Any], int, int]] = {
    "data": ({"flags": "PA", "ack": 99, "data": bytes(10)}, START + 10, 99),
    "acknowledgement": ({"ack": 99}, START, 99),
    "FIN": ({"flags": "FA", "ack": 77}, START + 1, 77),
    "data and FIN": ({"flags": "FPA", "ack": 77, "data": bytes(10)}, START + 11, 77),
    "no ACK flag": ({"flags": "P", "ack": 99, "data": bytes(10)}, START + 10, 77),
    "RST": ({"flags": "R"}, START, 77),
    "TCP options": ({"flags": "PA", "ack": 99, "data": bytes(10), "options": TCP_OPTIONS}, START + 10, 99),
    "keep-alive": ({"seq": START - 1, "ack": 77}, START, 77),
    "keep-alive with a byte": ({"seq": START - 1, "ack": 77, "data": b"\0"}, START, 77),
    "sent again": ({"flags": "PA", "seq": START - 500, "ack": 70, "data": bytes(100)}, START, 77),
    "sent again with more": ({"flags": "PA", "seq": START - 500, "ack": 77, "data": bytes(600)}, START + 100, 77),
    "one lost in between": ({"flags": "PA", "seq": START + 5_000, "ack": 77, "data": bytes(10)}, START + 5_010, 77),
    "as old as can be": ({"seq": (START - WINDOW) % WRAP, "ack": (77 - WINDOW) % WRAP}, START, 77),
    "of another connection": (
        {"seq": (START - WINDOW - 1) % WRAP, "ack": (77 - WINDOW - 1) % WRAP},
        (START - WINDOW - 1) % WRAP,
        (77 - WINDOW - 1) % WRAP,
    ),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_flow_knows_what_the_client_sends_next_and_has_seen(rig: Rig, ip: Family, name: str) -> None:
    fields, next_, acked = SEGMENTS[name]
    connected(rig, ip)
    for options in ((), ip.options):
        usual: dict[str, Any] = {"flags": "A", "seq": START, "ip_options": options}
        rig.run(ip.tcp(**(usual | fields)))

        assert (flow(rig, ip)["next"], flow(rig, ip)["acked"]) == (next_, acked)


@pytest.mark.parametrize("flags", ["R", "RA", "FA"])
@pytest.mark.parametrize(
    ("away", "is_believed"), [(0, True), (-WINDOW, True), (WINDOW, True), (-WINDOW - 1, False), (WINDOW + 1, False)]
)
def test_end_that_stands_far_from_where_the_client_is_is_passed_on_and_not_believed(
    rig: Rig, ip: Family, flags: str, away: int, is_believed: bool
) -> None:
    """It would have the director forget a quiet connection that its server keeps."""
    connected(rig, ip)
    before = flow(rig, ip)

    assert rig.run_for_reason(ip.tcp(flags, seq=(START + away) % WRAP, ack=1))[1] is Reason.ESTABLISHED

    assert (flow(rig, ip)["state"] != FlowState.OPEN) is is_believed
    assert (flow(rig, ip) == before) is not is_believed


@pytest.mark.parametrize("start", [1, WRAP - 1, WRAP - 5, 1 << 31])
def test_flow_counts_across_the_end_of_the_numbers(rig: Rig, ip: Family, start: int) -> None:
    connected(rig, ip, start, acked=start)
    rig.run(ip.tcp("PA", seq=start, ack=(start + 6) % WRAP, data=bytes(10)))
    rig.run(ip.tcp("PA", seq=start, ack=(start + 2) % WRAP, data=bytes(4)))

    assert (flow(rig, ip)["next"], flow(rig, ip)["acked"]) == ((start + 10) % WRAP, (start + 6) % WRAP)
    assert transferred(rig, ip) == (6, 10)


@pytest.mark.parametrize("step", [STEP, 10_000_019, 1_460])
def test_flow_counts_more_bytes_than_there_are_numbers(rig: Rig, ip: Family, step: int) -> None:
    connected(rig, ip, acked=77)
    steps = 3 * WRAP // step + 1 if step > WINDOW else 50
    for number in range(1, steps + 1):
        rig.run(ip.tcp("A", seq=(START + number * step) % WRAP, ack=(77 + number * step) % WRAP))

    assert transferred(rig, ip) == (steps * step, steps * step)


def test_position_that_is_elsewhere_altogether_counts_no_bytes(rig: Rig, ip: Family) -> None:
    connected(rig, ip)
    rig.run(ip.tcp("PA", seq=START, ack=177, data=bytes(10)))
    rig.run(ip.tcp("A", seq=START + 10 + STEP + 1, ack=177 + STEP + 1))
    assert transferred(rig, ip) == (100, 10)
    rig.run(ip.tcp("PA", seq=START + 10 + STEP + 1, ack=177 + STEP + 2, data=bytes(5)))

    assert transferred(rig, ip) == (101, 15)


def test_bytes_of_both_ways_are_counted_for_service_and_backend(rig: Rig, ip: Family) -> None:
    service = next(number for (vip, port, _), number in SERVICES.items() if (vip, port) == (ip.vip, DICOM))
    connected(rig, ip)
    backend = flow(rig, ip)["backend"] & 0xFFFF
    before = rig.dataplane.counters(services=(service,), backends=(backend,))
    for seq, ack, size in ((START, 1_077, 10), (START, 1_077, 10), (START + 500, 4_077, 100), (START + 10, 3_077, 490)):
        rig.run(ip.tcp("PA", seq=seq, ack=ack, data=bytes(size)))
    after = rig.dataplane.counters(services=(service,), backends=(backend,))

    for old, new in (
        (before.services[service], after.services[service]),
        (before.backends[backend], after.backends[backend]),
    ):
        assert (new.returned - old.returned, new.sent - old.sent) == (4_000, 600)


def test_flow_that_was_picked_up_in_mid_stream_begins_with_what_its_segment_says(rig: Rig, ip: Family) -> None:
    rig.hold(USUAL.tables)
    rig.run(ip.tcp("PA", seq=7, ack=9, data=bytes(100)))

    assert (flow(rig, ip)["next"], flow(rig, ip)["acked"]) == (107, 9)
    assert transferred(rig, ip) == (0, 100)


def test_flow_from_the_ports_of_a_closed_connection_begins_anew(rig: Rig, ip: Family) -> None:
    connected(rig, ip)
    rig.run(ip.tcp("FA", seq=START, ack=80))

    assert rig.run_for_reason(ip.tcp("S", seq=START - 100))[1] is Reason.SYN
    assert rig.run_for_reason(ip.tcp("A", seq=START - 99, ack=5))[1] is Reason.FIRST_ACK
    assert (flow(rig, ip)["next"], flow(rig, ip)["acked"]) == (START - 99, 5)
    assert transferred(rig, ip) == (0, 0)


def test_flow_of_datagrams_has_no_numbers(rig: Rig, ip: Family) -> None:
    rig.hold(USUAL.tables)
    rig.run(ip.udp())
    found = flow_at(rig, FlowKey(Protocol.UDP, ip.client, ip.vip, CLIENT_PORT, SYSLOG))

    assert found is not None
    numbers = ("next", "acked", "first_next", "first_acked", "next_wraps", "acked_wraps")
    assert [found[name] for name in numbers] == [0] * 6


def test_flow_is_unproven_until_another_packet_comes(rig: Rig, ip: Family) -> None:
    """A spoofed one has no second."""
    rig.hold(USUAL.tables)
    seen = []
    for flags in ("S", "A", "S", "A", "FA", "S", "A"):
        rig.run(ip.tcp(flags))
        seen.append(flow(rig, ip)["is_unproven"] if rig.flow_backends() else None)

    assert seen == [None, 1, 1, 0, 0, None, 1]


def test_flows_of_both_families_do_not_meet(rig: Rig, ip: Family) -> None:
    connected(rig, ip)
    other = IPV6 if ip is IPV4 else IPV4
    assert flow_at(rig, key_of(other)) is None
    connected(rig, other, start=7, acked=8)

    assert (flow(rig, ip)["next"], flow(rig, ip)["acked"]) == (START, 77)
