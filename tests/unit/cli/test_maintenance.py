"""Maintenance: what is asked of the daemon, and what a person sees."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lbctl.cli import maintenance
from lbctl.cli.client import post
from lbctl.daemon.models import Done
from lbctl.errors import DaemonUnreachableError, LbctlError, UnansweredError
from tests.unit.cli.fleet import Clock, Fleet, Server, two_hosts
from tests.unit.cli.running import Ended
from tests.unit.daemon.served import served

QUICKLY = ("--yes", "--hold", "1m", "--timeout", "1m", "--slow-start", "60s")


def test_maintenance_takes_one_host_after_the_other_and_waits_for_its_full_share(
    ask: Callable[..., Ended], clock: Clock
) -> None:
    fleet = two_hosts()
    ended = ask(fleet, "maintenance", "p", *QUICKLY)
    assert (ended.code, ended.err) == (0, "")
    assert fleet.told == [
        *("drain host 192.0.2.11", "enable host 192.0.2.11 in 60 s"),
        *("drain host 192.0.2.12", "enable host 192.0.2.12 in 60 s"),
    ]
    assert fleet.most_drained == 1
    assert clock.now >= 120
    lines = ended.out.splitlines()
    assert lines.index("p/a: up, slow start, 70 %") < lines.index("p/a: up") < lines.index("drain host 192.0.2.12")
    assert lines[-1] == "maintenance is over: all 2 take their full share again"


def test_maintenance_stops_at_the_first_that_does_not_become_empty_and_tells_each_state(
    ask: Callable[..., Ended],
) -> None:
    fleet = two_hosts(is_stuck=True)
    ended = ask(fleet, "maintenance", "192.0.2.11", "192.0.2.12", *QUICKLY)
    assert ended.code == 1
    assert ended.out.splitlines()[-2:] == ["host 192.0.2.11: drained, with connections", "host 192.0.2.12: not begun"]
    assert ended.err == (
        "error: maintenance stopped: not empty after 60 s (p/a: 3 connections left); the drain stays\n"
        "  hint: lbctl enable 192.0.2.11\n"
    )
    assert fleet.told == ["drain host 192.0.2.11"]


def test_maintenance_stops_at_a_host_that_does_not_come_back(ask: Callable[..., Ended]) -> None:
    fleet = two_hosts()

    def break_down() -> None:
        if fleet.told:
            fleet.servers[0].state = "down"

    fleet.meanwhile = break_down
    ended = ask(fleet, "maintenance", "p", *QUICKLY)
    assert ended.code == 1
    assert "host 192.0.2.11: enabled, but not all of it is back" in ended.out
    assert "it is enabled, but not back (p/a: down: drained by an operator)" in ended.err
    assert "drain host 192.0.2.12" not in fleet.told


def test_maintenance_that_is_interrupted_leaves_all_as_it_is_and_says_so(
    ask: Callable[..., Ended], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press_ctrl_c(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(maintenance, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=press_ctrl_c))
    fleet = two_hosts()
    ended = ask(fleet, "maintenance", "p", *QUICKLY)
    assert ended.code == 1
    assert ended.out.splitlines()[-2:] == ["host 192.0.2.11: drained and empty", "host 192.0.2.12: not begun"]
    assert ended.err == (
        "error: maintenance was stopped; nothing is undone by itself\n  hint: lbctl enable 192.0.2.11\n"
    )


def test_maintenance_tells_at_once_that_somebody_enabled_the_host_that_is_held(
    ask: Callable[..., Ended], clock: Clock
) -> None:
    fleet = two_hosts()
    fleet.meanwhile = lambda: setattr(
        fleet.servers[0], "override", fleet.servers[0].override if clock.now < 9 else None
    )
    ended = ask(fleet, "maintenance", "192.0.2.11", *QUICKLY)
    assert (ended.code, fleet.told) == (1, ["drain host 192.0.2.11"])
    assert clock.now < 20
    assert "maintenance stopped: p/a takes new connections: somebody ended the drain, or changed" in ended.err


def test_maintenance_without_a_hold_goes_on_at_enter_and_stops_where_nobody_is_any_more(tmp_path: Path) -> None:
    for pressed, told in (
        (b"\n", ["drain host 192.0.2.12", "enable host 192.0.2.12"]),
        (b"\x04", ["drain host 192.0.2.12"]),
    ):
        fleet = two_hosts()
        keyboard, terminal = pty.openpty()
        with served(fleet, tmp_path / "sock") as path, os.fdopen(keyboard, "wb", buffering=0) as keys:
            argv = [sys.executable, "-m", "lbctl", "maintenance", "192.0.2.12", "--yes", "--socket", str(path)]
            with subprocess.Popen(argv, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
                os.close(terminal)
                assert running.stdout is not None
                lines = iter(running.stdout.readline, b"")
                assert any(b"then press Enter to bring it back" in line for line in lines)
                keys.write(pressed)
                rest = b"".join(lines)
        assert (running.returncode == 0, fleet.told) == (len(told) == 2, told), rest


def test_maintenance_that_gets_no_answer_to_a_drain_does_not_say_that_it_was_not_begun(
    ask: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def times_out(socket: Path, resource: str, answer: type[Done], **named: object) -> Done:
        post(socket, resource, answer)
        raise UnansweredError("the daemon does not answer: timed out", hint="see its log")

    monkeypatch.setattr(maintenance, "post", times_out)
    fleet = two_hosts()
    ended = ask(fleet, "maintenance", "p", *QUICKLY)
    assert (ended.code, fleet.told) == (1, ["drain host 192.0.2.11"])
    assert "host 192.0.2.11: perhaps drained, for the daemon has not answered" in ended.out
    assert "hint: lbctl enable 192.0.2.11\n" in ended.err


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (DaemonUnreachableError("no lbctl daemon answers"), "drained and empty"),
        (UnansweredError("the daemon does not answer"), "perhaps enabled, for the daemon has not answered"),
    ],
)
def test_maintenance_that_gets_no_answer_to_an_enable_says_what_is_known(
    ask: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, error: LbctlError, state: str
) -> None:
    def refuses_to_enable(socket: Path, resource: str, answer: type[Done], **named: object) -> Done:
        if "enable" in resource:
            raise error
        return post(socket, resource, answer)

    monkeypatch.setattr(maintenance, "post", refuses_to_enable)
    ended = ask(two_hosts(), "maintenance", "p", *QUICKLY)
    assert ended.code == 1
    assert f"host 192.0.2.11: {state}" in ended.out
    assert "hint: lbctl enable 192.0.2.11\n" in ended.err


def test_maintenance_that_would_leave_nobody_is_refused_by_the_daemon_unless_forced(
    ask: Callable[..., Ended],
) -> None:
    fleet = Fleet(Server(pool="p", name="a", host=11))
    ended = ask(fleet, "maintenance", "192.0.2.11", *QUICKLY)
    assert (ended.code, fleet.told) == (1, [])
    assert "host 192.0.2.11: not begun" in ended.out
    assert "error: maintenance stopped: nobody else, so host 192.0.2.11 was not drained" in ended.err
    assert ask(fleet, "maintenance", "192.0.2.11", *QUICKLY, "--force").code == 0


def test_maintenance_leaves_alone_what_was_drained_before(ask: Callable[..., Ended]) -> None:
    fleet = two_hosts(override="drained")
    ended = ask(fleet, "maintenance", "p", *QUICKLY)
    assert (ended.code, ended.out, fleet.told) == (1, "", [])
    assert "p/a is drained already, and would be enabled in the end" in ended.err


def test_maintenance_stops_before_a_host_that_somebody_drained_meanwhile(ask: Callable[..., Ended]) -> None:
    fleet = two_hosts()
    fleet.meanwhile = lambda: setattr(fleet.servers[2], "override", "drained" if fleet.told else None)
    ended = ask(fleet, "maintenance", "p", *QUICKLY)
    assert (ended.code, fleet.told) == (1, ["drain host 192.0.2.11", "enable host 192.0.2.11 in 60 s"])
    assert ended.out.splitlines()[-2:] == ["host 192.0.2.11: done", "host 192.0.2.12: not begun"]
    assert "maintenance stopped: p/b is drained already, and would be enabled in the end" in ended.err


def test_maintenance_does_not_wait_for_what_was_down_before(ask: Callable[..., Ended]) -> None:
    ended = ask(two_hosts(state="down"), "maintenance", "192.0.2.11", *QUICKLY)
    assert ended.code == 0
    assert "note: p/a is down (drained by an operator): that it comes up is not waited for" in ended.out
    end = "maintenance is over: host 192.0.2.11 takes its full share again, but for what was not up before: p/a\n"
    assert ended.out.endswith(end)
