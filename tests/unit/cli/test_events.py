"""``lbctl events``: a line each, for people or for scripts."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbctl.daemon.models import EventStatus
from tests.unit.cli import sample_events
from tests.unit.cli.canned import Canned
from tests.unit.cli.running import run
from tests.unit.daemon.served import served


@pytest.fixture(scope="module")
def canned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with served(Canned(), tmp_path_factory.mktemp("canned") / "sock") as path:
        yield path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "fdm"),
        (("--flows", "--drops"), "fdm"),
        (("--flows",), "f"),
        (("--drops",), "dm"),
    ],
)
def test_events_are_a_line_each_until_the_daemon_ends_them(canned: Path, options: tuple[str, ...], said: str) -> None:
    lines = {
        "f": "first_ack     tcp 192.0.2.50:41022 > 192.0.2.100:104 [S] eth0 vlan 20 -> archives/pacs1",
        "d": "denied        tcp [2001:db8::50]:41022 > [fd00::64]:104 [S] eth0 vlan 100.20 for pacs",
        "m": "malformed     frame truncated eth0",
    }
    ended = run("events", *options, "--socket", canned)
    assert ended.code == 0
    assert [line.split(" ", 1)[1] for line in ended.out.splitlines()] == [lines[letter] for letter in said]
    lost = "7 events were lost: they came faster than they are read\n" if "m" in said else ""
    assert ended.err == f"{lost}the daemon stopped; forwarding goes on\n"


def test_events_as_json_are_the_whole_model(canned: Path) -> None:
    lines = run("events", "--json", "--socket", canned).out.splitlines()
    assert tuple(EventStatus.model_validate_json(line) for line in lines) == sample_events.events()


def test_events_that_nobody_reads_any_more_end_quietly(canned: Path) -> None:
    command = f"{sys.executable} -m lbctl events --socket {canned} | head -1"
    done = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, check=False)
    assert (len(done.stdout.splitlines()), "Traceback" in done.stderr) == (1, False)


@pytest.mark.parametrize(("no_color", "is_coloured"), [("", True), ("1", False)])
def test_events_on_a_terminal_are_coloured_unless_the_environment_says_no(
    canned: Path, no_color: str, is_coloured: bool
) -> None:
    keyboard, screen = pty.openpty()
    with os.fdopen(keyboard, "rb", buffering=0) as shown:
        environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
        argv = [sys.executable, "-m", "lbctl", "events", "--socket", str(canned)]
        subprocess.run(argv, stdout=screen, stderr=subprocess.DEVNULL, env=environment, check=True)
        os.close(screen)
        assert (b"\x1b" in shown.read(4096)) is is_coloured
