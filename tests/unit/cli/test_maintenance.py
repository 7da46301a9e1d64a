"""Maintenance: what is asked of the daemon, and what a person sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lbctl.cli import maintenance
from lbctl.cli.client import post
from lbctl.daemon.models import Done
from lbctl.errors import DaemonUnreachableError
from tests.unit.cli.fleet import Clock, Fleet, Server, two_hosts
from tests.unit.cli.running import Ended

QUICKLY = ("--yes", "--hold", "5m", "--timeout", "1m", "--slow-start", "60s")


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
    assert clock.now >= 600
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

    monkeypatch.setattr(maintenance, "time", SimpleNamespace(sleep=press_ctrl_c))
    fleet = two_hosts()
    ended = ask(fleet, "maintenance", "p", *QUICKLY)
    assert ended.code == 1
    assert ended.out.splitlines()[-2:] == ["host 192.0.2.11: drained and empty", "host 192.0.2.12: not begun"]
    assert ended.err == (
        "error: maintenance was stopped; nothing is undone by itself\n  hint: lbctl enable 192.0.2.11\n"
    )


def test_maintenance_that_gets_no_answer_to_a_drain_does_not_say_that_it_was_not_begun(
    ask: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def times_out(socket: Path, resource: str, answer: type[Done], **named: object) -> Done:
        post(socket, resource, answer)
        raise DaemonUnreachableError("the daemon does not answer: timed out", hint="see its log")

    monkeypatch.setattr(maintenance, "post", times_out)
    fleet = two_hosts()
    ended = ask(fleet, "maintenance", "p", *QUICKLY)
    assert (ended.code, fleet.told) == (1, ["drain host 192.0.2.11"])
    assert "host 192.0.2.11: perhaps drained, for the daemon has not answered" in ended.out
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
