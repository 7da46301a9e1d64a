"""UDP through the director: a flow keeps its backend, and moves on when that one is down, for it has no connection to cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import VIP, Lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import (
    Datagrams,
    backend,
    status,
    wait_backend,
    wait_state,
)

FLOWS = 24


@pytest.fixture
def flows(lab: Lab, daemon: Daemon) -> Iterator[list[Datagrams]]:
    for node in lab.backends:
        wait_state(daemon, node, "up")
    opened = [Datagrams(lab.clients[0]) for _ in range(FLOWS)]
    yield opened
    for flow in opened:
        flow.close()


def answers(flows: list[Datagrams]) -> list[str]:
    return [flow.ask(timeout_s=5) for flow in flows]


def test_udp_flows_are_spread_and_each_keeps_its_backend(daemon: Daemon, flows: list[Datagrams]) -> None:
    first = answers(flows)
    assert set(first) == {"backend1", "backend2"}
    assert all(answers(flows) == first for _ in range(5))
    told = {row.protocol for row in status(daemon).services if row.new_connections >= FLOWS}
    assert told == {"udp"}


def test_udp_flow_keeps_its_backend_through_a_drain(daemon: Daemon, flows: list[Datagrams]) -> None:
    first = answers(flows)
    daemon.ctl("drain", "servers/backend1")
    try:
        assert answers(flows) == first
    finally:
        daemon.ctl("enable", "servers/backend1")


def test_udp_flow_moves_on_when_its_backend_is_down_and_stays_there(
    lab: Lab, daemon: Daemon, flows: list[Datagrams]
) -> None:
    first = answers(flows)
    gone = lab.backends[0]
    gone.remove_vip(VIP)
    try:
        wait_state(daemon, gone, "down")
        assert set(answers(flows)) == {"backend2"}
    finally:
        gone.add_vip(VIP)
    wait_backend(daemon, gone, lambda row: row.state == "up" and row.share > 0)
    assert set(answers(flows)) == {"backend2"}
    assert "backend1" in first
    assert backend(daemon, gone).share > 0
    wait_until(lambda: "backend1" in answers([Datagrams(lab.clients[0])]), deadline_s=20, what="a new flow to backend1")
