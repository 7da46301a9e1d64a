"""Commands that are answered by something that is no daemon, or one of another version: they end, and say so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lbctl.cli import client
from lbctl.daemon.models import Done, EventStatus
from lbctl.errors import DaemonUnreachableError, LbctlError

OK = b"HTTP/1.1 200 OK\r\n"
PATIENCE_S = 10.0

Answer = Callable[[socket.socket], None]


@contextmanager
def answering(path: Path, answer: Answer) -> Iterator[Path]:
    """Something at that socket that takes one request."""

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            answer(connection)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        yield path
        thread.join(PATIENCE_S)


def saying(data: bytes) -> Answer:
    return lambda connection: connection.sendall(data)


def without_end(data: bytes) -> Answer:
    def talk(connection: socket.socket) -> None:
        while True:  # until the client hangs up
            connection.sendall(data)

    return talk


def letter_by_letter(connection: socket.socket) -> None:
    """Never silent for as long as a single time-out, never done."""
    connection.settimeout(0.02)
    connection.sendall(OK + b"content-length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        with suppress(TimeoutError):
            connection.recv(1)


@pytest.mark.parametrize(
    "said", [b"{}", b"[]", b"", b'{"message": 7}', b"\xff", b'{"message"', b'{"\\u001b[2J": 1}'], ids=range(7)
)
def test_answer_of_another_kind_is_an_error_in_words(tmp_path: Path, said: bytes) -> None:
    whole = OK + b"content-length: %d\r\n\r\n" % len(said) + said
    with answering(tmp_path / "sock", saying(whole)) as path, pytest.raises(LbctlError) as caught:
        client.post(path, "/v1/backends/p/a/drain", Done)
    assert caught.value.message.startswith("the daemon's answer is not understood: 1 faults, the first is ")
    assert caught.value.message.isprintable()
    assert "of another version" in caught.value.hint


def test_line_of_another_kind_is_an_error_in_words(tmp_path: Path) -> None:
    said = saying(OK + b'\r\n\n{"time": 1}\n')
    with answering(tmp_path / "sock", said) as path, pytest.raises(LbctlError, match="is not understood: "):
        list(client.stream(path, "/v1/events", EventStatus))


def test_refusal_in_no_words_of_ours_is_told_without_its_control_characters(tmp_path: Path) -> None:
    said = saying(b"HTTP/1.1 500 no\r\ncontent-length: 4\r\n\r\n\x1b[2J")
    with answering(tmp_path / "sock", said) as path, pytest.raises(LbctlError) as caught:
        client.post(path, "/v1/backends/p/a/drain", Done)
    assert caught.value.message == r"the daemon answered 500: '\x1b[2J'"


@pytest.mark.parametrize("head", [OK + b"\r\n", OK + b"transfer-encoding: chunked\r\n\r\n"], ids=["raw", "chunked"])
def test_answer_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr(client, "MAX_ANSWER", 1 << 20)

    def talk(connection: socket.socket) -> None:
        connection.sendall(head)
        without_end(b"1000\r\n" + b" " * 4096 + b"\r\n")(connection)

    with answering(tmp_path / "sock", talk) as path, pytest.raises(DaemonUnreachableError, match="more than 1 MiB"):
        client.post(path, "/v1/backends/p/a/drain", Done)


def test_line_without_an_end_is_given_up(tmp_path: Path) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(OK + b"\r\n")
        without_end(b" " * 4096)(connection)

    with (
        answering(tmp_path / "sock", talk) as path,
        pytest.raises(DaemonUnreachableError, match="a line of its answer"),
    ):
        list(client.stream(path, "/v1/events", EventStatus))


def test_answer_that_comes_letter_by_letter_is_waited_for_as_long_as_any(tmp_path: Path) -> None:
    with (
        answering(tmp_path / "sock", letter_by_letter) as path,
        pytest.raises(DaemonUnreachableError, match="timed out"),
    ):
        client.post(path, "/v1/backends/p/a/drain", Done, timeout_s=0.2)


def test_chunk_of_a_size_that_is_none_is_an_error_in_words(tmp_path: Path) -> None:
    said = saying(OK + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 100 + b"\r\n{}\r\n")
    with answering(tmp_path / "sock", said) as path, pytest.raises(DaemonUnreachableError, match="does not answer"):
        client.post(path, "/v1/backends/p/a/drain", Done)
