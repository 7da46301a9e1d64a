"""`lbctl apply` and what remembers it: confirmed, not confirmed, killed meanwhile, rolled back, refused. A live connection goes
on through all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbctl.cli.client import get, post
from lbctl.daemon.changes.pending import Pending
from lbctl.daemon.models import Application, Done, History
from lbctl.errors import ConflictError
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import Lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import Line, backend, configuration, line_to, reload, spread, status

HALF = {"backend1": 50}
A_NOTE = "# changed at noon\n"


@pytest.fixture(scope="module")
def first(lab: Lab) -> str:
    return configuration(*lab.backends)


@pytest.fixture(scope="module")
def second(lab: Lab) -> str:
    """With a comment, and another weight."""
    return A_NOTE + configuration(*lab.backends, weights=HALF)


@pytest.fixture(autouse=True)
def line(lab: Lab, daemon: Daemon, first: str) -> Iterator[Line]:
    """Every test begins with the first file, and a live connection that is still answered in the end."""
    if not daemon.is_running:
        daemon.start()
    if status(daemon).daemon.unconfirmed:
        daemon.ctl("rollback", "--yes")
    reload(daemon, first)
    with line_to(lab.clients[0], lab.backends[0]) as opened:
        yield opened
        assert opened.is_alive


@pytest.fixture
def other(daemon: Daemon, second: str) -> Path:
    """The second file, somewhere else."""
    path = daemon.directory / "second.yaml"
    path.write_text(second)
    return path


def weight(daemon: Daemon) -> int:
    return backend(daemon, "backend1").weight


def history(daemon: Daemon) -> History:
    return get(daemon.socket, "/v1/history", History)


def outcomes(daemon: Daemon, count: int) -> list[tuple[str, str]]:
    """Of the latest entries: how, and what became of it."""
    return [(entry.how, entry.outcome) for entry in history(daemon).entries[-count:]]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def wait_rolled_back(daemon: Daemon) -> None:
    """Noted as such, and over: the file has its former text by then."""
    wait_until(
        lambda: outcomes(daemon, 1)[0][1] == "rolled back" and status(daemon).daemon.unconfirmed is None,
        deadline_s=30,
        what="what nobody confirmed to be rolled back",
    )


def test_apply_of_another_file_shows_the_plan_and_makes_it_the_daemons_own(
    daemon: Daemon, other: Path, second: str
) -> None:
    done = daemon.ctl("apply", str(other), "--yes")
    print(f"\n{done.stdout}")
    assert "backend1.weight" in done.stdout
    assert "is in force" in done.stdout.splitlines()[-1]
    assert (weight(daemon), daemon.config.read_text()) == (50, second)
    entry = history(daemon).entries[-1]
    assert (entry.user, entry.how, entry.source, entry.outcome) == ("root", "apply", str(other), "in force")
    assert "servers.backends.backend1.weight: 100 -> 50" in entry.what
    audited = [json.loads(row) for row in (daemon.state / "audit.jsonl").read_text().splitlines()][-1]
    assert (audited["user"], audited["action"], audited["done"]) == ("root", "apply", True)
    shown = daemon.ctl("history").stdout
    print(shown)
    assert "in force" in shown.splitlines()[-1]
    assert daemon.ctl("history", "show", str(entry.number)).stdout == second


def test_apply_of_the_same_text_does_nothing(daemon: Daemon) -> None:
    before = (status(daemon).daemon.generation, history(daemon))
    done = daemon.ctl("apply", str(daemon.config), "--yes")
    assert done.stdout == "nothing to do: this very text is in force\n"
    assert (status(daemon).daemon.generation, history(daemon)) == before


def test_apply_without_a_terminal_must_be_told_yes(daemon: Daemon, other: Path) -> None:
    done = daemon.ctl("apply", str(other), check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--yes" in done.stderr
    assert weight(daemon) == 100


def test_apply_of_a_bad_file_changes_nothing_and_names_the_line(daemon: Daemon, other: Path) -> None:
    other.write_text(other.read_text().replace('"pool"', '"pol"'))
    before = history(daemon)
    done = daemon.ctl("apply", str(other), "--yes", check=False)
    assert done.returncode == 2
    assert f"{other}:" in done.stderr
    assert history(daemon) == before


def test_apply_against_another_base_is_refused_naming_who_changed_it(
    daemon: Daemon, first: str, second: str, other: Path
) -> None:
    daemon.ctl("apply", str(other), "--yes")
    late = Application(text=first, source="/srv/late.yaml", base=sha256(first))
    with pytest.raises(ConflictError, match=r"changed meanwhile by root \(apply, entry \d+"):
        post(daemon.socket, "/v1/apply", Done, content=late)
    assert (weight(daemon), daemon.config.read_text()) == (50, second)


def test_apply_that_is_confirmed_stays(daemon: Daemon, other: Path, first: str, second: str) -> None:
    done = daemon.ctl("apply", str(other), "--yes", "--confirm", "10m")
    assert "is rolled back in 10m unless you `lbctl confirm`" in done.stdout
    assert (weight(daemon), daemon.config.read_text()) == (50, first)
    shown = daemon.ctl("status").stdout
    assert "unless you `lbctl confirm`" in shown
    assert daemon.ctl("confirm").stdout.startswith("confirmed: entry ")
    assert (weight(daemon), daemon.config.read_text()) == (50, second)
    assert status(daemon).daemon.unconfirmed is None
    assert outcomes(daemon, 1) == [("apply", "in force")]
    assert daemon.ctl("confirm", check=False).returncode == 2


def test_apply_of_the_own_file_that_nobody_confirms_is_rolled_back_and_so_is_the_file(
    daemon: Daemon, first: str, second: str
) -> None:
    daemon.config.write_text(second)
    daemon.ctl("apply", str(daemon.config), "--yes", "--confirm", "1s")
    wait_rolled_back(daemon)
    assert (weight(daemon), daemon.config.read_text()) == (100, first)
    entry = history(daemon).entries[-1]
    assert (entry.outcome, entry.why) == ("rolled back", "nobody confirmed it in time")
    assert daemon.ctl("history", "show", str(entry.number)).stdout == second


def test_reload_and_apply_are_refused_while_a_change_waits(
    daemon: Daemon, lab: Lab, other: Path, first: str, second: str
) -> None:
    daemon.ctl("apply", str(other), "--yes", "--confirm", "10m")
    third = configuration(*lab.backends, weights={"backend1": 7})
    said = reload(daemon, third)
    assert said.startswith("ERROR the configuration was not reloaded, the one before goes on: ")
    assert "confirm or roll back first" in str(status(daemon).daemon.config_error)
    done = daemon.ctl("apply", str(daemon.config), "--yes", check=False)
    assert (done.returncode, "waits for its confirmation" in done.stderr) == (1, True)
    assert weight(daemon) == 50
    assert "is rolled back (by root)" in daemon.ctl("rollback", "--yes").stdout
    assert (weight(daemon), daemon.config.read_text()) == (100, third)  # what was written since is not lost
    assert "differs from what is in force" in " ".join(status(daemon).daemon.warnings)


def test_daemon_killed_while_a_change_waits_goes_on_waiting_after_its_start(
    daemon: Daemon, other: Path, second: str
) -> None:
    daemon.ctl("apply", str(other), "--yes", "--confirm", "10m")
    daemon.kill()
    daemon.start()
    waits = status(daemon).daemon.unconfirmed
    assert waits is not None
    assert 0 < waits.left_s < 600
    assert weight(daemon) == 50
    daemon.ctl("confirm")
    assert (weight(daemon), daemon.config.read_text()) == (50, second)


def test_daemon_killed_while_a_change_waits_rolls_it_back_if_it_starts_too_late(
    daemon: Daemon, first: str, second: str
) -> None:
    daemon.config.write_text(second)
    daemon.ctl("apply", str(daemon.config), "--yes", "--confirm", "2s")
    daemon.kill()
    waiting = Pending.model_validate_json((daemon.state / "pending.json").read_bytes())
    wait_until(lambda: waiting.left_s() == 0, deadline_s=30, what="the time for a confirmation to be over")
    assert daemon.config.read_text() == second
    daemon.start()
    assert (weight(daemon), daemon.config.read_text()) == (100, first)
    entry = history(daemon).entries[-1]
    assert (entry.outcome, entry.why) == ("rolled back", "nobody confirmed it")
    assert not (daemon.state / "pending.json").exists()


def test_rollback_puts_an_entry_in_force_again_also_after_a_restart(
    daemon: Daemon, other: Path, first: str, second: str
) -> None:
    present = next(entry.number for entry in history(daemon).entries if entry.outcome == "in force")
    daemon.ctl("apply", str(other), "--yes")
    before = history(daemon)
    daemon.kill()
    daemon.start()
    assert history(daemon) == before
    done = daemon.ctl("rollback", "--yes")
    assert "backend1.weight" in done.stdout
    assert (weight(daemon), daemon.config.read_text()) == (100, first)
    assert outcomes(daemon, 2) == [("apply", "applied"), ("rollback", "in force")]
    daemon.ctl("rollback", str(before.entries[-1].number), "--yes")
    assert (weight(daemon), daemon.config.read_text()) == (50, second)
    missing = daemon.ctl("rollback", "999", "--yes", check=False)
    assert (missing.returncode, "no entry 999" in missing.stderr) == (2, True)
    assert present < before.entries[-1].number


@pytest.mark.parametrize("wrong", [("pool", "pol"), ("eth0", "eth7")], ids=["in itself", "on this machine"])
def test_daemon_with_a_bad_file_starts_with_what_was_in_force(
    daemon: Daemon, lab: Lab, other: Path, first: str, wrong: tuple[str, str]
) -> None:
    daemon.ctl("apply", str(other), "--yes")
    daemon.stop()
    daemon.config.write_text(first.replace(f'"{wrong[0]}"', f'"{wrong[1]}"'))
    daemon.start()
    assert weight(daemon) == 50
    assert wrong[1] in str(status(daemon).daemon.config_error)
    assert "The file was refused, the configuration before it goes on:" in daemon.ctl("status").stdout
    assert "ERROR what was in force before is in force again" in daemon.log.read_text()
    assert spread(lab.clients[0], 20).keys() == {"backend1", "backend2"}
    reload(daemon, first)
    assert (weight(daemon), status(daemon).daemon.config_error) == (100, None)
