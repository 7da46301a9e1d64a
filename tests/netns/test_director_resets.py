"""Clients of a backend that dies are told at once: those that send, and those that only wait. Nobody else is."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from lbctl.core.tables import BackendState
from lbctl.errors import LabError
from lbctl.lab.daemon import Daemon
from lbctl.lab.namespaces import run_ip
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import (
    QUICK,
    TCP_PORT,
    Line,
    backend,
    configuration,
    directing,
    line_to,
    serving,
    spread,
    wait_state,
)
from tests.netns.pinned import PinnedBackends
from tests.netns.vanishing import PATIENCE_S, cut_off, moment_of, talk, vanished

TARGET_S = 0.05
DEADLINE_S = 10 * TARGET_S
SEEN_WITHIN_S = 0.1
"""The declaration is read from the kernel's table again and again, so a client may seem to know a little earlier."""
CHECK_PORT = 9000

DETACHED_SERVER = f"""
import socket, threading
def answer(connection):
    while line := connection.recv(100):
        connection.sendall(b"backend1 " + line)
listener = socket.create_server(("0.0.0.0", {TCP_PORT}), backlog=128)
while True:
    threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2)) as built:
        yield built


@pytest.fixture
def served(lab: Lab) -> Iterator[Lab]:
    with serving(lab.backends):
        yield lab


@contextmanager
def isolated(lab: Lab, node: Node) -> Iterator[None]:
    """The node's cable keeps its carrier, but the switch does not forward."""
    run_ip([f"link set {node.plan.port} nomaster"], namespace=lab.plan.switch)
    try:
        yield
    finally:
        run_ip([f"link set {node.plan.port} master br0"], namespace=lab.plan.switch)


def test_reset_reaches_waiting_and_sending_clients_of_a_host_that_vanished_and_no_other(
    served: Lab, record_property: Callable[[str, object], None]
) -> None:
    client, (dying, living) = served.clients[0], served.backends
    with (
        directing(served, configuration(dying, living)) as daemon,
        line_to(client, dying) as waiting,
        line_to(client, dying) as sending,
        line_to(client, living) as bystander,
        line_to(client, living) as quiet_bystander,
    ):
        silence = moment_of(lambda: quiet_bystander.wait(timeout_s=60))
        with vanished(served, dying, waiting=waiting, sending=sending) as timeline:
            print(f"\n{timeline}")
            record_property("timeline", str(timeline))
            for who in ("waiting", "sending"):
                assert -SEEN_WITHIN_S < timeline.after_declaration_s(who) < DEADLINE_S
            assert spread(client).keys() == {living.name}
            assert bystander.is_alive
            with Line(client, from_port=waiting.port) as moved:
                assert moved.backend == living.name
        wait_state(daemon, dying, "up")
        wait_until(lambda: dying.name in spread(client), deadline_s=10, what="new connections to go to it again")
        with Line(client, from_port=sending.port) as again:
            assert again.is_alive
        assert bystander.is_alive
        assert not silence.done()
        quiet_bystander.send()
        assert isinstance(silence.exception(timeout=10), LabError)  # an answer came, no reset
        assert "connections of dead or halted backends ended" in daemon.log.read_text()


def test_reset_never_leaves_a_waiting_client_alone_and_its_connection_goes_on_later(served: Lab) -> None:
    """Without lbctl's reset: the same client, the same cut, and nobody tells it before a time-out of its own."""
    client, (dying, living) = served.clients[0], served.backends
    config = configuration(dying, living, pool={"reset_on_down": "never"})
    with directing(served, config) as daemon, line_to(client, dying) as waiting, line_to(client, dying) as sending:
        began = time.monotonic()
        with cut_off(served, dying):
            silence = moment_of(lambda: talk(sending, for_s=PATIENCE_S))
            wait_until(lambda: _is_mute(daemon, dying), deadline_s=30, what="the evidence that others are reset for")
            known_s = time.monotonic() - began
            with pytest.raises(TimeoutError):
                waiting.wait(timeout_s=2 * DEADLINE_S)
            gave_up_s = time.monotonic() - began
            assert not silence.done()
            assert PinnedBackends(served.pins).state_of(dying) is BackendState.DOWN
        print(
            f"\n     0.0 ms  link cut\n{1000 * known_s:8.1f} ms  known to be gone, reset_on_down: never\n"
            f"{1000 * gave_up_s:8.1f} ms  waiting client: its own time-out; the sending client still sends"
        )
        wait_state(daemon, dying, "up")
        waiting.send()
        assert waiting.wait(timeout_s=10).startswith(dying.name.encode())
        assert not silence.done()


