"""Commands that are answered by something that is no daemon, or one of another version: they end, and say so."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lbctl.cli import client
from lbctl.daemon.models import Done, EventStatus
from lbctl.errors import DaemonUnreachableError, LbctlError, UnansweredError

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
        client.get(path, "/v1/status", Done)
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


def test_change_that_is_not_answered_in_time_may_be_done_all_the_same(tmp_path: Path) -> None:
    is_over = threading.Event()
    with answering(tmp_path / "sock", lambda _: suppressed(is_over.wait(PATIENCE_S))) as path:
        with pytest.raises(DaemonUnreachableError, match="may be done all the same") as caught:
            client.post(path, "/v1/backends/p/a/drain", Done, timeout_s=0.1)
        is_over.set()
    assert caught.value.hint == "see what became of it: lbctl status; and see its log: journalctl -u lbctl"


def suppressed(_: object) -> None:
    """An answer that is none."""


def test_question_that_is_not_answered_is_not_said_to_be_done(tmp_path: Path) -> None:
    with answering(tmp_path / "sock", saying(b"")) as path, pytest.raises(DaemonUnreachableError) as caught:
        client.post(path, client.PLAN, Done)
    assert "may be done" not in caught.value.message


@pytest.mark.parametrize("command", [("drain", "p/a"), ("drain", "p/a", "--wait"), ("weight", "p/a", "7")])
def test_change_that_is_interrupted_before_the_answer_may_be_done_all_the_same(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    running: list[subprocess.Popen[str]] = []
    is_running = threading.Event()

    def press_ctrl_c(_: socket.socket) -> None:
        is_running.wait(PATIENCE_S)
        running[0].send_signal(signal.SIGINT)
        running[0].wait(PATIENCE_S)

    with answering(tmp_path / "sock", press_ctrl_c) as path:
        argv = [sys.executable, "-m", "lbctl", *command, "--socket", str(path)]
        running.append(subprocess.Popen(argv, stderr=subprocess.PIPE, text=True))
        is_running.set()
        _, said = running[0].communicate(timeout=6 * PATIENCE_S)
    assert running[0].returncode == 1
    assert said.startswith(
        "error: interrupted before the daemon answered; what it was asked for may be done all the same"
    )


ENDING = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 21\r\n\r\nInternal Server Error"
"""What a request gets that was under way when the daemon was told to end."""


def test_daemon_that_ends_at_a_question_is_one_that_does_not_answer(tmp_path: Path) -> None:
    with answering(tmp_path / "sock", saying(ENDING)) as path, pytest.raises(DaemonUnreachableError) as caught:
        client.get(path, "/v1/status", Done)
    assert caught.value.message == "the daemon answered 500: 'Internal Server Error'"


def test_daemon_that_ends_at_a_change_may_have_made_it(tmp_path: Path) -> None:
    with answering(tmp_path / "sock", saying(ENDING)) as path, pytest.raises(UnansweredError, match="may be done"):
        client.post(path, "/v1/backends/p/a/drain", Done)
