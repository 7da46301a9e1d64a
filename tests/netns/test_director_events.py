"""``lbctl events``: new connections and drops as they happen, told by their headers, and nothing while nobody watches."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lbctl.core.model import Address
from lbctl.lab.daemon import Daemon
from lbctl.lab.flood import send_spoofed_syns
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP, VIP6, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import TCP_PORT, UDP_PORT, Datagrams, Line, connects
from tests.netns.pinned import watched_of
from tests.netns.wide_rig import directing_wide, pool_of, wide_configuration

MOST_PER_CPU = 1_000
"""Events a second."""
FLOOD = 20_000
by_family = pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, clients=2, ipv6=True)) as built:
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    """The first client may come, the second may not."""
    first = lab.clients[0]
    config = wide_configuration(
        lab, service_of=lambda vip: {"allow": [str(first.address if vip.version == 4 else first.address6)]}
    )
    with directing_wide(lab, config) as running:
        yield running


def wait_unwatched(daemon: Daemon) -> None:
    """The daemon notices within seconds that a watcher is gone."""
    wait_until(lambda: watched_of(daemon.pins) == 0, deadline_s=30, what="nothing to be asked for")


@pytest.fixture(autouse=True)
def watched_by_nobody(daemon: Daemon) -> None:
    wait_unwatched(daemon)


class Watch:
    """What a running ``lbctl events`` has printed."""

    def __init__(self, output: Path) -> None:
        self._output = output

    @property
    def events(self) -> list[dict[str, Any]]:
        """So far; a line that is being written does not count yet."""
        lines = self._output.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait(self, wanted: Callable[[dict[str, Any]], bool], *, what: str) -> dict[str, Any]:
        """The first event of a kind."""
        return wait_until(lambda: next(filter(wanted, self.events), {}), deadline_s=10, what=what)


@contextmanager
def watching(daemon: Daemon, *options: str) -> Iterator[Watch]:
    """A terminal with ``lbctl events``, which the program tells already."""
    output = daemon.directory / "events.json"
    output.write_text("")
    argv: list[str | Path] = [sys.executable, "-m", "lbctl", "events", "--json", *options]
    process = daemon.node.popen(argv, output=output, environment={"LBCTL_SOCKET": str(daemon.socket)})
    try:
        wait_until(lambda: watched_of(daemon.pins), deadline_s=20, what="the program to be asked for events")
        yield Watch(output)
    finally:
        daemon.node.end(process)


def address_of(node: Node, vip: Address) -> str:
    return str(node.address if vip.version == 4 else node.address6)


@by_family
def test_events_tell_new_flows_with_their_backend(lab: Lab, daemon: Daemon, vip: Address) -> None:
    client = lab.clients[0]
    with watching(daemon, "--flows") as watch:
        with Line(client, vip=vip) as line:
            told = watch.wait(lambda event: event["source_port"] == line.client_port, what="the connection")
        flow = Datagrams(client, vip=vip)
        name = flow.ask(timeout_s=5)
        datagram = watch.wait(lambda event: event["protocol"] == "udp", what="the UDP flow")
        flow.close()
        assert not connects(lab.clients[1], vip=vip)
        assert {event["kind"] for event in watch.events} == {"flow"}
    print(f"\n{told}\n{datagram}")
    assert (told["protocol"], told["interface"], told["vlans"]) == ("tcp", "eth0", [])
    assert (told["source"], told["destination"], told["destination_port"]) == (
        address_of(client, vip),
        str(vip),
        TCP_PORT,
    )
    assert told["backend"] == f"{pool_of(vip)}/{line.backend}"
    assert datagram["backend"] == f"{pool_of(vip)}/{name}"
    assert datagram["destination_port"] == UDP_PORT


@by_family
def test_events_tell_drops_with_their_reason(lab: Lab, daemon: Daemon, vip: Address) -> None:
    denied = lab.clients[1]
    with watching(daemon, "--drops") as watch:
        assert not connects(denied, vip=vip)
        told = watch.wait(lambda event: event["source"] == address_of(denied, vip), what="the denied connection")
        with Line(lab.clients[0], vip=vip) as line:
            assert line.is_alive
        assert {event["kind"] for event in watch.events} == {"drop"}
    print(f"\n{told}")
    assert (told["reason"], told["protocol"], told["backend"]) == ("denied", "tcp", None)
    assert (told["destination"], told["destination_port"]) == (str(vip), TCP_PORT)
    assert told["service"] is not None


def test_events_are_off_again_when_the_last_watcher_is_gone(lab: Lab, daemon: Daemon) -> None:
    with watching(daemon, "--flows"):
        assert watched_of(daemon.pins) == 1
        with watching(daemon, "--drops"):
            wait_until(lambda: watched_of(daemon.pins) == 3, deadline_s=10, what="both to be asked for")
    wait_unwatched(daemon)


def test_events_of_a_flood_are_bounded(lab: Lab, daemon: Daemon) -> None:
    """Every SYN of the flood comes from a source that may not come."""
    with watching(daemon) as watch:
        began = time.monotonic()
        count = send_spoofed_syns(lab.clients[1], VIP, port=TCP_PORT, to_mac=lab.director.mac, count=FLOOD, seed=7)
        wait_until(
            lambda: connects(lab.clients[0]) and any(event["kind"] == "flow" for event in watch.events),
            deadline_s=20,
            what="a connection that is told when the flood is over",
        )
        took_s = time.monotonic() - began
        told = [event for event in watch.events if event["kind"] == "drop"]
    print(f"\n{count} SYNs and their end in {took_s:.2f} s, {len(told)} of them told")
    assert 0 < len(told) < (os.cpu_count() or 1) * MOST_PER_CPU * (took_s + 1.5)
    assert len(told) < count
