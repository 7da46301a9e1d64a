"""What answers on the control socket, should it not be a daemon, or one of another version."""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from pydantic import BaseModel

from lbctl.cli import client
from lbctl.daemon.models import Assignments, Done, EventStatus, Flows
from lbctl.errors import LbctlError
from tests.fuzz.fuzzer import Feed, Fuzzer
from tests.fuzz.mutation import mutated
from tests.unit.cli import sample_events, samples

_PATH = Path("lbctl.sock")


def _answer(body: bytes, *, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


_DONE = Done(message="p/a drained").model_dump_json().encode()
_BODIES = (
    _DONE,
    *(model.model_dump_json().encode() for model in (samples.flows(), samples.assignments(None))),
    b'{"message": "there is no backend p/x", "hint": "did you mean p/a?"}',
)
_LINES = b"\n" + b"".join(event.model_dump_json().encode() + b"\n" for event in sample_events.events()[:3])
_SEEDS = (
    *(_answer(body) for body in _BODIES),
    _answer(_BODIES[-1], status=b"404 Not Found"),
    _answer(b"Internal Server Error", status=b"500 no"),
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(_DONE), _DONE),
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(_LINES), _LINES),
    b"HTTP/1.0 200 OK\r\n\r\n" + _LINES,
)
_WORDS = (
    *(b"\r\n", b"\n", b"\r\n\r\n", b": ", b"HTTP/1.1 ", b"HTTP/0.9", b"100 Continue\r\n\r\n", b"204", b"304", b"-1"),
    *(b"ffffffff",),
    *(b"content-length: 99999999999999999999\r\n", b"content-length: -5\r\n", b"transfer-encoding: chunked\r\n"),
    *(b"0\r\n\r\n",),
    *(b"x: y\r\n" * 120, b"{", b"}", b"[" * 300, b"null", b'"\\ud800"', b"\x1b[2J", b"\x00", b"\xff", b"9" * 5000),
    *(b"A" * 70_000,),
)


def make(dice: Random) -> bytes:
    """An answer, spoilt."""
    return mutated(dice, _SEEDS, _WORDS)


class _Said:
    """A socket at whose other end all has been said."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def sendall(self, _data: bytes) -> None:
        """To nobody."""

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._data))

    def close(self) -> None:
        """Nothing to close."""


class _Connection(http.client.HTTPConnection):
    """To something that says what it was given, whatever it is asked."""

    said = b""

    def __init__(self, _path: Path, *, timeout_s: float = client.TIMEOUT_S) -> None:
        super().__init__("lbctl", timeout=timeout_s)

    def connect(self) -> None:
        self.sock: Any = _Said(self.said)

    def wait_on(self) -> None:
        """No time passes here."""


_ASKED: tuple[Callable[[], object], ...] = (
    lambda: client.post(_PATH, "/v1/backends/p/a/drain", Done),
    lambda: client.get(_PATH, "/v1/flows", Flows),
    lambda: client.get(_PATH, "/v1/assignments", Assignments),
    lambda: list(client.stream(_PATH, "/v1/events", EventStatus)),
)


def _feed(data: bytes) -> bool:
    """An answer of the right kind, or an error for people, without what a terminal would obey."""
    _Connection.said = data
    taken = 0
    for ask in _ASKED:
        try:
            found = ask()
        except LbctlError as error:
            assert len(error.message) + len(error.hint) < 10_000
            continue
        assert isinstance(found, BaseModel | list)
        taken += 1
    return taken > 0


@contextmanager
def _opened() -> Iterator[Feed]:
    with patch.object(client, "_UnixConnection", _Connection):
        yield _feed


FUZZERS = (Fuzzer(name="cli-answer", make=make, opened=_opened),)
