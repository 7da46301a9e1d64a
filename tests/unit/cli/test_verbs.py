"""Weights, and waiting for backends to become empty: what is asked of the daemon, and what a person sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from lbctl.cli import waiting
from tests.unit.cli.canned import Canned
from tests.unit.cli.fleet import Clock, Fleet, Server, two_hosts
from tests.unit.cli.running import Ended, run
from tests.unit.daemon.served import served


@pytest.fixture(scope="module")
def canned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with served(Canned(), tmp_path_factory.mktemp("canned") / "sock") as path:
        yield path


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
    assert ended.err.startswith("error: not empty after 90 s (p/a: 3 connections left); the drain stays\n  hint: ")
    assert "lbctl enable 192.0.2.11 ends the drain" in ended.err
    assert clock.now >= 90
    assert fleet.servers[0].override == "drained"


def test_drain_that_is_interrupted_while_it_waits_says_what_is_left_and_that_it_stays(
    ask: Callable[..., Ended], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press_ctrl_c(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=press_ctrl_c))
    fleet = two_hosts()
    ended = ask(fleet, "drain", "192.0.2.11", "--wait")
    assert (ended.code, fleet.servers[0].override) == (1, "drained")
    assert ended.err == (
        "error: no longer waiting (p/a: 3 connections left); the drain stays\n"
        "  hint: to end it: lbctl enable 192.0.2.11\n"
    )


def test_drain_that_somebody_ends_meanwhile_is_not_waited_for(ask: Callable[..., Ended]) -> None:
    fleet = two_hosts(is_stuck=True)

    def enable() -> None:
        fleet.servers[0].override = None

    fleet.meanwhile = enable
    ended = ask(fleet, "drain", "p/a", "--wait")
    assert ended.code == 1
    assert "p/a takes new connections: somebody ended the drain, or changed the file, meanwhile" in ended.err


def test_drain_that_waits_goes_on_while_a_handshake_may_still_be_completed(ask: Callable[..., Ended]) -> None:
    ended = ask(Fleet(Server(pool="p", name="a", host=11, connections=1, half_open=3)), "drain", "p/a", "--wait")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "drain p/a",
        "p/a: 1 connection left",
        "p/a: no connection left, but 2 handshakes may still be completed",
        "p/a: no connection left, but 1 handshake may still be completed",
        "p/a: nobody is connected",
        "p/a: nobody is connected any more",
    ]


def test_drain_that_waits_goes_on_while_the_kernel_still_gives_new_connections(ask: Callable[..., Ended]) -> None:
    fleet, looks = Fleet(Server(pool="p", name="a", host=11, is_refused=True)), iter(range(3))
    fleet.meanwhile = lambda: setattr(fleet.servers[0], "is_refused", next(looks) < 2)
    ended = ask(fleet, "drain", "p/a", "--wait")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "drain p/a",
        "p/a: it takes new connections, for the kernel refused so far",
        "p/a: nobody is connected",
        "p/a: nobody is connected any more",
    ]


def test_drain_of_a_host_waits_also_for_what_the_file_lost_meanwhile(ask: Callable[..., Ended], clock: Clock) -> None:
    fleet = two_hosts()

    def remove() -> None:
        fleet.servers[0].state, fleet.servers[0].override = "removed", None
        fleet.servers[0].connections = 0 if clock.now > 5 else 3

    fleet.meanwhile = remove
    ended = ask(fleet, "drain", "192.0.2.11", "--wait")
    assert (ended.code, ended.err) == (0, "")
    assert clock.now > 5
    assert "p/a: 3 connections left (removed: drained by an operator)" in ended.out
    assert ended.out.endswith("host 192.0.2.11: nobody is connected any more\n")


def test_drain_that_waits_in_vain_names_no_more_backends_than_one_reads(ask: Callable[..., Ended]) -> None:
    stuck = (Server(pool="p", name=f"b{n}", host=n, connections=1, is_stuck=True) for n in range(1, 16))
    ended = ask(Fleet(*stuck), "drain", "p", "--wait", "--timeout", "1s")
    assert "p/b10: 1 connection left; and 5 more); the drain stays" in ended.err


def test_drain_of_many_lists_only_those_that_are_not_empty(ask: Callable[..., Ended]) -> None:
    fleet = Fleet(*(Server(pool="p", name=f"b{n}", host=n, connections=n == 7) for n in range(1, 13)))
    ended = ask(fleet, "drain", "p", "--wait")
    assert ended.out.splitlines() == [
        *("drain pool p", "p/b7: 1 connection left", "11 of 12 backends are empty"),
        *("12 of 12 backends are empty", "pool p: nobody is connected any more"),
    ]


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
