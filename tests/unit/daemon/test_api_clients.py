"""Clients of the control socket that do not do their part: they are not waited for, for there are only so many connections."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lbctl.core.targets import Target
from lbctl.daemon import sockets
from tests.unit.cli.canned import Canned
from tests.unit.daemon.served import served

PATIENCE_S = 0.05
DRAIN = b"POST /v1/backends/p/a/drain HTTP/1.1\r\nhost: lbctl\r\n\r\n"
UNFINISHED = {
    "before it": b"",
    "in its head": DRAIN[:-2],
    "in its body": b"PUT /v1/pools/p/assignments/::1 HTTP/1.1\r\nhost: lbctl\r\ncontent-length: 9\r\n\r\n{",
    "in the second one": DRAIN + DRAIN[:9],
}


class Slow(Canned):
    """Needs longer for a drain than a client may for its request, and says more of a halt than a socket holds."""

    async def drain(self, target: Target, *, spare_last: bool = False) -> str:
        await asyncio.sleep(4 * PATIENCE_S)  # what is awaited is the end of the patience
        return str(target)

    async def halt(self, target: Target) -> str:
        return str(target) * (1 << 20)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sockets, "PATIENCE_S", PATIENCE_S)
    with served(Slow(), tmp_path / "sock") as serving:
        yield serving


@pytest.fixture
def client(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.settimeout(4)  # less than what the server waits for another request after one
        opened.connect(str(path))
        yield opened


@pytest.mark.parametrize("said", UNFINISHED.values(), ids=UNFINISHED.keys())
def test_client_that_stops_in_its_request_is_sent_away(client: socket.socket, said: bytes) -> None:
    client.sendall(said)
    with suppress(ConnectionResetError):  # what it said last may not have been read
        while client.recv(4096):
            pass


def test_client_that_says_a_letter_at_a_time_is_sent_away_all_the_same(client: socket.socket) -> None:
    until = time.monotonic() + 10
    client.sendall(DRAIN[:-2] + b"x: ")
    answers = select.poll()
    answers.register(client, select.POLLIN)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while time.monotonic() < until:
            client.sendall(b"y")
            answers.poll(200 * PATIENCE_S)  # ms: the pause between two letters


def test_client_that_does_not_read_its_answer_is_sent_away(client: socket.socket) -> None:
    client.sendall(DRAIN.replace(b"drain", b"halt"))
    poller = select.poll()
    poller.register(client, select.POLLHUP)
    assert poller.poll(4000)


def test_client_that_asks_in_time_is_answered_however_long_that_takes(client: socket.socket) -> None:
    for _ in range(2):
        client.sendall(DRAIN)
        answer = b""
        while not answer.endswith(b"}"):
            more = client.recv(4096)
            assert more, answer
            answer += more
        assert answer.startswith(b"HTTP/1.1 200 ")


def test_client_whose_body_is_no_text_is_told_so(client: socket.socket) -> None:
    body = b'{"backend": "\xff"}'
    head = b"PUT /v1/pools/p/assignments/::1 HTTP/1.1\r\nhost: lbctl\r\ncontent-type: application/json\r\n"
    client.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
    assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
