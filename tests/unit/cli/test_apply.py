"""``lbctl apply``, ``confirm``, ``history`` and ``rollback``, against a daemon on fakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbctl.cli.client import post
from tests.unit.cli.running import Ended, run
from tests.unit.daemon.rig import OTHER_VIP, VIP, file
from tests.unit.daemon.served import daemon_on_fakes, served

FIRST, SECOND = file("a", "b"), "# at noon\n" + file("a", "b weight=50", vips=(VIP, OTHER_VIP))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr("lbctl.daemon.daemon.FIRST_VERDICTS_S", 0.02)
    daemon = daemon_on_fakes(tmp_path, text=FIRST)
    (tmp_path / "second.yaml").write_text(SECOND)
    with served(daemon.operator, tmp_path / "sock", applying=daemon.applier, planning=daemon.planner):
        yield tmp_path


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sits there, and says what the test writes."""
    monkeypatch.setattr("lbctl.cli.deciding.is_somebody_there", lambda: True)


def lbctl(place: Path, *arguments: str) -> Ended:
    return run(*arguments, environment={"LBCTL_SOCKET": str(place / "sock")})


def test_apply_shows_the_plan_and_says_what_came_of_it(place: Path) -> None:
    ended = lbctl(place, "apply", str(place / "second.yaml"), "--yes")
    assert (ended.code, ended.err) == (0, "")
    assert "pools.p.backends.b.weight" in ended.out
    assert ended.out.splitlines()[-1].startswith("entry 2 is in force: ")
    assert (place / "lbctl.yaml").read_text() == SECOND


def test_apply_asks_and_a_no_changes_nothing(place: Path, terminal: None) -> None:
    ended = lbctl(place, "apply", str(place / "second.yaml"))  # the input is at its end: that is no yes
    assert ended.code == 1
    assert "Apply this?" in ended.out
    assert (place / "lbctl.yaml").read_text() == FIRST


@pytest.mark.parametrize("command", [("apply", "second.yaml", "--yes"), ("plan", "second.yaml")])
def test_plan_of_a_large_file_may_take_its_time_before_an_apply_too(
    place: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(post.__kwdefaults__ or {}, "timeout_s", 0.001)  # for what is answered from memory
    verb, name, *more = command
    ended = lbctl(place, verb, str(place / name), *more)
    assert (ended.code, ended.err) == (0 if verb == "apply" else 3, "")


def test_apply_without_a_terminal_is_refused_before_anything_is_asked_of_the_daemon(tmp_path: Path) -> None:
    ended = lbctl(tmp_path, "apply", str(tmp_path / "none.yaml"))
    assert (ended.code, ended.out) == (2, "")
    assert "nobody can be asked" in ended.err


def test_apply_of_what_is_in_force_asks_nobody(place: Path, terminal: None) -> None:
    lbctl(place, "apply", str(place / "second.yaml"), "--yes")
    ended = lbctl(place, "apply", str(place / "lbctl.yaml"))
    assert (ended.code, ended.out) == (0, "nothing to do: this very text is in force\n")


def test_apply_of_a_file_that_is_not_there_is_a_mistake(place: Path) -> None:
    ended = lbctl(place, "apply", str(place / "third.yaml"), "--yes")
    assert (ended.code, "there is no such file" in ended.err) == (2, True)


@pytest.mark.parametrize("duration", ["60", "0s", "48h", "soon"])
def test_apply_with_a_confirmation_that_is_no_duration_is_refused(place: Path, duration: str) -> None:
    ended = lbctl(place, "apply", str(place / "second.yaml"), "--yes", "--confirm", duration)
    assert ended.code == 2
    assert "--confirm" in ended.err


def test_confirm_ends_the_wait_that_status_tells_of(place: Path) -> None:
    ended = lbctl(place, "apply", str(place / "second.yaml"), "--yes", "--confirm", "5m")
    assert "it is rolled back in 5m unless you `lbctl confirm`" in ended.out
    shown = lbctl(place, "status").out
    assert "Entry 2, by " in shown
    assert "unless you `lbctl confirm`" in shown
    assert "in force, unconfirmed" in lbctl(place, "history").out
    assert lbctl(place, "confirm").out.startswith("confirmed: entry 2 is in force: ")
    assert "unless you `lbctl confirm`" not in lbctl(place, "status").out
    assert lbctl(place, "confirm").code == 2


def test_history_is_a_table_a_json_and_a_text(place: Path) -> None:
    assert lbctl(place, "history").out == "no configuration was applied yet\n"
    lbctl(place, "apply", str(place / "second.yaml"), "--yes")
    rows = [line.split() for line in lbctl(place, "history").out.splitlines()]
    assert rows[0] == ["NO", "TIME", "USER", "HOW", "OUTCOME", "REASON"]
    assert [(row[0], row[4], row[5]) for row in rows[1:3]] == [("1", "start", "applied"), ("2", "apply", "in")]
    told = json.loads(lbctl(place, "history", "--json").out)
    assert [entry["outcome"] for entry in told["entries"]] == ["applied", "in force"]
    assert lbctl(place, "history", "show", "2").out == SECOND
    assert lbctl(place, "history", "show", "9").code == 2


def test_rollback_shows_what_goes_back(place: Path) -> None:
    assert lbctl(place, "rollback", "--yes").code == 2
    lbctl(place, "apply", str(place / "second.yaml"), "--yes")
    ended = lbctl(place, "rollback", "--yes")
    assert "pools.p.backends.b.weight" in ended.out
    assert ended.out.splitlines()[-1].startswith("entry 3 is in force: ")
    assert (place / "lbctl.yaml").read_text() == FIRST
