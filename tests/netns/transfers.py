"""Bulk transfers whose both ends count and compare: a server that gives and takes bytes, and clients that ask it to."""

from __future__ import annotations

import hashlib
import random
import socket
import socketserver
import threading
from contextlib import suppress

from lbctl.core.model import Address
from lbctl.lab.lines import TCP_PORT
from lbctl.lab.node import Node

CHUNK = random.Random(4).randbytes(1 << 20)
"""What is sent again and again."""


class TransferServer:
    """Gives and takes bytes on a node until `close`. Its socket is the node's, its threads ours."""

    def __init__(self, node: Node, *, port: int = TCP_PORT) -> None:
        with node.enter():
            self._server = _Server(port, node.name)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def given(self) -> int:
        """Bytes that it gave so far, over all connections: what its applications wrote, the first line's answer included."""
        with self._server.lock:
            return self._server.given

    def close(self) -> None:
        """Take no more connections."""
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, port: int, name: str) -> None:
        self.greeting = f"{name}\n".encode()
        self.lock = threading.Lock()
        self.given = 0
        super().__init__(("::", port), _Transfer)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Transfer(socketserver.StreamRequestHandler):
    """``give N`` is answered with N bytes, ``take N`` and N bytes with their SHA-256; a line without either with the name."""

    server: _Server

    def handle(self) -> None:
        with suppress(OSError):
            for line in self.rfile:
                what, _, count = line.decode().strip().partition(" ")
                if what == "give":
                    self._give(int(count))
                elif what == "take":
                    self._say(f"{self._digest(int(count))}\n".encode())
                else:
                    self._say(self.server.greeting)

    def _give(self, count: int) -> None:
        left = count
        while left:
            piece = CHUNK[: min(left, len(CHUNK))]
            self._say(piece)
            left -= len(piece)

    def _say(self, piece: bytes) -> None:
        self.connection.sendall(piece)
        with self.server.lock:
            self.server.given += len(piece)

    def _digest(self, count: int) -> str:
        found, left = hashlib.sha256(), count
        while left and (piece := self.rfile.read(min(left, len(CHUNK)))):
            found.update(piece)
            left -= len(piece)
        return found.hexdigest()


class Transfer:
    """A client's connection to a `TransferServer`; ``server`` is the name of the one that answered."""

    def __init__(self, client: Node, *, vip: Address, port: int = TCP_PORT, timeout_s: float = 60.0) -> None:
        with client.enter():
            self.socket = socket.create_connection((str(vip), port), timeout_s)
        self._reader = self.socket.makefile("rb")
        self.socket.sendall(b"who\n")
        self.server = self._reader.readline().decode().strip()

    def get(self, count: int) -> int:
        """Have so many bytes sent; how many came."""
        self.socket.sendall(f"give {count}\n".encode())
        buffer, got = memoryview(bytearray(len(CHUNK))), 0
        while got < count and (more := self._reader.readinto1(buffer[: count - got])):
            got += more
        return got

    def put(self, count: int) -> bool:
        """Send so many bytes; whether the server's checksum of them is ours."""
        self.socket.sendall(f"take {count}\n".encode())
        found, left = hashlib.sha256(), count
        while left:
            piece = CHUNK[: min(left, len(CHUNK))]
            self.socket.sendall(piece)
            found.update(piece)
            left -= len(piece)
        return self._reader.readline().decode().strip() == found.hexdigest()

    def close(self) -> None:
        """End it in order."""
        self._reader.close()
        self.socket.close()


def transfer_to(client: Node, server: str, *, vip: Address) -> Transfer:
    """A connection that goes to the server of that name."""
    for _ in range(200):
        found = Transfer(client, vip=vip)
        if found.server == server:
            return found
        found.close()
    raise AssertionError(f"200 connections to {vip}, and none went to {server}")
