"""Refusals of many random packets, read back by scapy: checksums, sizes, and that no budget is overdrawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach
from scapy.layers.l2 import Ether

from lbctl.core.model import Address
from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import Reason
from tests.packets.cases import USUAL, in_vlan, refuses
from tests.packets.departures import Verdict
from tests.packets.families import FAMILIES, Family
from tests.packets.frames import CLIENT, ONE_TAG, TCP_OPTIONS, TWO_TAGS, UNSERVED, Tagging, padded, tagged, tcp, udp
from tests.packets.refusals import RESET_BYTES, UNREACHABLE_BYTES, answer_to
from tests.packets.rig import BUDGET, HANDSHAKES, Rig
from tests.packets.world import FOR_ANSWERS, FOR_RESETS, backend_row, tables

TICKS_A_TOKEN = 1_000
"""A clock slow enough for a test to know how many tokens came back."""
SLOW_HZ = TICKS_A_TOKEN * BUDGET
FLAGS = ("S", "A", "PA", "FA", "F", "P", "", "SEC", "UA")

pytestmark = pytest.mark.usefixtures("one_cpu")


def random_marks(random: Random, ip: Family) -> dict[str, Any]:
    """Fields of the IP header that an answer must not mind."""
    if ip.version == 4:
        return {"ttl": random.randrange(1, 256), "tos": random.randrange(256), "id": random.randrange(1 << 16)}
    return {"hlim": random.randrange(1, 256), "tc": random.randrange(256), "fl": random.randrange(1 << 20)}


def random_client(random: Random, ip: Family) -> Address:
    """Any single host."""
    if ip.version == 4:
        return IPv4Address(
            random.choice((random.randrange(0x0B000000, 0x7F000000), random.randrange(0x80000000, 0xE0000000)))
        )
    return IPv6Address(random.randrange(1 << 64, 0xFF << 120))


def random_segment(random: Random, ip: Family) -> bytes:
    return ip.tcp(
        random.choice(FLAGS),
        random.choice((0, UNSERVED, 65_535)),
        client=random_client(random, ip),
        client_port=random.randrange(1 << 16),
        seq=random.randrange(1 << 32),
        ack=random.randrange(1 << 32),
        options=random.choice(((), TCP_OPTIONS)),
        ip_options=random.choice(((), (), ip.options)),
        data=random.randbytes(random.choice((0, 0, 1, 10, random.randrange(1_400)))),
        **random_marks(random, ip),
    )


def random_datagram(random: Random, ip: Family) -> bytes:
    return ip.udp(
        random.choice((0, UNSERVED, 65_535)),
        client=random_client(random, ip),
        client_port=random.randrange(1 << 16),
        data=random.randbytes(random.choice((0, 1, 10, random.randrange(1_400)))),
        **random_marks(random, ip),
    )


def layers_of(packet: Any) -> list[tuple[Any, str]]:
    """Those that have a checksum, each with its field's name."""
    kinds = ((IP, "chksum"), (TCP, "chksum"), (ICMP, "chksum"), (ICMPv6DestUnreach, "cksum"))
    found = [(packet.getlayer(kind), field) for kind, field in kinds]
    return [(layer, field) for layer, field in found if layer is not None]


def checksums_of(frame: bytes) -> list[int]:
    """Those that the frame has."""
    return [getattr(layer, field) for layer, field in layers_of(Ether(frame))]


def right_checksums_of(frame: bytes) -> list[int]:
    """Those that scapy gives it."""
    packet = Ether(frame)
    for layer, field in layers_of(packet):
        delattr(layer, field)
    return checksums_of(bytes(packet))


