"""Jumbo frames in native mode: what is longer than a page passes whole, on the same NIC and from one to another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lbctl.core.model import Address
from lbctl.lab.capture import FROM_CLIENTS, Direction
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import SECOND_WIRE, VIP, VIP6, Lab, plan_lab
from tests.netns.director_rig import directing, status
from tests.netns.transfers import TransferServer, transfer_to
from tests.netns.wide_rig import wait_all_up, wide_configuration

MTU = 9_000
BYTES = 200_000_000


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=1, far_backends=1, far=SECOND_WIRE, ipv6=True, mtu=MTU)) as built:
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    with ExitStack() as servers:
        for node in lab.backends:
            servers.callback(TransferServer(node).close)
        running = servers.enter_context(directing(lab, wide_configuration(lab, mode="native")))
        wait_all_up(running)
        yield running


@pytest.mark.parametrize("server", ["backend1", "backend2"], ids=["same NIC", "other NIC"])
@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])
def test_jumbo_transfer_arrives_whole_in_native_mode(lab: Lab, daemon: Daemon, server: str, vip: Address) -> None:
    assert {row.mode for row in status(daemon).interfaces} == {"native"}
    transfer = transfer_to(lab.clients[0], server, vip=vip)
    with lab.count_frames(lab.director) as counter:
        assert transfer.put(BYTES)
        traffic = counter.read()
    transfer.close()
    carried = traffic.of(Direction.RECEIVED, *FROM_CLIENTS)
    assert carried.octets > BYTES
    assert carried.octets / carried.frames > 0.8 * MTU


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])
def test_jumbo_transfer_back_bypasses_the_director(lab: Lab, daemon: Daemon, vip: Address) -> None:
    for server in ("backend1", "backend2"):
        transfer = transfer_to(lab.clients[0], server, vip=vip)
        with lab.count_frames(lab.director) as counter:
            assert transfer.get(BYTES) == BYTES
            assert counter.read().returned.frames == 0
        transfer.close()
