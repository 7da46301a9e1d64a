"""Which clients are told that their backend died, and what happens if they cannot be told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lbctl.core.model import Protocol
from lbctl.core.plan import SetBackend, Step
from lbctl.core.tables import BackendRow, BackendState, reference
from lbctl.daemon.resetting import Resetter
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.port import FlowEntry
from lbctl.errors import NetworkError
from lbctl.network.fake import FakeNetwork
from lbctl.network.tcp import Reset
from tests.strategies import backend_row
from tests.unit.daemon.served import LINK

VIP, CLIENT = IPv4Address("192.0.2.100"), IPv4Address("10.0.0.1")
UP = backend_row(3, 8, state=BackendState.UP, mac=bytes(6))
DOWN = replace(UP, state=BackendState.DOWN)
DEAD = replace(UP, state=BackendState.DEAD)


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
    async def send_resets(self, resets: Sequence[Reset]) -> int:
        raise NetworkError(f"open a raw socket for {len(resets)} resets: Operation not permitted")


def told_of(*steps: Step, network: FakeNetwork | None = None) -> list[Reset]:
    """The resets that go out once these steps are carried out. Backend 3 has a client, and so has 4."""
    network = network or FakeNetwork([LINK])
    dataplane = FakeDataplane()
    dataplane.live_flows = [flow(40_000, reference(3, 8)), flow(40_001, reference(4, 1))]

    async def scene() -> None:
        resetter = Resetter(dataplane, network)
        resetter.carried_out(steps)
        async with asyncio.timeout(10):
            await resetter.settle()
        await resetter.close()

    asyncio.run(scene())
    return network.resets


def step(before: BackendRow | None, after: BackendRow | None) -> SetBackend:
    return SetBackend(backend_id=3, before=before, after=after)


@pytest.mark.parametrize("before", [UP, DOWN])
def test_resetter_backend_that_died_tells_its_clients_and_no_others(before: BackendRow) -> None:
    assert told_of(step(before, DEAD)) == [
        Reset(source=VIP, source_port=104, destination=CLIENT, destination_port=40_000, seq=1)
    ]


@pytest.mark.parametrize(
    ("before", "after"), [(UP, DOWN), (DEAD, DEAD), (DEAD, UP), (DEAD, None), (None, DEAD), (None, UP)]
)
def test_resetter_any_other_change_tells_nobody(before: BackendRow | None, after: BackendRow | None) -> None:
    assert told_of(step(before, after)) == []


def test_resetter_that_cannot_send_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert told_of(step(UP, DEAD), network=NoSockets([LINK])) == []
    assert "Operation not permitted" in caplog.text