@pytest.mark.parametrize("tags", [(), ONE_TAG, TWO_TAGS], ids=["untagged", "one", "two"])
@pytest.mark.parametrize(
    ("make", "sizes"), [(random_segment, RESET_BYTES), (random_datagram, UNREACHABLE_BYTES)], ids=["tcp", "udp"]
)
@pytest.mark.parametrize("ip", FAMILIES, ids=lambda ip: f"IPv{ip.version}")
def test_refusal_of_a_random_packet_is_of_the_right_size_and_sums(
    rig: Rig, ip: Family, make: Callable[[Random, Family], bytes], sizes: Mapping[int, int], tags: Tagging
) -> None:
    case = in_vlan(refuses("", ip.tcp("S", UNSERVED), Reason.WRONG_PORT), tags)
    rig.hold(case.before.tables)
    random = Random(20_260_102)
    for _ in range(200):
        rig.set_tokens()
        frame = tagged(padded(make(random, ip)), tags)
        outcome = rig.run(frame)
        assert (Verdict(outcome.verdict), len(outcome.data)) == (Verdict.TX, sizes[ip.version] + 4 * len(tags)), (
            frame.hex()
        )
        assert checksums_of(outcome.data) == right_checksums_of(outcome.data), frame.hex()
        assert outcome.data == answer_to(frame)


@pytest.mark.parametrize("ip", FAMILIES, ids=lambda ip: f"IPv{ip.version}")
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_refusal_of_a_jumbo_frame_is_as_small_as_any(rig: Rig, ip: Family, kind: str) -> None:
    """It lies in several buffers, of which the program sees the first."""
    rig.hold(USUAL.tables)
    frame = (ip.tcp if kind == "tcp" else ip.udp)(port=UNSERVED, data=bytes(8_900))

    outcome = rig.run(frame)

    assert (Verdict(outcome.verdict), outcome.data) == (Verdict.TX, answer_to(frame))


def refused(rig: Rig, count: int) -> Counter[str]:
    """The reasons of so many connections to a wrong port."""
    before = rig.reasons()
    for port in range(count):
        rig.run(tcp("S", UNSERVED, client_port=port + 1))
    return Counter({name: n - before[name] for name, n in rig.reasons().items() if n != before[name]})


def test_refusals_beyond_a_second_s_budget_are_dropped_and_counted(rig: Rig) -> None:
    rig.hold(USUAL.tables)

    assert refused(rig, BUDGET + 250) == {"wrong_port": BUDGET, "no_service": 250}
    assert rig.run_for_reason(udp(UNSERVED))[1] is Reason.NO_SERVICE


@pytest.mark.parametrize(("idle_tokens", "refusals"), [(0, 0), (1, 1), (7, 7), (BUDGET, BUDGET), (5 * BUDGET, BUDGET)])
def test_refusals_begin_again_as_time_goes_on(rig: Rig, idle_tokens: int, refusals: int) -> None:
    """As many as the time since brought, but never more than what a second brings."""
    rig.hold(USUAL.tables)
    rig.set_tokens(0, hz=SLOW_HZ, idle_ticks=idle_tokens * TICKS_A_TOKEN)

    assert refused(rig, refusals + 5) == Counter({"wrong_port": refusals, "no_service": 5})


