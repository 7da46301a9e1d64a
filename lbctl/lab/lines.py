"""TCP connections that are kept: servers that answer every line with their own name, and clients that notice who answers.

The servers' sockets are a node's and their threads ours, so that hundreds of connections cost a lab nothing.
"""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Self

from lbctl.core.model import Address
from lbctl.errors import LabError
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP

TCP_PORT = 8042
_ATTEMPTS = 200


class LineServer:
    """Answers every line with a name before it, from its construction until `close`."""

    def __init__(self, node: Node, *, port: int = TCP_PORT, name: str | None = None) -> None:
        with node.enter():
            self._server = _TcpServer(port, name or node.name)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def resets(self) -> tuple[float, ...]:
        """When connections were reset by the other side, as far as it noticed (monotonic seconds)."""
        return tuple(self._server.resets)

    def close(self) -> None:
        """Take no more connections; those that there are live on."""
        self._server.shutdown()
        self._server.server_close()


class _TcpServer(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, port: int, name: str) -> None:
        self.greeting = f"{name} ".encode()
        self.resets: list[float] = []
        super().__init__(("::", port), _Lines)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # clients of both families
        super().server_bind()


class _Lines(socketserver.StreamRequestHandler):
    server: _TcpServer

    def handle(self) -> None:
        try:
            for line in self.rfile:
                self.wfile.write(self.server.greeting + line)
        except ConnectionResetError:
            self.server.resets.append(time.monotonic())
        except OSError:
            pass

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()


class Line:
    """A client's TCP connection to a VIP, kept open; ``backend`` is the name of the server that answers."""

    def __init__(
        self,
        client: Node,
        *,
        vip: Address = VIP,
        port: int = TCP_PORT,
        source: Address | None = None,
        from_port: int = 0,
        timeout_s: float = 5.0,
    ) -> None:
        """``source`` is one of the client's addresses, if that matters."""
        own = str(source) if source else ""
        with client.enter():
            self._socket = socket.create_connection((str(vip), port), timeout_s, (own, from_port))
        self._reader = self._socket.makefile("rb")
        self.client_port: int = self._socket.getsockname()[1]
        self.backend = self.ask()

    def ask(self) -> str:
        """Send a line; the name in the answer. `OSError` (`TimeoutError`) if none comes."""
        return self.echo(b"who\n").decode().partition(" ")[0]

    def echo(self, line: bytes) -> bytes:
        """Send a line; the whole answer."""
        self._socket.sendall(line)
        return self._reader.readline()

    def send(self) -> None:
        """Send a line without waiting for an answer."""
        self._socket.sendall(b"who\n")

    def keep_alive(self) -> None:
        """Let the client's kernel ask every second whether the server lives, while nobody says anything (RFC 9293, 3.8.4)."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)

    def wait(self, *, timeout_s: float) -> bytes:
        """Say nothing and wait for what comes: empty at the end. `ConnectionResetError`, or `TimeoutError` if nothing comes."""
        self._socket.settimeout(timeout_s)
        return self._socket.recv(100)

    @property
    def port(self) -> int:
        """The client's port."""
        number: int = self._socket.getsockname()[1]
        return number

    @property
    def is_alive(self) -> bool:
        """Whether the same server answers as at the beginning."""
        return self.ask() == self.backend

    def close(self) -> None:
        """End it in order."""
        self._reader.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def spread(client: Node, count: int = 30, *, vip: Address = VIP, port: int = TCP_PORT) -> Counter[str]:
    """Which backends answered so many new connections."""
    found: Counter[str] = Counter()
    for _ in range(count):
        with Line(client, vip=vip, port=port) as line:
            found[line.backend] += 1
    return found


def line_to(client: Node, backend: str, *, vip: Address = VIP, port: int = TCP_PORT, timeout_s: float = 5.0) -> Line:
    """A connection that goes to the backend of that name; `LabError` if none of many does."""
    for _ in range(_ATTEMPTS):
        line = Line(client, vip=vip, port=port, timeout_s=timeout_s)
        if line.backend == backend:
            return line
        line.close()
    raise LabError(f"{_ATTEMPTS} connections to {vip}:{port}, and none went to {backend}")
