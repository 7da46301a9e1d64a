"""The demonstration of a connection's life, as `make demo-life` runs it: it shows every rule, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lbctl.lab.wait import wait_until
from lbctl.lab.wiring import leftovers
from tests.acceptance.test_demo import ROOT, lab_of, processes_named

pytestmark = pytest.mark.alone

ACTS = ["drained", "failing", "restarts", "vanishes", "halted", "failover", "full", "private", "flood"]


def start(figures: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lbctl.lab.demo", "life", "--json", str(figures)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)


def test_life_demo_played_to_its_end_meets_every_expectation_with_figures_to_show_for_it(tmp_path: Path) -> None:
    figures = tmp_path / "build" / "demo-life.json"
    demo = start(figures)
    told, _ = demo.communicate(timeout=300)
    assert demo.returncode == 0, told
    shown = json.loads(figures.read_text())
    phases = {phase["name"]: phase for phase in shown["phases"]}
    assert list(phases) == ACTS
    assert shown["passed"]
    assert all(phase["expectations"] for phase in phases.values())
    assert all(item["met"] for phase in phases.values() for item in phase["expectations"])
    assert_figures(phases)
    assert shown["acts_s"] < 120
    assert "expectations met" in told
    assert "files of the lab are gone" in told


def assert_figures(phases: dict[str, dict[str, Any]]) -> None:
    fates = {name: phase["fates"] for name, phase in phases.items()}
    assert {name: fate.get("cut", 0) for name, fate in fates.items()} == dict.fromkeys(ACTS, 0)
    assert fates["restarts"]["went on"] == 41
    assert (fates["vanishes"]["told"], fates["vanishes"]["left waiting"], fates["halted"]["told"]) == (2, 2, 5)
    assert (fates["full"]["went on"], fates["full"]["refused"]) == (20, 1)
    assert min(phases[name]["stored_bytes"] for name in ("drained", "failing", "restarts")) > 50_000_000
    (timeline,) = phases["vanishes"]["exhibits"]
    assert [len(row) for row in timeline["rows"]] == [len(timeline["headings"])] * 7
    (listed,) = phases["private"]["exhibits"]
    assert sum("regional" in line for (line,) in listed["rows"]) == 12
    received = (phase["director_nic"]["received"] for phase in phases.values())
    assert {nic["from_vip"]["frames"] for nic in received} == {0}


def test_life_demo_interrupted_in_mid_act_leaves_nothing(tmp_path: Path) -> None:
    demo = start(tmp_path / "demo-life.json")
    directory = wait_until(lambda: lab_of(demo.pid), deadline_s=60, what="the demonstration's lab")
    assert directory is not None
    assert demo.stdout is not None
    for line in demo.stdout:
        if (
            "fails checks:" in line
        ):  # told at its end: the next act has begun, with the daemon killed and a store paused
            break
    os.killpg(demo.pid, signal.SIGINT)
    demo.communicate(timeout=60)
    prefix = directory.name.removesuffix("-lab")
    assert demo.returncode == 130
    assert leftovers(prefix, directory) == ()
    assert processes_named(prefix) == []
