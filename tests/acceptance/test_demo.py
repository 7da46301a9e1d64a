"""The demonstration, as `make demo` runs it: it shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lbctl.lab.wait import wait_until
from lbctl.lab.wiring import leftovers

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parents[2]
ACTS = ["c-echo", "c-store", "c-get", "dicomweb", "agent", "kill", "drain", "books"]
STUDY_BYTES = 220 * 512 * 512 * 2


def start(figures: Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lbctl.lab.demo", "--json", str(figures)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True, **options)


def test_demo_played_to_its_end_meets_every_expectation_with_figures_to_show_for_it(tmp_path: Path) -> None:
    figures = tmp_path / "build" / "demo.json"
    demo = start(figures)
    told, _ = demo.communicate(timeout=300)
    assert demo.returncode == 0, told
    shown = json.loads(figures.read_text())
    phases = {phase["name"]: phase for phase in shown["phases"]}
    assert list(phases) == ACTS
    assert shown["passed"]
    assert all(item["met"] for phase in phases.values() for item in phase["expectations"])
    assert_figures(phases)
    assert shown["acts_s"] < 120
    assert "expectations met" in told
    assert "files of the lab are gone" in told


def assert_figures(phases: dict[str, dict[str, Any]]) -> None:
    received = {name: phase["director_nic"]["received"] for name, phase in phases.items()}
    assert {nic["from_vip"]["frames"] for nic in received.values()} == {0}
    for name in ("c-get", "dicomweb"):
        assert phases[name]["retrieved_bytes"] >= max(STUDY_BYTES, 100_000_000)
        assert 0 < received[name]["client_ack"]["bytes"] < STUDY_BYTES / 100
    for name in ("c-store", "kill", "drain"):
        assert phases[name]["stored_bytes"] >= STUDY_BYTES
        assert received[name]["client_data"]["bytes"] > STUDY_BYTES
    assert phases["kill"]["retrieved_bytes"] >= STUDY_BYTES
    assert sum(phases["c-echo"]["connections"].values()) == 12
    due = phases["agent"]["connections"]
    assert 0.05 < due["backend1"] / sum(due.values()) < 0.2


@pytest.mark.parametrize("moment", ["PostgreSQL", "C-ECHO:", "C-GET:"])
def test_demo_interrupted_leaves_nothing(tmp_path: Path, moment: str) -> None:
    demo = start(tmp_path / "demo.json")
    directory = wait_until(lambda: lab_of(demo.pid), deadline_s=60, what="the demonstration's lab")
    assert directory is not None
    assert demo.stdout is not None
    for line in demo.stdout:
        if moment in line:
            break
    os.killpg(demo.pid, signal.SIGINT)  # as the terminal does on Ctrl-C
    demo.communicate(timeout=60)
    prefix = directory.name.removesuffix("-lab")
    assert demo.returncode == 130
    assert leftovers(prefix, directory) == ()
    assert processes_named(prefix) == []


def test_demo_on_a_terminal_shows_what_goes_on_and_stops_at_ctrl_c(tmp_path: Path) -> None:
    command = f"{sys.executable} -m lbctl.lab.demo --json {tmp_path / 'demo.json'}"
    terminal = subprocess.Popen(
        ["script", "-qefc", command, "/dev/null"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
    )
    assert terminal.stdin is not None
    assert terminal.stdout is not None
    shown = b""
    while b"store one CT study" not in shown and (chunk := os.read(terminal.stdout.fileno(), 65536)):
        shown += chunk
    terminal.stdin.write(b"\x03")
    terminal.stdin.flush()
    rest, _ = terminal.communicate(timeout=60)
    assert "Setting up" in shown.decode()
    assert "interrupted" in rest.decode()
    assert "files of the lab are gone" in rest.decode()
    assert terminal.returncode == 130


def lab_of(pid: int) -> Path | None:
    """The directory of the lab that a process owns."""
    for owner in Path(tempfile.gettempdir()).glob("lb-*-lab/owner"):
        if owner.exists() and owner.read_text().strip() == str(pid):
            return owner.parent
    return None


def processes_named(prefix: str) -> list[str]:
    """Processes with a lab's prefix in their command line: it is in the paths of all that a lab runs."""
    found = subprocess.run(["pgrep", "-af", prefix], capture_output=True, text=True, check=False)
    return found.stdout.splitlines()