def test_refusals_of_less_than_a_token_s_time_are_not_lost(rig: Rig) -> None:
    """A bucket that is asked often must fill no slower: half a token's time twice is a token."""
    rig.hold(USUAL.tables)
    rig.set_tokens(0, hz=SLOW_HZ, idle_ticks=TICKS_A_TOKEN // 2)
    assert refused(rig, 20) == {"no_service": 20}

    rig.age_tokens(FOR_ANSWERS, ticks=TICKS_A_TOKEN // 2)

    assert refused(rig, 5) == {"wrong_port": 1, "no_service": 4}


def test_refusals_leave_the_services_alone(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    refused(rig, BUDGET + 1)

    assert rig.run_for_reason(tcp("S"))[1] is Reason.SYN
    assert rig.run_for_reason(tcp("A", client=CLIENT))[1] is Reason.FIRST_ACK
    assert rig.run_for_reason(tcp("A", client_port=7))[1] is Reason.PICKED_UP


# Connections in mid-stream -------------------------------------------------------------------------------------------


def test_connections_in_mid_stream_beyond_the_budget_go_to_their_slot_without_a_flow(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    frames = [tcp("A", client_port=port + 1) for port in range(BUDGET + 200)]

    outcomes = [rig.run_for_reason(frame) for frame in frames]

    assert [reason for _, reason in outcomes] == [Reason.PICKED_UP] * BUDGET + [Reason.OVER_BUDGET] * 200
    assert rig.flow_backends().total() == BUDGET
    assert [rig.run(frame).data for frame in frames] == [outcome.data for outcome, _ in outcomes]
    assert {outcome.verdict for outcome, _ in outcomes} == {Verdict.TX}
    syns = [rig.run(tcp("S", client_port=port + 1)).data[:6] for port in range(BUDGET, BUDGET + 200)]
    assert syns == [outcome.data[:6] for outcome, _ in outcomes[BUDGET:]]


def test_connection_over_budget_is_entered_once_there_is_time(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    rig.set_tokens(0)
    sent, reason = rig.run_for_reason(tcp("A"))
    rig.set_tokens(0, hz=SLOW_HZ, idle_ticks=TICKS_A_TOKEN)

    again, then = rig.run_for_reason(tcp("A"))

    assert (reason, then) == (Reason.OVER_BUDGET, Reason.PICKED_UP)
    assert again.data == sent.data


def test_budget_of_a_service_is_its_own(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    for port in range(BUDGET + 1):
        rig.run(tcp("A", client_port=port + 1))

    assert rig.run_for_reason(tcp("A", client_port=65_000))[1] is Reason.OVER_BUDGET
    assert rig.run_for_reason(tcp("A", 11_112, client_port=65_000))[1] is Reason.PICKED_UP
    assert rig.run_for_reason(udp(client_port=65_000))[1] is Reason.UDP_NEW
    assert rig.run_for_reason(tcp("S", UNSERVED))[1] is Reason.WRONG_PORT


# Handshakes ----------------------------------------------------------------------------------------------------------


def test_handshakes_beyond_the_budget_go_to_their_backend_and_are_entered_in_time(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    rig.set_tokens(handshakes=2)
    sent = {
        port: [rig.run_for_reason(tcp(flags, client_port=port)) for flags in ("S", "A", "PA")] for port in (1, 2, 3)
    }
    rig.set_tokens(handshakes=1)

    late, reason = rig.run_for_reason(tcp("PA", client_port=3))

    assert [reason for _, reason in sent[2]] == [Reason.SYN, Reason.FIRST_ACK, Reason.ESTABLISHED]
    assert [reason for _, reason in sent[3]] == [Reason.SYN, Reason.OVER_BUDGET, Reason.OVER_BUDGET]
    assert len({outcome.data[:6] for outcome, _ in sent[3]} | {late.data[:6]}) == 1
    assert reason is Reason.FIRST_ACK


def test_handshakes_budget_is_what_a_second_brings_and_apart_from_the_one_for_mid_stream(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    rig.set_tokens(0, handshakes=0, hz=SLOW_HZ, idle_ticks=TICKS_A_TOKEN)
    brought = HANDSHAKES // BUDGET

    for port in range(1, brought + 3):
        rig.run(tcp("S", client_port=port))
    reasons = [rig.run_for_reason(tcp("A", client_port=port))[1] for port in range(1, brought + 3)]

    assert reasons == [Reason.FIRST_ACK] * brought + [Reason.OVER_BUDGET] * 2
    assert [rig.run_for_reason(tcp("A", client_port=60_000 + n))[1] for n in range(2)] == [
        Reason.PICKED_UP, Reason.OVER_BUDGET,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spent", "frame", "reason"),
    [
        (FOR_ANSWERS, tcp("S", UNSERVED), Reason.NO_SERVICE),
        (FOR_ANSWERS, tcp("A", ack=9), Reason.RESET),
        (FOR_RESETS, tcp("A", ack=9), Reason.DEAD),
        (FOR_RESETS, tcp("S", UNSERVED), Reason.WRONG_PORT),
        (FOR_RESETS, tcp("S", 11_112), Reason.TURNED_AWAY),
        (FOR_ANSWERS, tcp("S", 11_112), Reason.EMPTY),
    ],
)
def test_resets_and_refusals_have_budgets_of_their_own(rig: Rig, spent: int, frame: bytes, reason: Reason) -> None:
    """A port scan must not use up what tells the clients of a dead server."""
    rig.hold(USUAL.tables)
    rig.run(tcp("A"))
    rig.hold(tables({number: backend_row(number, state=BackendState.DEAD) for number in (1, 2, 3)}))
    rig.spend_tokens(spent)

    assert rig.run_for_reason(frame)[1] is reason
