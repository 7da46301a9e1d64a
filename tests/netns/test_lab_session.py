"""Labs that outlive their process: on purpose, with `lbctl lab up`, or because it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lbctl.errors import UsageError
from lbctl.lab import session
from lbctl.lab.namespaces import enter, path_of
from lbctl.lab.topology import TAGGED, Lab, plan_lab
from lbctl.lab.wait import wait_until
from lbctl.lab.wiring import leftovers

ROOT = Path(__file__).resolve().parents[2]


def test_session_up_then_down_in_another_process_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "RECORD", tmp_path / "lab.json")
    plan = plan_lab(backends=2, far_backends=1, far=TAGGED, ipv6=True)
    session.up(plan)
    with pytest.raises(UsageError, match="up already"):
        session.up(plan_lab())
    assert session.current() == plan
    with enter(plan.switch):
        stray = subprocess.Popen(["sleep", "600"])
    reaper = threading.Thread(target=stray.wait)
    reaper.start()
    session.down()
    reaper.join(timeout=10)
    assert stray.returncode == -signal.SIGINT
    assert leftovers(plan.prefix, plan.directory) == ()
    assert not path_of(plan.switch).exists()
    with pytest.raises(UsageError, match="no lab is up"):
        session.down()


def test_session_node_that_does_not_exist_lists_those_that_do() -> None:
    with pytest.raises(UsageError, match="director, backend1, client1, switch"):
        session.find_node(plan_lab(), "pacs1")


LAB_UNTIL_KILLED = """\
from lbctl.lab.topology import *
plan = plan_lab()
with Lab(plan) as lab:
    lab.clients[0].popen(["sleep", "600"])
    print(plan.prefix, plan.directory, flush=True)
    lab.clients[0].run(["sleep", "600"], timeout_s=600)
"""


def test_lab_whose_owner_was_killed_is_removed_and_live_and_standing_ones_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "RECORD", tmp_path / "lab.json")
    standing = session.up(plan_lab())
    with (
        Lab(plan_lab()) as live,
        subprocess.Popen([sys.executable, "-c", LAB_UNTIL_KILLED], stdout=subprocess.PIPE, text=True) as killed,
    ):
        assert killed.stdout is not None
        prefix, directory = killed.stdout.readline().split()
        assert prefix not in session.remove_abandoned()
        killed.kill()
        killed.wait()
        removed = wait_until_removed(prefix)
        kept = [leftovers(lab.plan.prefix, lab.directory) for lab in (live, standing)]
    session.down()
    assert leftovers(prefix, Path(directory)) == ()
    assert all(kept)
    assert not {live.plan.prefix, standing.plan.prefix} & removed


def test_session_record_of_an_up_that_was_killed_does_not_stand_in_the_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "RECORD", tmp_path / "lab.json")
    program = LAB_UNTIL_KILLED.replace("plan = plan_lab()", "plan = Lab(plan_lab()).plan")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        prefix, directory = killed.stdout.readline().split()
        about = {"vips": [], "flooding": False, "mtu": 1500, "ipv4": True, "ipv6": False}
        record = {"prefix": prefix, "directory": directory, "nodes": [], **about}
        session.RECORD.write_text(json.dumps(record))
        killed.kill()
        killed.wait()
    assert session.current().prefix == prefix
    wait_until_removed(prefix)
    session.up(plan_lab())
    assert session.current().prefix != prefix
    session.down()


def wait_until_removed(prefix: str) -> frozenset[str]:
    """Remove abandoned labs until that one is among them; return all. A child of its owner that was just being started may
    hold the lock for a moment longer."""
    removed: set[str] = set()

    def is_removed() -> bool:
        removed.update(session.remove_abandoned())
        return prefix in removed

    wait_until(is_removed, deadline_s=10, what=f"{prefix} to be abandoned")
    return frozenset(removed)


LBCTL = """\
#!{python}
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from lbctl.lab import session
session.RECORD = Path({record!r})
from lbctl.cli.main import main
main()
"""


@pytest.fixture
def lbctl(tmp_path: Path) -> Iterator[Path]:
    """The command itself, but for the place where it notes that a lab is up."""
    program = tmp_path / "lbctl-of-this-test"
    program.write_text(LBCTL.format(python=sys.executable, root=str(ROOT), record=str(tmp_path / "lab.json")))
    program.chmod(0o755)
    yield program
    run(f"{program} lab down", check=False)


def test_lab_up_steps_followed_to_the_letter_work(lbctl: Path) -> None:
    told = run(f"{lbctl} lab up").stdout
    servers, daemon, client, status, plan, end = steps_of(told)
    with started(servers), started(daemon):
        page = wait_until(lambda: answered(client), deadline_s=30, what="a page through the virtual address")
        assert set(page.split()) <= {"backend1", "backend2", "backend3"}
        assert "native" in run(status).stdout
        assert "Nothing to do" in run(plan).stdout
        drain = status.replace(" status", " drain servers/backend1")
        assert "no new connections" in run(drain).stdout
        assert "backend1" not in answered(client).split()
        assert "nothing is left" in run(end).stdout
    assert "no lab is up" in run(end, check=False).stderr


def test_lab_shell_of_an_unknown_command_says_so(lbctl: Path) -> None:
    run(f"{lbctl} lab up --backends 1 --clients 1")
    assert "no such command" in run(f"{lbctl} lab shell client1 no-such-command", check=False).stderr


def steps_of(told: str) -> list[str]:
    """The commands that `lab up` prints: what follows each comment, up to an empty line."""
    blocks = told.split("\n# ")[1:]
    return [block.partition("\n")[2].strip() for block in blocks]


def answered(client: str) -> str:
    """What every one of the client's requests got; nothing unless all were answered."""
    finished = run(client, check=False)
    return finished.stdout if finished.returncode == 0 and len(finished.stdout.split()) == 6 else ""


def run(command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert not check or finished.returncode == 0, finished.stderr
    return finished


@contextmanager
def started(command: str) -> Iterator[None]:
    """A command in a terminal of its own. The lab's end is its end, too."""
    with subprocess.Popen(["bash", "-c", f"{command}\nwait"], cwd=ROOT, start_new_session=True) as terminal:
        try:
            yield
            terminal.wait(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(terminal.pid, signal.SIGKILL)
