"""Which clients are told that their backend died, and what happens if they cannot be told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lbctl.core.model import Protocol
from lbctl.core.plan import SetBackend, Step
from lbctl.core.tables import BackendRow, BackendState, Tables, reference
from lbctl.daemon.resetting import Resetter
from lbctl.daemon.surroundings import Surroundings
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.port import FlowEntry, IdleLimits
from lbctl.errors import NetworkError
from lbctl.network.fake import FakeNetwork
from lbctl.network.port import MARK_BASE
from lbctl.network.tcp import Reset, Segment
from tests.strategies import backend_row
from tests.unit.daemon.rig import LINK

VIP, CLIENT = IPv4Address("192.0.2.100"), IPv4Address("10.0.0.1")
UP = backend_row(3, 8, state=BackendState.UP, mac=bytes(6))
DRAINING, DOWN, DEAD, HALTED = (
    replace(UP, state=state)
    for state in (BackendState.DRAINING, BackendState.DOWN, BackendState.DEAD, BackendState.HALTED)
)
LABELS = {reference(3, 8): "p/a", reference(4, 1): "p/b"}
TO_CLIENT = Reset(source=VIP, source_port=104, destination=CLIENT, destination_port=40_000, seq=1)
TO_SERVER = Reset(source=CLIENT, source_port=40_000, destination=VIP, destination_port=104, seq=2, mark=MARK_BASE | 1)


def flow(client_port: int, backend: int) -> FlowEntry:
    return FlowEntry(
        protocol=Protocol.TCP,
        client=CLIENT,
        client_port=client_port,
        vip=VIP,
        vip_port=104,
        backend=backend,
        idle_s=1.0,
        state="open",
    )


class NoSockets(FakeNetwork):
    async def send_segments(self, resets: Sequence[Segment]) -> int:
        raise NetworkError(f"open a raw socket for {len(resets)} resets: Operation not permitted")


def told_of(*steps: Step, network: FakeNetwork | None = None, labels: Mapping[int, str] = LABELS) -> list[Segment]:
    """The resets that go out once these steps are carried out. Backend 3 has a client, and so has 4."""
    network = network or FakeNetwork([LINK])
    dataplane = FakeDataplane()
    dataplane.live_flows = [flow(40_000, reference(3, 8)), flow(40_001, reference(4, 1))]

    async def scene() -> None:
        resetter = Resetter(dataplane, Surroundings(network), label_of=labels.get)
        resetter.carried_out(steps)
        async with asyncio.timeout(10):
            await resetter.settle()
        await resetter.close()

    asyncio.run(scene())
    return network.segments


def step(before: BackendRow | None, after: BackendRow | None) -> SetBackend:
    return SetBackend(backend_id=3, before=before, after=after)


@pytest.mark.parametrize("before", [UP, DRAINING, DOWN])
def test_resetter_backend_that_died_tells_its_clients_and_no_others(before: BackendRow) -> None:
    assert told_of(step(before, DEAD)) == [TO_CLIENT]


@pytest.mark.parametrize("before", [UP, DRAINING, DOWN])
def test_resetter_backend_that_was_halted_is_told_itself_by_its_probe_path(before: BackendRow) -> None:
    """To each what it expects next: the client what it acknowledged, the server what the client sends next."""
    assert told_of(step(before, HALTED)) == [TO_CLIENT, TO_SERVER]


def test_resetter_backend_that_was_halted_and_is_no_longer_declared_cannot_be_told_itself() -> None:
    assert told_of(step(UP, HALTED), labels={}) == [TO_CLIENT]


def test_resetter_tells_of_each_backend_what_became_of_it() -> None:
    other = backend_row(4, 1, state=BackendState.UP, mac=bytes(6))
    died = SetBackend(backend_id=4, before=other, after=replace(other, state=BackendState.DEAD))
    also_to = replace(TO_CLIENT, destination_port=40_001)
    assert told_of(step(UP, HALTED), died) == [TO_CLIENT, also_to, TO_SERVER]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (UP, DOWN),
        (UP, DRAINING),
        (DEAD, DEAD),
        (DEAD, UP),
        (DEAD, None),
        (None, DEAD),
        (None, UP),
        (None, HALTED),
        (HALTED, UP),
        (HALTED, HALTED),
        (HALTED, None),
        (HALTED, DEAD),
        (DEAD, HALTED),
    ],
)
def test_resetter_any_other_change_tells_nobody(before: BackendRow | None, after: BackendRow | None) -> None:
    assert told_of(step(before, after)) == []


def test_resetter_that_cannot_send_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert told_of(step(UP, DEAD), network=NoSockets([LINK])) == []
    assert "Operation not permitted" in caplog.text


def test_resetter_of_clients_that_end_gives_their_flows_up_at_once() -> None:
    dataplane = FakeDataplane()
    dataplane.live_flows = [flow(40_000, reference(3, 8)), flow(40_001, reference(4, 1))]

    async def scene() -> None:
        resetter = Resetter(dataplane, Surroundings(FakeNetwork([LINK])), label_of=LABELS.get)
        resetter.carried_out([step(UP, HALTED)])
        async with asyncio.timeout(10):
            await resetter.settle()

    asyncio.run(scene())
    assert [flow.state for flow in dataplane.live_flows] == ["reset", "open"]


# Whom a sweep finds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "expected"),
    [(DEAD, [TO_CLIENT]), (HALTED, [TO_CLIENT, TO_SERVER]), (UP, []), (DRAINING, []), (DOWN, [])],
)
def test_resetter_catches_up_with_those_who_ought_to_have_no_connection(
    row: BackendRow, expected: list[Segment]
) -> None:
    """A daemon was killed before it told them."""
    network, dataplane = FakeNetwork([LINK]), FakeDataplane()
    dataplane.live_flows = [flow(40_000, reference(3, 8)), flow(40_001, reference(4, 1))]
    other = backend_row(4, 1, state=BackendState.UP, mac=bytes(6))

    async def scene() -> None:
        resetter = Resetter(dataplane, Surroundings(network), label_of=LABELS.get)
        for _ in range(2):
            found = dataplane.sweep(IdleLimits()).flows
            resetter.catch_up(Tables(backends={3: row, 4: other}), [*found, reference(3, 7)])
            async with asyncio.timeout(10):
                await resetter.settle()

    asyncio.run(scene())
    assert network.segments == expected  # the second time there is nobody left to be told
