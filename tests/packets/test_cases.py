"""One table of packets: what goes in, in which state, and exactly what comes out. The oracle says the same of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lbctl.core.model import Address
from lbctl.dataplane.layout import Reason
from lbctl.dataplane.port import Claim
from tests.packets import rows_lans, rows_sources, rows_tcp, rows_vlans
from tests.packets.cases import USUAL, Case, in_vlan
from tests.packets.conformance import CASES, expected, foretold
from tests.packets.departures import Verdict
from tests.packets.families import FAMILIES, Family
from tests.packets.frames import ONE_TAG, OTHER_MAC, PRIORITY_TAG, TWO_TAGS, Tagging
from tests.packets.rig import Rig
from tests.packets.rows_neighbours import arp, claim
from tests.packets.running import entries, expected_entries, given_state, run
from tests.packets.wire import frame_of
from tests.packets.world import DICOM, OWN_MAC, SYSLOG, VIP, VIP6, backend_mac

IN_PLACE = [case for case in CASES if case not in (*rows_vlans.ROWS, *rows_lans.ROWS)]
"""Those without tags, of one segment."""


def is_for_vip(case: Case) -> bool:
    """By its destination, that is. (A solicitation asks by what it carries.)"""
    frame = frame_of(case.frame)
    if frame is None or frame.ip is None or frame.tags or case.reason is Reason.NEIGHBOUR_REPLY:
        return False
    return frame.ip.destination == case.family.vip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_packet_of_the_table_leaves_as_the_table_says(rig: Rig, case: Case) -> None:
    assert run(rig, case) == expected(case)
    assert entries(rig) == expected_entries(case)


def test_oracle_says_of_every_packet_of_the_table_what_the_table_says() -> None:
    said = {case.name: (foretold(case), expected(case)) for case in CASES}
    assert {name: pair for name, pair in said.items() if pair[0] != pair[1]} == {}


@pytest.mark.parametrize("tags", [ONE_TAG, TWO_TAGS, PRIORITY_TAG], ids=["one", "two", "priority"])
def test_packet_of_the_table_in_a_vlan_leaves_as_it_would_without_and_its_tags_stay(rig: Rig, tags: Tagging) -> None:
    """Of each number of tags every third case, lest it take long."""
    first = len(tags) if tags is not PRIORITY_TAG else 0
    differing = {}
    for case in (in_vlan(case, tags) for case in IN_PLACE[first::3]):
        rig.forget()
        found = run(rig, case), entries(rig)
        if found != (expected(case), expected_entries(case)):
            differing[case.name] = found

    assert differing == {}


def test_packet_to_a_foreign_address_with_the_vips_filter_bit_passes_unaltered(rig: Rig) -> None:
    """Every packet of the table, whole or not: the filter errs, but what it errs about is none of our business."""
    altered = []
    for case in filter(is_for_vip, CASES):
        rig.forget()
        given_state(rig, case)
        frame, before = case.family.collides(case.frame), entries(rig)
        outcome, reason = rig.run_for_reason(frame, ifindex=case.ifindex)
        is_let_go = reason in (Reason.NOT_VIP, Reason.OTHER_MAC, Reason.OTHER_LAN) and outcome.verdict == Verdict.PASS
        if not is_let_go or outcome.data != frame or entries(rig) != before:
            altered.append(case.name)

    assert altered == []


def test_table_has_a_row_for_every_reason_of_either_family() -> None:
    of_others = {4: {Reason.NEIGHBOUR_REPLY}, 6: {Reason.ARP_REPLY}}
    for family in FAMILIES:
        assert {case.reason for case in CASES if case.family is family} == set(Reason) - of_others[family.version]


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
    gained = {i: after.backends[i].looped - before.backends[i].looped for i in (1, 2, 3)}
    assert gained == {i: 3 if backend_mac(i) == case.frame[6:12] else 0 for i in (1, 2, 3)}
    assert after.services == before.services
    assert {i: t.packets for i, t in after.backends.items()} == {i: t.packets for i, t in before.backends.items()}


@pytest.mark.parametrize(("name", "size"), [("padding on a flow", 40), ("padding on a flow (IPv6)", 60)])
def test_packet_counts_the_bytes_of_its_ip_datagram_and_not_the_padding(rig: Rig, name: str, size: int) -> None:
    case = next(case for case in CASES if case.name == name)
    given_state(rig, case)
    before = rig.dataplane.counters(services=(1,), backends=(rows_tcp.OLD,))

    rig.run(case.frame)

    after = rig.dataplane.counters(services=(1,), backends=(rows_tcp.OLD,))
    pairs = [
        (before.services[1], after.services[1]),
        (before.backends[rows_tcp.OLD], after.backends[rows_tcp.OLD]),
        (before.reasons["established"], after.reasons["established"]),
    ]
    assert [(late.packets - early.packets, late.bytes - early.bytes) for early, late in pairs] == [(1, size)] * 3
    assert after.services[1].connections == before.services[1].connections


# Checksums -----------------------------------------------------------------------------------------------------------


def sums(words: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """The one's complement sum of each row; 0xFFFF where a checksum is right."""
    totals: NDArray[np.uint64] = words.astype(np.uint64).sum(axis=1)
    for _ in range(3):
        totals = (totals & np.uint64(0xFFFF)) + (totals >> np.uint64(16))
    return totals


