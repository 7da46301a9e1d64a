"""What is said on the control socket: bytes, through the whole of the server as the daemon runs it, to the application."""

from __future__ import annotations

import asyncio
import logging
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from lbctl.daemon.api import make_api
from lbctl.daemon.audit import AuditLog
from lbctl.daemon.requests import MAX_BODY
from lbctl.daemon.sockets import PeerProtocol
from tests.fuzz.fuzzer import Feed, Fuzzer
from tests.fuzz.mutation import mutated
from tests.unit.cli.canned import Canned

_PATIENCE_S = 8.0
"""Some work is done in threads, which have to wait for a processor."""
_WHOLE_BODY = b'{"backend": "a"}'


def _request(line: bytes, body: bytes | None = None, *more: bytes) -> bytes:
    told = (b"content-type: application/json", b"content-length: %d" % len(body)) if body is not None else ()
    return b"\r\n".join([line + b" HTTP/1.1", b"host: lbctl", *told, *more, b"", body or b""])


_PUT = b"PUT /v1/pools/p/assignments/192.0.2.201"
_SEEDS = (
    *(_request(b"POST /v1/backends/p/a/" + verb) for verb in (b"drain", b"halt", b"enable", b"activate")),
    *(_request(_PUT, body) for body in (_WHOLE_BODY, b'{"backend": "a", "weight": 1}', b" " * (MAX_BODY + 1))),
    _request(b"DELETE /v1/pools/p/assignments/2001:db8::c9"),
    _request(_PUT, None, b"transfer-encoding: chunked", b"", b"10\r\n" + _WHOLE_BODY + b"\r\n0"),
    _request(_PUT, _WHOLE_BODY, b"expect: 100-continue"),
    _request(b"POST /v1/backends/p/a/drain") * 3,
    _request(b"GET /v1/nothing"),
    _request(b"GET /v1/status?x=y", None, b"connection: close"),
)
_WORDS = (
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\xff", b"/", b"..", b"?", b"#", b"{", b"}", b"[", b"a" * 64),
    *(b"%2f", b"%00", b"%0a", b"%ff", b"fe80::1%25eth0", b"::ffff:1.2.3.4", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE"),
    *(b"HTTP/1.0", b"HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"x: y\r\n" * 200, b"x: %s\r\n" % (b"y" * 70_000)),
    *(b"content-length: %s\r\n" % number for number in (b"5", b"-1", b"9" * 20, b"9" * 5000)),
    *(b"transfer-encoding: chunked\r\n", b"transfer-encoding: gzip\r\n", b"expect: 100-continue\r\n"),
    *(b"connection: upgrade\r\nupgrade: websocket\r\n", b"connection: close\r\n", b'"backend"', b"null", b"1e999"),
    *(b'"\\ud800"', b'"\\u0000"', b"[" * 2000),
)


def make(dice: Random) -> bytes:
    """A request, or a few behind each other, spoilt."""
    return mutated(dice, _SEEDS, _WORDS)


class _Transport(asyncio.Transport):
    """Keeps what is written to a client whose end is ``client``."""

    def __init__(self, client: socket.socket) -> None:
        super().__init__({"socket": client, "sockname": "", "peername": ""})
        self.written = bytearray()
        self._is_closing = False

    def write(self, data: Any) -> None:
        assert not self._is_closing
        self.written += data

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True

    abort = close

    def pause_reading(self) -> None:
        """All is here already."""

    resume_reading = pause_reading


@contextmanager
def _opened() -> Iterator[Feed]:
    """The application on a loop that turns while an input is worked on."""
    logging.disable(logging.CRITICAL)  # the noise of refusals
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory, asyncio.Runner() as runner, ours, theirs:
        config = uvicorn.Config(
            make_api(Canned(), AuditLog(Path(directory))), ws="none", lifespan="off", log_config=None, access_log=False
        )
        config.load()
        yield lambda data: runner.run(_served(data, config, ours))
    logging.disable(logging.NOTSET)


async def _served(data: bytes, config: uvicorn.Config, client: socket.socket) -> bool:
    """One connection: every request is answered, none with a failure, and nothing of it is left."""
    state = ServerState()
    protocol, transport = PeerProtocol(config, state, {}), _Transport(client)
    protocol.connection_made(transport)
    if data:  # nothing at all is never received
        protocol.data_received(data)
    await _settled(state, protocol)
    protocol.connection_lost(None)
    await _settled(state, None)
    statuses = [int(line[9:12]) for line in bytes(transport.written).split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert all(100 <= status < 500 for status in statuses)
    assert not state.connections
    return any(status == 200 for status in statuses)


async def _settled(state: ServerState, protocol: PeerProtocol | None) -> None:
    """Until nobody works on a request any more, but perhaps waits for the rest of it."""
    deadline = time.thread_time() + _PATIENCE_S  # of the processor, which may be busy
    while time.thread_time() < deadline:
        waits = protocol is not None and protocol.cycle is not None and protocol.cycle.more_body
        if not state.tasks:
            return
        await asyncio.sleep(0)
        if waits and protocol is not None and not protocol.cycle.message_event.is_set():
            return
    raise AssertionError("a request is never done with")


FUZZERS = (Fuzzer(name="api-request", make=make, opened=_opened),)
