"""A backend gets another MAC, as after a replaced NIC or a moved virtual machine: nobody may notice.

Figures (``pytest -s`` prints them) are compared with five times their target.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import (
    RARE,
    Datagrams,
    Line,
    backend,
    configuration,
    directing,
    line_to,
    serving,
    wait_state,
)
from tests.netns.pinned import PinnedBackends

_RTMGRP_NEIGH = 4
announced_or_not = pytest.mark.parametrize("announce", [True, False], ids=["announced", "silent"])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2)) as built, serving(built.backends):
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    with directing(lab, configuration(*lab.backends, check=RARE)) as running:
        for node in lab.backends:
            wait_state(running, node, "up")
        yield running


@pytest.fixture
def line(lab: Lab, daemon: Daemon) -> Iterator[Line]:
    """A live connection to the backend whose MAC changes."""
    with line_to(lab.clients[0], lab.backends[0]) as opened:
        yield opened


def datagrams_to(client: Node, node: Node) -> Datagrams:
    """A UDP flow that goes to that backend."""
    for _ in range(200):
        flow = Datagrams(client)
        if flow.ask(timeout_s=5) == node.name:
            return flow
        flow.close()
    raise AssertionError(f"200 flows, and none went to {node.name}")


@announced_or_not
def test_backend_mac_changed_traffic_flows_again_within_seconds(
    lab: Lab, daemon: Daemon, line: Line, announce: bool
) -> None:
    """A datagram every 20 ms; the figure is the time from the change to the first that is answered."""
    node = lab.backends[0]
    flow = datagrams_to(lab.clients[0], node)
    changed = time.monotonic()
    mac = node.change_mac(announce=announce)
    wait_until(lambda: flow.ask() == node.name, deadline_s=5, what="datagrams to be answered again")
    print(
        f"\nMAC changed, {'announced' if announce else 'silently'}: answered after {time.monotonic() - changed:.3f} s"
    )
    flow.close()
    assert line.is_alive
    assert backend(daemon, node).mac == mac
    assert backend(daemon, node).state == "up"


class NeighbourEvents:
    """Notes when the kernel told of a MAC, by netlink messages of the director's namespace."""

    def __init__(self, node: Node, mac: str) -> None:
        with node.enter():
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, _RTMGRP_NEIGH))
        self._socket.settimeout(10)
        self._wanted = bytes.fromhex(mac.replace(":", ""))
        self._told_at: list[float] = []
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        with self._socket:
            while self._wanted not in self._socket.recv(65536):
                pass
            self._told_at.append(time.monotonic())

    def told_at(self) -> float:
        """When; fails if it was not told within the socket's time-out."""
        self._thread.join()
        return self._told_at[0]


@announced_or_not
def test_backend_mac_changed_is_in_the_map_at_once_after_the_event(lab: Lab, daemon: Daemon, announce: bool) -> None:
    node, rows = lab.backends[1], PinnedBackends(daemon.pins)
    assert rows.mac_of(node) == node.mac
    coming = f"02:{'a1' if announce else 'a2'}:00:00:00:0c"
    events = NeighbourEvents(lab.director, coming)
    node.change_mac(coming, announce=announce)
    wait_until(lambda: rows.mac_of(node) == coming, deadline_s=10, what="the MAC in the map")
    delay_s = time.monotonic() - events.told_at()
    print(f"\nMAC in the map {1000 * delay_s:.0f} ms after the event, the wait's pause of 10 ms included")
    assert delay_s < 5 * 0.1
