"""Weights, waiting for backends to become empty, and maintenance: what is asked of the daemon, and what a person sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from lbctl.cli import maintenance, waiting
from lbctl.cli.client import post
from lbctl.daemon.models import Done
from lbctl.errors import DaemonUnreachableError
from tests.unit.cli.canned import Canned
from tests.unit.cli.fleet import Clock, Fleet, Server
from tests.unit.cli.running import Ended, run
from tests.unit.daemon.served import served


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    for module in (waiting, maintenance):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=found.monotonic, sleep=found.sleep))
    return found


@pytest.fixture(scope="module")
def canned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with served(Canned(), tmp_path_factory.mktemp("canned") / "sock") as path:
        yield path


def two_hosts(**first: object) -> Fleet:
    """The first one in two pools, with three connections."""
    return Fleet(
        Server(pool="p", name="a", host=11, connections=3, **first),  # type: ignore[arg-type]
        Server(pool="q", name="w", host=11),
        Server(pool="p", name="b", host=12),
        Server(pool="q", name="x", host=12, connections=1),
    )


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Ended]:
    """Run a command against a fleet."""

    def asked(fleet: Fleet, *arguments: str) -> Ended:
        with served(fleet, tmp_path / "sock") as path:
            return run(*arguments, "--socket", path)

    return asked


# What is asked --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("drain", "p"), "drain pool p"),
        (("halt", "192.0.2.11"), "halt host 192.0.2.11"),
        (("enable", "2001:db8::c9"), "enable host 2001:db8::c9"),
        (("enable", "p/a", "--slow-start", "2m"), "enable p/a in 120 s"),
        (("weight", "p/a", "50"), "weigh p/a 50"),
        (("weight", "p", "0"), "weigh pool p 0"),
        (("weight", "192.0.2.11", "256"), "weigh host 192.0.2.11 256"),
        (("weight", "p/a", "default"), "weigh p/a None"),
    ],
)
def test_command_reaches_the_daemon_as_it_was_meant(canned: Path, arguments: tuple[str, ...], told: str) -> None:
    assert run(*arguments, "--socket", canned) == Ended(code=0, out=f"{told}\n", err="")


@pytest.mark.parametrize("weight", ["257", "-1", "1.5", "", "none", "9" * 5000, "0000000000999", "٣"])
def test_weight_that_is_none_is_refused_before_the_daemon_is_asked(weight: str, tmp_path: Path) -> None:
    ended = run("weight", "--socket", tmp_path / "none", "--", "p/a", weight)
    assert ended.code == 2
    assert "write a whole number from 0 to 256, or default" in ended.err


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("enable", "p/a", "--slow-start", "60"), "'60' is not a duration"),
        (("enable", "p/a", "--slow-start", "0s"), "0s is out of range"),
        (("drain", "p/a", "--timeout", "10m"), "say --wait, too"),
        (("maintenance", "p/a"), "this is no terminal"),
        (("maintenance",), "Missing argument"),
    ],
)
def test_command_line_that_makes_no_sense_says_what_to_write(
    arguments: tuple[str, ...], fault: str, tmp_path: Path
) -> None:
    ended = run(*arguments, "--socket", tmp_path / "none")
    assert ended.code == 2
    assert fault in ended.err


# Waiting --------------------------------------------------------------------------------------------------------------


def test_drain_that_waits_tells_each_number_once_and_ends_when_all_are_empty(ask: Callable[..., Ended]) -> None:
    ended = ask(two_hosts(), "drain", "192.0.2.11", "--wait")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "drain host 192.0.2.11",
        "p/a: 3 connections left",
        "q/w: nobody is connected",
        "p/a: 2 connections left",
        "p/a: 1 connection left",
        "p/a: nobody is connected",
        "host 192.0.2.11: nobody is connected any more",
    ]


def test_drain_that_waits_in_vain_ends_with_one_and_says_that_it_stays(ask: Callable[..., Ended], clock: Clock) -> None:
    fleet = two_hosts(is_stuck=True)
    ended = ask(fleet, "drain", "192.0.2.11", "--wait", "--timeout", "90s")
    assert ended.code == 1
    assert ended.err.startswith("error: not empty after 90 s: 3 connections at p/a; the drain stays\n  hint: ")
    assert "lbctl enable 192.0.2.11 ends the drain" in ended.err
    assert clock.now >= 90
    assert fleet.servers[0].override == "drained"


def test_drain_that_somebody_ends_meanwhile_is_not_waited_for(ask: Callable[..., Ended]) -> None:
    fleet = two_hosts(is_stuck=True)

    def enable() -> None:
        fleet.servers[0].override = None

    fleet.meanwhile = enable
    ended = ask(fleet, "drain", "p/a", "--wait")
    assert ended.code == 1
    assert "p/a takes new connections again: somebody ended the drain meanwhile" in ended.err


def test_drain_of_many_lists_only_those_that_are_not_empty(ask: Callable[..., Ended]) -> None:
    fleet = Fleet(*(Server(pool="p", name=f"b{n}", host=n, connections=n == 7) for n in range(1, 13)))
    ended = ask(fleet, "drain", "p", "--wait")
    assert ended.out.splitlines() == [
        *("drain pool p", "p/b7: 1 connection left", "11 of 12 backends are empty"),
        *("12 of 12 backends are empty", "pool p: nobody is connected any more"),
    ]


# Maintenance ----------------------------------------------------------------------------------------------------------

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
        "error: maintenance stopped: not empty after 60 s: 3 connections at p/a; the drain stays\n"
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


# On a terminal --------------------------------------------------------------------------------------------------------


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Standard output is taken for a terminal; what is shown on it at a time."""
    shown: list[str] = []

    class Board:
        def update(self, text: object, *, refresh: bool) -> None:
            assert refresh
            shown.append(str(text))

    @contextmanager
    def board() -> Iterator[Board]:
        yield Board()

    with monkeypatch.context() as patched:
        patched.setattr(waiting, "_board", board)
        yield shown


def test_terminal_shows_all_backends_at_every_look_and_for_how_long(
    ask: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal(monkeypatch) as shown:
        ended = ask(two_hosts(), "drain", "192.0.2.11", "--wait")
    assert ended.out.splitlines() == ["drain host 192.0.2.11", "host 192.0.2.11: nobody is connected any more"]
    assert shown[0] == "p/a: 3 connections left\nq/w: nobody is connected\nwaiting for 0.0 s"
    assert shown[-1] == "p/a: nobody is connected\nq/w: nobody is connected\nwaiting for 1.5 s"
