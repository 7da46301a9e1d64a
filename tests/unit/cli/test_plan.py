"""``lbctl plan``: what a person reads, what a script reads, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lbctl.cli.plan_view import show
from lbctl.cli.render import console
from lbctl.core.changes import ChangeKind
from lbctl.core.effects.effect import EffectKind
from lbctl.core.tables import BackendState
from lbctl.daemon.daemon import Daemon
from lbctl.daemon.models import Change, Effect, PlanReport
from lbctl.dataplane.fake import FakeDataplane
from tests.unit.cli.running import Ended, run
from tests.unit.daemon.rig import HEALTHY, file, neighbour
from tests.unit.daemon.served import daemon_on_fakes, served

WIDE = {"COLUMNS": "110"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plan")


@pytest.fixture(scope="module")
def dataplane() -> FakeDataplane:
    return FakeDataplane()


@pytest.fixture(scope="module")
def daemon(directory: Path, dataplane: FakeDataplane) -> Iterator[Daemon]:
    """Both backends are up, and the kernel knows."""
    found = daemon_on_fakes(directory, "a", "b", dataplane=dataplane)
    reconciler = found._reconciler
    for backend in reconciler.declaration.backends():
        reconciler.neighbour_seen(neighbour(backend.address))
        for _ in range(3):
            reconciler.observed.probed(backend.label, HEALTHY, now=0.0)
    reconciler.reconcile(now=0.0)
    with served(found.operator, directory / "sock", planning=found.planner):
        yield found


@pytest.fixture
def own(directory: Path, daemon: Daemon) -> Path:
    """The daemon's own file."""
    return directory / "lbctl.yaml"


def plan(path: Path, *options: str) -> Ended:
    """Of a file in the daemon's directory."""
    return run("plan", path, "--socket", path.parent / "sock", *options, environment=WIDE)


def proposed(own: Path, text: str) -> Path:
    path = own.with_name("new.yaml")
    path.write_text(text)
    return path


def test_plan_of_the_file_in_force_says_so_and_ends_with_0(own: Path) -> None:
    assert plan(own) == Ended(code=0, out="Nothing to do: the text is the same.\n", err="")
    commented = proposed(own, f"{own.read_text()}# a comment\n")
    assert plan(commented) == Ended(code=0, out="Nothing to do: the text differs, but it declares the same.\n", err="")


def test_plan_of_changes_shows_them_and_ends_with_3(own: Path) -> None:
    path = proposed(own, file("a weight=50", "b"))
    ended = plan(path)
    assert (ended.code, ended.err) == (3, "")
    assert [line.rstrip() for line in ended.out.replace("\N{NO-BREAK SPACE}", " ").splitlines()] == [
        f"{path} against what is in force (generation 1)",
        "",
        "Changes",
        "  ~ pools.p.backends.a.weight: 100 → 50",
        "",
        "Effects",
        "  > p: 16.7 % of new connections move from a to b; no live session is touched",
        "",
        "Steps",
        "   1 set 170 of 1,021 slots of p  (170 writes)",
        "   2 count the write (generation + 1), read the tables back and compare",
        "",
        "No live session is touched. 170 writes, each atomic.",
    ]


def test_plan_without_steps_has_no_heading_for_them(own: Path) -> None:
    """A check at other times writes nothing to the kernel's tables."""
    ended = plan(proposed(own, file("a", "b").replace("rise: 2", "rise: 2, interval: 7s")))
    assert "at other times" in ended.out and "Steps" not in ended.out
    assert ended.out.splitlines()[-1].endswith("Nothing is written to the kernel's tables.")


def test_plan_without_a_file_is_of_the_one_that_the_environment_names(own: Path) -> None:
    path = proposed(own, file("a weight=50", "b"))
    ended = run("plan", "--socket", own.with_name("sock"), environment={"LBCTL_CONFIG": str(path)})
    assert ended.code == 3 and ended.out.startswith(f"{path} against")


def test_plan_of_what_cuts_sessions_says_so_first_and_last(own: Path) -> None:
    ended = plan(proposed(own, file("a", "b", keys="policy: failover")))
    lines = ended.out.splitlines()
    first = lines[lines.index("Effects") + 1].strip()
    assert first == "! p: b does not receive any more, for only the active one may: it has no live connections now"
    assert lines[-1] == (
        "No live session is touched as of now, for there is none where it would be. 514 writes, each atomic."
    )


