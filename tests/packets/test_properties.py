"""What holds for every packet: the program agrees with the oracle, and keeps what it promises over several packets."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbctl.dataplane.layout import Reason
from tests.packets.cases import USUAL
from tests.packets.comparing import Comparison, flows_of
from tests.packets.departures import Verdict
from tests.packets.families import FAMILIES, Family
from tests.packets.frames import addressed_to, forwarded
from tests.packets.hashes import hash_flow, slot_of
from tests.packets.rig import Rig
from tests.packets.traffic import random_syn
from tests.packets.world import DICOM, SIZE

PACKETS, MANY_PACKETS = 20_000, 200_000
SEED = 20_260_101
TYPES = [b"", b"\x08\x00", b"\x08\x06", b"\x81\x00", b"\x88\xa8", b"\x86\xdd"]


@pytest.mark.usefixtures("one_cpu")
def test_program_agrees_with_the_oracle_on_random_packets_in_random_states(rig: Rig) -> None:
    """Reason, verdict, bytes out; after every state all memories; and that every way was taken."""
    comparison = Comparison(rig, Random(SEED))
    comparison.run(PACKETS)

    assert set(comparison.seen) == set(Reason)


@pytest.mark.long
@pytest.mark.usefixtures("one_cpu")
def test_program_agrees_with_the_oracle_on_many_more_packets(rig: Rig) -> None:
    comparison = Comparison(rig, Random(SEED + 1))
    comparison.run(MANY_PACKETS)

    assert sum(comparison.seen.values()) >= MANY_PACKETS
    assert set(comparison.seen) == set(Reason)


@given(st.binary(min_size=14, max_size=200), st.sampled_from(TYPES), st.sampled_from([b"", b"\x81\x00\x00\x00"]))
@settings(max_examples=300, deadline=None)
def test_program_never_alters_what_it_passes(shared_rig: Rig, noise: bytes, ethertype: bytes, tag: bytes) -> None:
    shared_rig.hold(USUAL.tables)
    frame = noise[:12] + ethertype + noise[12 + len(ethertype) :]
    frames = [frame]
    if len(frame) >= 54:
        frames += [addressed_to(frame, address) for ip in FAMILIES for address in (ip.vip, ip.colliding)]

    outcomes = [(shared_rig.run(sent), sent) for sent in (each[:12] + tag + each[12:] for each in frames)]

    assert all(outcome.data == sent for outcome, sent in outcomes if outcome.verdict == Verdict.PASS)
    assert outcomes[0][0].verdict == Verdict.PASS


@pytest.mark.parametrize("ip", FAMILIES, ids=lambda ip: f"IPv{ip.version}")
def test_new_connection_goes_to_the_owner_of_its_slot(rig: Rig, ip: Family) -> None:
    rig.hold(USUAL.tables)
    slots, random = USUAL.tables.slots[1].tolist(), Random(7)
    for frame, client, port in (random_syn(random, ip) for _ in range(3_000)):
        slot = slot_of(hash_flow(ip_address(client), ip.vip, port, DICOM), SIZE)
        assert rig.run(frame).data == forwarded(frame, slots[slot] & 0xFFFF)


def test_foreign_traffic_is_neither_counted_nor_remembered(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    before = rig.reasons()

    for ip, is_near in product(FAMILIES, (True, False)):
        destination = ip.colliding if is_near else ip.foreign
        for make in (ip.tcp, ip.udp, ip.first_fragment):
            rig.run(make(vip=destination))

    assert rig.reasons() == before
    assert flows_of(rig) == {}
    assert rig.recent("lb_half_opens") == {}
    assert rig.recent("lb_fragments") == {}
