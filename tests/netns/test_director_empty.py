"""What clients get when nobody takes new connections: refused, left waiting, or another pool's servers; and at a wrong port."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab, plan_lab
from tests.netns.director_rig import (
    POOL,
    RARE,
    TCP_PORT,
    Datagrams,
    Line,
    configuration,
    directing,
    line_to,
    reload,
    serving,
    spread,
    wait_state,
)

WRONG_PORT = 9999
AT_ONCE_S = 0.5
"""A client whose SYN gets no answer sends another one after 1 s: who is told earlier was answered."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two backends, and a spare."""
    with Lab(plan_lab(backends=3)) as built, serving(built.backends):
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    """One for all; each test declares what it needs, and leaves everybody enabled."""
    with directing(lab, written(lab)) as running:
        yield running


def written(lab: Lab, *, pool: Mapping[str, str] | None = None, director: Mapping[str, str] | None = None) -> str:
    """A file with the pool of two, and the third backend in a pool of its own if it names that as its fallback."""
    file: dict[str, Any] = json.loads(configuration(*lab.backends[:2], check=RARE, pool=pool))
    if pool and "fallback" in pool:
        rows = {node.name: {"address": str(node.address)} for node in lab.backends[2:]}
        file["pools"][pool["fallback"]] = {"kind": "other", "check": RARE, "backends": rows}
    return json.dumps({**file, "director": dict(director or {})})


def declare(daemon: Daemon, config: str) -> None:
    """Have the daemon take another file."""
    said = reload(daemon, config)
    assert said.endswith(f"reloaded {daemon.config}"), said


@contextmanager
def drained(daemon: Daemon, *nodes: Node) -> Iterator[None]:
    """Nobody of the pool takes new connections for a while."""
    for node in nodes:
        daemon.ctl("drain", f"{POOL}/{node.name}")
    try:
        yield
    finally:
        for node in nodes:
            daemon.ctl("enable", f"{POOL}/{node.name}")
            wait_state(daemon, node, "up")


def seconds_until_refused(client: Node, *, port: int = TCP_PORT) -> float:
    """How long a client waits to be told."""
    began = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        Line(client, port=port)
    return time.monotonic() - began


def hears_nothing(client: Node, *, port: int = TCP_PORT) -> bool:
    """Whether a client is left to its own time-out."""
    with pytest.raises(TimeoutError):
        Line(client, port=port, timeout_s=AT_ONCE_S)
    return True


def test_empty_pool_refuses_new_connections_at_once_and_lets_live_ones_go_on(lab: Lab, daemon: Daemon) -> None:
    client, nodes = lab.clients[0], lab.backends[:2]
    declare(daemon, written(lab))
    datagrams = Datagrams(client)
    with line_to(client, nodes[0]) as first, line_to(client, nodes[1]) as second, drained(daemon, *nodes):
        assert seconds_until_refused(client) < AT_ONCE_S
        assert datagrams.is_refused(timeout_s=AT_ONCE_S)
        assert all(line.is_alive for line in (first, second) * 5)
    assert spread(client).keys() == {node.name for node in nodes}
    datagrams.close()


def test_empty_pool_told_to_drop_leaves_new_connections_waiting_until_somebody_takes_them(
    lab: Lab, daemon: Daemon
) -> None:
    client, nodes = lab.clients[0], lab.backends[:2]
    declare(daemon, written(lab, pool={"on_empty": "drop"}))
    datagrams = Datagrams(client)
    with line_to(client, nodes[0]) as line, drained(daemon, *nodes):
        assert hears_nothing(client)
        assert not datagrams.is_refused(timeout_s=AT_ONCE_S)
        assert line.is_alive
    assert spread(client, 10).total() == 10
    datagrams.close()


def test_empty_pool_with_a_fallback_sends_new_connections_and_datagrams_there_and_takes_them_back(
    lab: Lab, daemon: Daemon
) -> None:
    client, (first, second, spare) = lab.clients[0], lab.backends
    declare(daemon, written(lab, pool={"fallback": "spare"}))
    before = Datagrams(client)
    assert spread(client).keys() == {first.name, second.name}
    assert before.ask(timeout_s=5) in (first.name, second.name)
    with line_to(client, first) as line:
        with drained(daemon, first, second):
            away, during = Line(client), Datagrams(client)
            assert away.backend == spare.name
            assert spread(client, 10).keys() == {spare.name}
            assert during.ask(timeout_s=5) == spare.name
            assert before.ask(timeout_s=5) in (first.name, second.name)
            assert line.is_alive
        assert spread(client).keys() == {first.name, second.name}
        assert line.is_alive
        assert away.is_alive
    for end in (away, before, during):
        end.close()


def test_wrong_port_is_refused_or_left_waiting_as_the_file_says(lab: Lab, daemon: Daemon) -> None:
    client = lab.clients[0]
    declare(daemon, written(lab))
    assert seconds_until_refused(client, port=WRONG_PORT) < AT_ONCE_S
    declare(daemon, written(lab, director={"wrong_port": "drop"}))
    assert hears_nothing(client, port=WRONG_PORT)
    assert spread(client, 10).total() == 10