def test_plan_as_json_is_the_whole_report(own: Path) -> None:
    ended = plan(proposed(own, file("a weight=50", "b")), "--json")
    assert ended.code == 3
    report = PlanReport.model_validate_json(ended.out)
    assert [each.key for each in report.changes] == ["pools.p.backends.a.weight"]
    assert json.loads(ended.out)["effects"][0]["moves"][0]["taker"] == "b"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pools: [", "new.yaml:1:"),
        (file("a").replace("pool: p", "pool: q"), "service s0: pool 'q' is not declared"),
    ],
)
def test_plan_of_a_bad_file_tells_each_mistake_and_ends_with_2(own: Path, text: str, told: str) -> None:
    ended = plan(proposed(own, text))
    assert ended.code == 2
    assert ended.err.startswith(f"{own.parent}/new.yaml:")
    assert told in ended.err


def test_plan_of_a_file_that_is_not_there_ends_with_2(own: Path) -> None:
    ended = plan(own.with_name("nowhere.yaml"))
    assert (ended.code, "there is no such file" in ended.err) == (2, True)


def test_plan_without_a_daemon_ends_with_1(tmp_path: Path) -> None:
    path = tmp_path / "lbctl.yaml"
    path.write_text(file("a"))
    ended = run("plan", path, "--socket", tmp_path / "nobody")
    assert ended.code == 1
    assert ended.err.startswith(f"error: no lbctl daemon answers on {tmp_path}/nobody")


def test_plan_tells_drift_and_ends_with_3(own: Path, dataplane: FakeDataplane) -> None:
    number, row = next(iter(dataplane.backends.items()))
    dataplane.backends[number] = replace(row, state=BackendState.HALTED)
    ended = plan(own)
    dataplane.backends[number] = row
    assert ended.code == 3
    assert "≠ backend p/a: state halted, should be up" in ended.out
    words = " ".join(ended.out.split())
    assert words.endswith(f"{own} declares what is in force, but the kernel's tables hold something else.")


# Offline --------------------------------------------------------------------------------------------------------------


def test_plan_offline_compares_two_files(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(file("a", "b"))
    new.write_text(file("a", "b", "c"))
    ended = run("plan", "--offline", "--against", old, new, environment=WIDE)
    assert (ended.code, ended.err) == (3, "")
    assert ended.out.startswith(f"{new} against the other file\n")
    assert "+ pools.p.backends.c: 192.0.2.13, weight 100" in ended.out
    assert "(once it is up); no live session is touched" in " ".join(ended.out.split())
    assert run("plan", "--offline", "--against", new, new).code == 0


@pytest.mark.parametrize("arguments", [("--offline",), ("--against", "old.yaml")])
def test_plan_offline_without_a_file_to_compare_with_is_refused(arguments: tuple[str, ...]) -> None:
    ended = run("plan", *arguments)
    assert ended.code == 2
    assert ended.err.endswith("Error: --offline and --against OLD go together\n")


def test_plan_offline_of_a_bad_old_file_names_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text("pools: 7")
    new.write_text(file("a"))
    ended = run("plan", "--offline", "--against", old, new)
    assert (ended.code, ended.err.startswith(f"{old}:1:")) == (2, True)


# Large ones -----------------------------------------------------------------------------------------------------------


def _report(changes: tuple[Change, ...], effects: tuple[Effect, ...] = ()) -> PlanReport:
    return PlanReport(
        base="0", proposed="1", source="new", generation=1, changes=changes, effects=effects, is_empty=not changes
    )


def _weight(number: int) -> Change:
    key = f"pools.p.backends.b{number}.weight"
    return Change(key=key, kind=ChangeKind.CHANGED, before="100", after=str(number % 2))


def test_plan_of_many_backends_that_change_alike_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(_report(tuple(_weight(2 * number) for number in range(10))), console())
    assert "~ pools.p.backends.(b0, b2, b4 and 7 more).weight: 100 → 0" in capsys.readouterr().out


def test_plan_of_a_great_many_changes_is_cut_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    changes = tuple(
        Change(key=f"services.s{number}.pool", kind=ChangeKind.CHANGED, before="a", after="b") for number in range(1000)
    )
    show(_report(changes), console())
    out = capsys.readouterr().out
    assert "and 940 more: lbctl plan --json" in out
    assert len(out.splitlines()) < 100


@pytest.mark.parametrize(
    ("sessions", "told"),
    [
        ((3, 4), "7 live sessions are touched, as said above."),
        ((1,), "1 live session is touched, as said above."),
        ((3, None), "3 or more live sessions are touched, as said above."),
        ((None,), "Live sessions are touched, as said above."),
    ],
)
def test_plan_counts_who_is_touched(
    sessions: tuple[int | None, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    effects = tuple(Effect(text="x", kind=EffectKind.LIVE_SESSIONS, sessions=count) for count in sessions)
    show(_report((_weight(1),), effects), console())
    assert capsys.readouterr().out.splitlines()[-1] == f"{told} Nothing is written to the kernel's tables."