@pytest.mark.parametrize("ip", FAMILIES, ids=lambda ip: f"IPv{ip.version}")
def test_ping_checksums_are_right_for_every_identifier(rig: Rig, ip: Family) -> None:
    """Of IPv4 both: the IP identification runs along, so every checksum of either header occurs (RFC 1624)."""
    rig.hold(USUAL.tables)
    message, is_ipv4 = ip.at(0) // 2, ip.version == 4
    frames = np.tile(np.frombuffer(ip.ping(data=b"\x5a\xa5"), np.uint8).view(">u2"), (1 << 16, 1))
    frames[:, message + 2], frames[:, message + 1] = np.arange(1 << 16), 0
    frames[:, message + 1] = ~message_sums(frames, ip) & 0xFFFF
    if is_ipv4:
        frames[:, 9], frames[:, 12] = np.arange(1 << 16), 0
        frames[:, 12] = ~sums(frames[:, 7:17]) & 0xFFFF

    outcomes = [rig.run(frame.tobytes()) for frame in frames]

    assert {outcome.verdict for outcome in outcomes} == {Verdict.TX}
    replies = np.frombuffer(b"".join(outcome.data for outcome in outcomes), ">u2").reshape(1 << 16, -1)
    assert set(message_sums(replies, ip).tolist()) == {0xFFFF}
    assert not is_ipv4 or set(sums(replies[:, 7:17]).tolist()) == {0xFFFF}
    assert np.array_equal(replies[:, message + 2], frames[:, message + 2])
    assert {frame.data[22 if is_ipv4 else 21] for frame in outcomes} == {64}


def message_sums(frames: NDArray[np.uint16], ip: Family) -> NDArray[np.uint64]:
    """The sum that ICMP's checksum is of: of IPv6 with the addresses, the length and the protocol (RFC 8200 section 8.1)."""
    words = frames[:, ip.at(0) // 2 :]
    if ip.version == 4:
        return sums(words)
    pseudo = np.tile(np.array([words.shape[1] * 2, ip.icmp], np.uint16), (len(frames), 1))
    return sums(np.hstack([frames[:, 11:27], pseudo, words]))


@pytest.mark.parametrize("ip", FAMILIES, ids=lambda ip: f"IPv{ip.version}")
def test_forwarded_packet_is_addressed_from_our_own_mac(rig: Rig, ip: Family) -> None:
    rig.hold(USUAL.tables)

    outcome = rig.run(ip.tcp("S"))

    assert outcome.data[6:12] == OWN_MAC


# What else is told ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SYN of a source that may not come", "datagram of a source that may not come"])
@pytest.mark.parametrize("ip", FAMILIES, ids=lambda ip: f"IPv{ip.version}")
def test_packet_of_a_source_that_may_not_come_is_counted_for_its_service(rig: Rig, ip: Family, name: str) -> None:
    case = next(case for case in rows_sources.ROWS if case.family is ip and case.name.removesuffix(" (IPv6)") == name)
    services = {key.port: row.id for key, row in case.before.tables.services.items() if key.vip == ip.vip}
    asked = services[SYSLOG if "datagram" in name else DICOM]
    rig.hold(case.before.tables)
    before = rig.dataplane.counters(services=tuple(services.values()), backends=())

    for _ in range(3):
        rig.run(case.frame)

    after = rig.dataplane.counters(services=tuple(services.values()), backends=())
    gained = {i: after.services[i].denied - before.services[i].denied for i in services.values()}
    assert gained == {i: 3 * (i == asked) for i in services.values()}


@pytest.mark.parametrize(
    ("vip", "frame", "own"),
    [
        (
            VIP,
            arp(sender=VIP, source=OTHER_MAC, sender_mac=OTHER_MAC),
            arp(sender=VIP, source=OWN_MAC, sender_mac=OWN_MAC),
        ),
        (VIP6, claim(source=OTHER_MAC), claim(source=OWN_MAC)),
    ],
    ids=["IPv4", "IPv6"],
)
def test_claim_of_a_stranger_is_noted_with_its_mac_and_one_of_our_own_is_not(
    rig: Rig, vip: Address, frame: bytes, own: bytes
) -> None:
    rig.hold(replace(USUAL.tables, vips={}))
    rig.hold(USUAL.tables)
    rig.run(own)
    assert rig.dataplane.claims() == {}

    for _ in range(3):
        rig.run(frame)

    assert rig.dataplane.claims() == {vip: Claim(mac=OTHER_MAC, times=3)}