class Greeter:
    """Accepts connections on the check's port, until it is halted: then the port's queue is full, and probes time out."""

    def __init__(self, node: Node) -> None:
        self._node = node
        with node.enter():
            self._listener = socket.create_server(("0.0.0.0", CHECK_PORT), backlog=0)
        self._is_halted = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        self._listener.settimeout(0.05)
        while not self._is_halted.is_set():
            with suppress(TimeoutError):
                self._listener.accept()[0].close()

    def halt(self) -> None:
        self._is_halted.set()
        self._thread.join()

    def close(self) -> None:
        self.halt()
        self._listener.close()


def test_application_that_hangs_keeps_its_live_connections(served: Lab) -> None:
    client, (hanging, living) = served.clients[0], served.backends
    greeters = [Greeter(node) for node in served.backends]
    config = configuration(hanging, living, check={**QUICK, "port": CHECK_PORT})
    try:
        with directing(served, config) as daemon, line_to(client, hanging) as line, line_to(client, hanging) as quiet:
            greeters[0].halt()
            wait_state(daemon, hanging, "down")
            assert PinnedBackends(served.pins).state_of(hanging) is BackendState.DOWN
            assert all(line.is_alive for _ in range(20))
            with pytest.raises(TimeoutError):
                quiet.wait(timeout_s=0.5)
            assert spread(client).keys() == {living.name}
            assert line.is_alive
    finally:
        for greeter in greeters:
            greeter.close()


def test_server_process_that_is_killed_ends_its_connections_itself_and_new_ones_go_elsewhere(lab: Lab) -> None:
    client, (dying, living) = lab.clients[0], lab.backends
    process = dying.popen([sys.executable, "-c", DETACHED_SERVER])
    wait_until(lambda: dying.listens_on(TCP_PORT), deadline_s=20, what="the server to listen")
    try:
        with (
            serving([living]),
            directing(lab, configuration(dying, living)) as daemon,
            line_to(client, dying) as waiting,
            line_to(client, dying) as sending,
            line_to(client, living) as bystander,
        ):
            process.kill()
            assert waiting.wait(timeout_s=10) == b""  # a FIN: its kernel closed what the process left
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                talk(sending, for_s=10)
            wait_until(lambda: backend(daemon, dying).state == "down", deadline_s=10, what="it to be down")
            assert PinnedBackends(lab.pins).state_of(dying) is BackendState.DEAD
            assert spread(client).keys() == {living.name}
            assert bystander.is_alive
    finally:
        dying.end(process)


@pytest.mark.parametrize("way", ["its cable", "its switch"])
def test_director_that_is_cut_off_itself_resets_nobody(served: Lab, way: str) -> None:
    """At its cable it loses carrier; behind a switch that fails it does not, and only hears nobody."""
    client, nodes = served.clients[0], served.backends
    with (
        directing(served, configuration(*nodes)) as daemon,
        line_to(client, nodes[0]) as first,
        line_to(client, nodes[1]) as second,
    ):
        with (cut_off if way == "its cable" else isolated)(served, served.director):
            wait_until(lambda: all(_is_mute(daemon, node) for node in nodes), deadline_s=30, what="both to be mute")
            with pytest.raises(TimeoutError):  # several probes long, all unreachable
                first.wait(timeout_s=2)
        assert first.ask() == nodes[0].name
        assert second.is_alive
        for node in nodes:
            wait_state(daemon, node, "up")


def _is_mute(daemon: Daemon, node: Node) -> bool:
    return "its entry is failed" in backend(daemon, node).reason
