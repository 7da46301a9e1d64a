"""A director that was booted: it forwards by what it remembers, before the first probe has ended, and to nobody unconfirmed."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.acceptance.stage import reboot
from tests.netns.director_rig import backend, configuration, directing, serving, spread, wait_state

CHECK_PORT = 11_112
ONCE = {"type": "dicom-echo", "called_ae": "ANY", "port": CHECK_PORT, "interval": "10m", "timeout": "1m"}
"""One look at the start. Who accepts and says nothing keeps it waiting for a minute."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=4)) as built, serving(built.backends):
        yield built


def answering(node: Node) -> subprocess.Popen[Any]:
    """A peer that answers C-ECHO."""
    peer = node.popen(["storescp", str(CHECK_PORT)])
    wait_until(lambda: node.listens_on(CHECK_PORT), deadline_s=20, what=f"the peer of {node.name}")
    return peer


@contextmanager
def silent(nodes: tuple[Node, ...]) -> Iterator[None]:
    """Their kernels accept the probes' connections, and nobody ever says a word."""
    with ExitStack() as listeners:
        for node in nodes:
            with node.enter():
                listeners.enter_context(socket.create_server(("0.0.0.0", CHECK_PORT)))
        yield


def remembered(daemon: Daemon) -> dict[str, bool]:
    """Who was up, by name, as the state directory has it."""
    path = daemon.state / "health.json"
    rows = json.loads(path.read_text())["backends"] if path.exists() else {}
    return {key.partition("/")[2].partition("@")[0]: row["is_up"] for key, row in rows.items()}


def test_director_forwards_by_what_it_remembers_before_the_first_probe_has_ended(lab: Lab) -> None:
    """Of four: two that were up, one that was down, one that was up and answers no ARP any more."""
    client, (_, _, dead, gone) = lab.clients[0], lab.backends
    alive = [node for node in lab.backends if node is not dead]
    peers = [answering(node) for node in alive]
    with directing(lab, configuration(*lab.backends, check=ONCE)) as daemon:
        expected = {node.name: node is not dead for node in lab.backends}
        wait_until(lambda: remembered(daemon) == expected, deadline_s=20, what=f"{expected} to be on the disk")
        for node, peer in zip(alive, peers, strict=True):
            node.end(peer)
        with silent(lab.backends):
            lab.cut(gone)
            reboot(daemon)
            assert spread(client, 40).keys() == {"backend1", "backend2"}
            first, third, fourth = (backend(daemon, name) for name in ("backend1", dead, gone))
            assert (first.state, first.reason) == ("up", "was up before the reboot, not probed yet")
            assert (first.probe_latency_s, third.state, third.share) == (None, "unknown", 0)
            assert (fourth.state, fourth.mac, fourth.share) == ("unresolved", None, 0)
            lab.mend(gone)
            wait_state(daemon, gone, "up")
            assert spread(client, 60).keys() == {"backend1", "backend2", "backend4"}
        wait_state(daemon, "backend1", "down")  # the silence ended: the first probe's result decides


def test_director_that_is_booted_twice_in_a_row_still_remembers(lab: Lab) -> None:
    """The second time before anything could be probed."""
    peers = [answering(node) for node in lab.backends[:2]]
    with directing(lab, configuration(*lab.backends[:2], check=ONCE)) as daemon:
        expected = dict.fromkeys(("backend1", "backend2"), True)
        wait_until(lambda: remembered(daemon) == expected, deadline_s=20, what=f"{expected} to be on the disk")
        for node, peer in zip(lab.backends, peers, strict=False):
            node.end(peer)
        with silent(lab.backends[:2]):
            reboot(daemon)
            reboot(daemon)
            assert spread(lab.clients[0], 40).keys() == expected.keys()
