"""A backend that is full because of connections whose end passed the director by: its silent clients are asked."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import RARE, TCP_PORT, backend, configuration, directing
from tests.netns.pinned import PinnedFlow, hz_of

PATIENCE_S = 5.0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One backend; its server is the test's."""
    with Lab(plan_lab(backends=1)) as built:
        yield built


class Server:
    """Accepts connections and keeps them until it is told to reset one."""

    def __init__(self, node: Node) -> None:
        with node.enter():
            self.listener = socket.create_server(("0.0.0.0", TCP_PORT))
        self.listener.settimeout(PATIENCE_S)

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE_S)
        return connection


def connect(client: Node) -> socket.socket:
    with client.enter():
        return socket.create_connection((str(VIP), TCP_PORT), timeout=PATIENCE_S)


def is_refused(client: Node) -> bool:
    try:
        connect(client).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # at its first ACK
        return True
    return False


def reset(connection: socket.socket) -> None:
    """As a server does that is killed with unread data."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def flow_of(lab: Lab, connection: socket.socket) -> PinnedFlow:
    """Just after a packet of the client's."""
    connection.sendall(b"x")
    return PinnedFlow(
        lab.pins, client=lab.clients[0].address, port=connection.getsockname()[1], vip=VIP, vip_port=TCP_PORT
    )


@pytest.fixture
def daemon(lab: Lab) -> Iterator[tuple[Daemon, Server]]:
    server = Server(lab.backends[0])
    config = configuration(*lab.backends, check=RARE, pool={"connection_limit": 2})
    with server.listener, directing(lab, config) as running:
        server.accept().close()  # the check
        yield running, server


def test_connection_that_its_server_reset_gives_its_place_back_and_a_silent_one_that_lives_keeps_it(
    lab: Lab, daemon: tuple[Daemon, Server]
) -> None:
    running, server = daemon
    client = lab.clients[0]
    wait_until(lambda: hz_of(lab.pins) > 0, deadline_s=20, what="the daemon to have measured the kernel's clock")
    with ExitStack() as open_ones:
        ended, living = (open_ones.enter_context(connect(client)) for _ in range(2))
        at_server = [server.accept(), server.accept()]
        flows = [flow_of(lab, connection) for connection in (ended, living)]
        assert is_refused(client)
        assert backend(running, lab.backends[0].name).state == "full"

        assert at_server[0].recv(1) == b"x"
        reset(at_server[0])
        with pytest.raises(ConnectionResetError):
            ended.recv(1)
        assert is_refused(client)  # for all that the director saw

        def has_room() -> bool:
            for flow in flows:
                flow.make_idle(60.0)
            return not is_refused(client)

        wait_until(has_room, deadline_s=60, what="the place of the connection that is no more")
        assert at_server[1].recv(1) == b"x"
        at_server[1].sendall(b"y")
        assert living.recv(1) == b"y"
        assert flows[1].exists
