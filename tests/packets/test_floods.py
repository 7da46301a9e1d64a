"""Floods of packets from spoofed addresses: they use up what they may, and nobody else's connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path as FilePath

import pytest

from lbctl.core.tables import reference
from lbctl.dataplane.layout import HALF_OPENS, Reason
from lbctl.dataplane.objectfile import compile_source
from tests.bench.paths import ACK, SYN, Path
from tests.packets.cases import USUAL, all_slots, backends
from tests.packets.departures import Verdict
from tests.packets.frames import forwarded, patched, tcp
from tests.packets.rig import BUDGET, Rig, rig_of
from tests.packets.world import tables

STEPPING = FilePath(__file__).parents[1] / "bench" / "bench.c"
"""The program with a client's address that changes before each repeat of a test-run."""
SYNS, ACKS = 200_000, 100_000
STEP = 0x01000193
"""Added to the address as it lies in memory: scatters the addresses, and no two repeats have the same."""


@pytest.fixture(scope="module")
def stepping_rig() -> Iterator[Rig]:
    with rig_of(compile_source(STEPPING)) as rig:
        yield rig


def spoofed(count: int) -> Iterator[bytes]:
    """SYNs from so many addresses."""
    frame = tcp("S")
    return (patched(frame, 26, (0x0B000000 + i).to_bytes(4, "big")) for i in range(count))


def flood(rig: Rig, flags: int, count: int, *, after: int = 0) -> Counter[str]:
    """So many segments, each from another address, and other ones than ``after`` segments before; what became of them."""
    path = Path(name="flood", protocol="tcp", reason=Reason.SYN, flags=flags, address_step=STEP)
    first = IPv4Address((1 + after * STEP & 0xFFFFFFFF).to_bytes(4, "little"))
    before = rig.reasons()
    rig.run(path.packet(first), program="bench_ingress", repeat=count)
    return Counter({name: n - before[name] for name, n in rig.reasons().items() if n != before[name]})


def test_syn_flood_of_a_hundred_thousand_writes_no_flow_and_counts_no_connection(rig: Rig) -> None:
    rig.hold(USUAL.tables)
    rig.run(tcp("S"))
    rig.run(tcp("A"))
    before, alive = rig.dataplane.counters(services=(1,), backends=()), rig.flow_backends()

    verdicts = Counter(rig.run(frame).verdict for frame in spoofed(100_000))

    after = rig.dataplane.counters(services=(1,), backends=())
    assert verdicts == {Verdict.TX: 100_000}
    assert after.reasons["syn"].packets - before.reasons["syn"].packets == 100_000
    assert after.services[1].connections == before.services[1].connections
    assert rig.flow_backends() == alive
    assert alive.total() == 1
    assert len(rig.recent("lb_half_opens")) <= HALF_OPENS


@pytest.mark.usefixtures("one_cpu")
def test_syn_and_ack_floods_leave_an_idle_association_its_flow_and_let_new_ones_in(stepping_rig: Rig) -> None:
    rig = stepping_rig
    rig.forget()
    rig.hold(tables(backends(), all_slots(1)))
    for frame in (tcp("S"), tcp("A")):
        rig.run(frame)
    rig.hold(tables(backends(), all_slots(2)))

    assert flood(rig, SYN, SYNS) == {"syn": SYNS}
    assert flood(rig, ACK, ACKS, after=SYNS) == {"picked_up": BUDGET, "over_budget": ACKS - BUDGET}

    assert rig.flow_backends() == {reference(1, 7): 1, reference(2, 7): BUDGET}
    outcome, reason = rig.run_for_reason(tcp("PA", data=b"x"))
    assert (reason, outcome.data) == (Reason.ESTABLISHED, forwarded(tcp("PA", data=b"x"), 1))
    for port in range(50_000, 50_200):
        handshake = [rig.run_for_reason(tcp(flags, client_port=port))[1] for flags in ("S", "A", "PA")]
        assert handshake == [Reason.SYN, Reason.FIRST_ACK, Reason.ESTABLISHED]
