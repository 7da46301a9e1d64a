"""Small TCP servers for a lab's backends, cheap enough for thousands of connections and for gigabytes.

``python -m tests.acceptance.peers names --port P --name N`` answers every message with its own name and the message;
``sink`` reads until the client has finished and answers with its name, the bytes that it read and their SHA-256;
``moody`` is a load agent that says something else each time it is asked.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import resource
import socket
import subprocess
import sys
from contextlib import suppress
from ipaddress import IPv4Address
from itertools import cycle
from typing import Any

from lbctl.core.model import Address
from lbctl.lab.node import Node
from lbctl.lab.wait import wait_until

_CHUNK = 1 << 18
_TIMEOUT_S = 30.0
_MOODS = (b"95%\n", b"20%\n", b"60%\n", b"35%\n", b"100%\n")


class Visit:
    """A connection from a client to a ``names`` server, which tells who serves it as often as it is asked."""

    def __init__(self, client: Node, address: IPv4Address, port: int, *, source: Address | None = None) -> None:
        """``source`` is one of the client's own addresses, if it has several."""
        with client.enter():
            own = (str(source), 0) if source else None
            self._socket = socket.create_connection((str(address), port), timeout=_TIMEOUT_S, source_address=own)
        own_address, own_port = self._socket.getsockname()
        self.end = IPv4Address(own_address), int(own_port)

    def ask(self) -> str:
        """The name of the server at the other end. `OSError` if the connection broke."""
        self._socket.sendall(b"?\n")
        answer = b""
        while not answer.endswith(b"\n"):
            data = self._socket.recv(256)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            answer += data
        return answer.decode().split()[0]

    def close(self) -> None:
        """End it in order."""
        self._socket.close()


def start(node: Node, kind: str, *, port: int) -> subprocess.Popen[Any]:
    """Start one of the servers on a node, under the node's name, and wait until it listens."""
    argv = [sys.executable, "-m", "tests.acceptance.peers", kind, "--port", str(port), "--name", node.name]
    process = node.popen(argv)
    wait_until(lambda: node.listens_on(port), deadline_s=20, what=f"the {kind} server of {node.name}")
    return process


class _Names(asyncio.Protocol):
    def __init__(self, name: str) -> None:
        self._name = name.encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._name + b" " + data)


async def _serve_names(port: int, name: str) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Names(name), "0.0.0.0", port, backlog=1024)
    await server.serve_forever()


async def _serve_moods(port: int) -> None:
    moods = cycle(_MOODS)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(next(moods))
        writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", port)
    await server.serve_forever()


def _serve_sink(port: int, name: str) -> None:
    with socket.create_server(("0.0.0.0", port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection, suppress(OSError):  # a probe does not wait for the answer
                connection.sendall(f"{name} {_swallow(connection)}\n".encode())


def _swallow(connection: socket.socket) -> str:
    digest, received, buffer = hashlib.sha256(), 0, memoryview(bytearray(_CHUNK))
    while count := connection.recv_into(buffer):
        digest.update(buffer[:count])
        received += count
    return f"{received} {digest.hexdigest()}"


def raise_file_limit() -> None:
    """Let this process have as many connections as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description="A server for the acceptance tests.")
    parser.add_argument("kind", choices=("names", "sink", "moody"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    arguments = parser.parse_args()
    raise_file_limit()
    if arguments.kind == "names":
        asyncio.run(_serve_names(arguments.port, arguments.name))
    elif arguments.kind == "moody":
        asyncio.run(_serve_moods(arguments.port))
    else:
        _serve_sink(arguments.port, arguments.name)


if __name__ == "__main__":
    main()
