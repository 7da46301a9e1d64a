"""A backend that is halted: its connections end at once, for clients and for the server, and new ones go elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lbctl.errors import LabError
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import (
    POOL,
    RARE,
    TCP_PORT,
    Line,
    backend,
    configuration,
    directing,
    line_to,
    spread,
    wait_state,
)
from tests.netns.vanishing import PATIENCE_S, moment_of, talk

SOON_S = 5.0
"""For what takes milliseconds. (The command itself is a process, which takes longer.)"""


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    """Its check looks once: nobody but the clients has connections to the servers."""
    with directing(lab, configuration(*lab.backends, check=RARE)) as running:
        yield running


def connections_at(server: Node, *, client: Node) -> int:
    """How many of a client's the server's kernel has, in whatever state."""
    found = server.run(["ss", "-Htn", "state", "connected", f"sport = :{TCP_PORT} and dst {client.address}"])
    return len(found.stdout.splitlines())


def wait_no_connection(server: Node, *, client: Node) -> None:
    """Wait until a client has no connection to a server any more, in the eyes of the server."""
    wait_until(
        lambda: connections_at(server, client=client) == 0,
        deadline_s=SOON_S,
        what=lambda: f"{connections_at(server, client=client)} connections at {server.name} to end",
    )


def is_reset(line: Line) -> bool:
    """Whether a client that only waits is told now."""
    with pytest.raises(ConnectionResetError):
        line.wait(timeout_s=SOON_S)
    return True


@contextmanager
def halted(daemon: Daemon, node: Node) -> Iterator[str]:
    """Halted for a while; what the command said."""
    said = daemon.ctl("halt", f"{POOL}/{node.name}").stdout
    try:
        yield said
    finally:
        daemon.ctl("enable", f"{POOL}/{node.name}")
        wait_state(daemon, node, "up")


def test_halt_resets_sending_and_waiting_clients_and_the_server_and_enable_takes_it_back(
    lab: Lab, daemon: Daemon
) -> None:
    client, (node, other) = lab.clients[0], lab.backends
    with (
        line_to(client, node) as waiting,
        line_to(client, node) as sending,
        line_to(client, other) as bystander,
        line_to(client, other) as quiet,
    ):
        told = {
            "waiting": moment_of(lambda: waiting.wait(timeout_s=PATIENCE_S)),
            "sending": moment_of(lambda: talk(sending, for_s=PATIENCE_S)),
        }
        silence = moment_of(lambda: quiet.wait(timeout_s=PATIENCE_S))
        with halted(daemon, node) as said:
            moments = [moment.result(timeout=SOON_S) for moment in told.values()]
            wait_no_connection(node, client=client)
            row = backend(daemon, node)
            assert said == f"{POOL}/{node.name} halted: no new connections, live ones are reset\n"
            assert (row.state, row.reason) == ("halted", "halted by an operator")
            assert len(moments) == 2
            assert spread(client).keys() == {other.name}
            assert bystander.is_alive
            with Line(client, from_port=waiting.port) as moved:  # a modality that uses its port again
                assert moved.backend == other.name
        assert spread(client).keys() == {node.name, other.name}
        assert not silence.done()
        quiet.send()
        assert isinstance(silence.exception(timeout=SOON_S), LabError)  # an answer came, no reset


def long_words(line: Line, daemon: Daemon, node: Node) -> None:
    """Lines that take several segments each."""
    for size in (3000, 1, 20_000):
        assert line.echo(b"x" * size + b"\n").endswith(b"x\n")


def keep_alives(line: Line, daemon: Daemon, node: Node) -> None:
    """Segments that carry a byte from before, and so a number that is behind."""
    line.keep_alive()
    before = backend(daemon, node).packets
    wait_until(lambda: backend(daemon, node).packets >= before + 2, deadline_s=20, what="two keep-alives")


def nothing(line: Line, daemon: Daemon, node: Node) -> None:
    """Nothing."""


@pytest.mark.parametrize("past", [nothing, long_words, keep_alives])
def test_halt_ends_a_silent_connection_at_its_server_whatever_was_said_before(
    lab: Lab, daemon: Daemon, past: Callable[[Line, Daemon, Node], None]
) -> None:
    client, node = lab.clients[0], lab.backends[0]
    with line_to(client, node) as line:
        past(line, daemon, node)
        assert connections_at(node, client=client) == 1
        with halted(daemon, node):
            wait_no_connection(node, client=client)
            assert is_reset(line)


def test_halt_ends_what_a_drain_had_left(lab: Lab, daemon: Daemon) -> None:
    client, (node, other) = lab.clients[0], lab.backends
    with line_to(client, node) as line:
        daemon.ctl("drain", f"{POOL}/{node.name}")
        assert line.is_alive
        with halted(daemon, node):
            assert is_reset(line)
            wait_no_connection(node, client=client)
            assert spread(client, 10).keys() == {other.name}


def test_halt_survives_restart_and_crash_of_the_daemon(lab: Lab, daemon: Daemon) -> None:
    client, (node, other) = lab.clients[0], lab.backends
    with halted(daemon, node):
        assert daemon.stop() == 0
        assert spread(client, 10).keys() == {other.name}
        daemon.start()
        assert backend(daemon, node).state == "halted"
        daemon.kill()
        daemon.start()
        assert backend(daemon, node).reason.startswith("halted by an operator")
        assert spread(client, 10).keys() == {other.name}
    assert node.name in spread(client)
