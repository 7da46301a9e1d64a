"""``lbctl plan`` against a director at work: what it says is what an apply then does; it sees who meddles with the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from lbctl.core.tables import BackendState
from lbctl.daemon.models import PlanReport
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import Lab, plan_lab
from tests.netns.director_rig import (
    backend,
    configuration,
    line_to,
    reload,
    serving,
    status,
    wait_backend,
    wait_state,
)
from tests.netns.pinned import shared

NOTHING, CHANGES = 0, 3


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=3, clients=1)) as built, serving(built.backends):
        yield built


@pytest.fixture
def daemon(lab: Lab, daemon: Daemon) -> Daemon:
    """With all three backends up, as every test finds it."""
    reload(daemon, configuration(*lab.backends))
    for node in lab.backends:
        wait_state(daemon, node, "up")
        wait_backend(daemon, node, lambda row: abs(row.share - 1 / 3) < 0.002)
    return daemon


def planned(daemon: Daemon, text: str) -> tuple[str, PlanReport]:
    """What a person reads of a proposed file, and what a script does."""
    path = daemon.config.with_name("proposed.yaml")
    path.write_text(text)
    shown = daemon.ctl("plan", str(path), check=False)
    told = daemon.ctl("plan", str(path), "--json", check=False)
    assert (shown.returncode, told.returncode) == (CHANGES, CHANGES), shown.stderr
    print(f"\n{shown.stdout}")
    return " ".join(shown.stdout.replace("\N{NO-BREAK SPACE}", " ").split()), PlanReport.model_validate_json(
        told.stdout
    )


def gains(report: PlanReport) -> Mapping[str, float]:
    """What each backend gains or loses of new connections, 0 to 1, by the plan."""
    found: dict[str, float] = {}
    for move in (move for effect in report.effects for move in effect.moves):
        found[str(move.taker)] = found.get(str(move.taker), 0) + move.percent / 100
        found[str(move.giver)] = found.get(str(move.giver), 0) - move.percent / 100
    return found


def test_plan_foretells_the_shares_and_that_no_session_is_touched(lab: Lab, daemon: Daemon) -> None:
    lines = [line_to(lab.clients[0], node) for node in lab.backends]
    before = status(daemon)
    text = configuration(*lab.backends, weights={"backend1": 30})
    shown, report = planned(daemon, text)
    assert "pools.servers.backends.backend1.weight: 100 → 30" in shown
    assert "no live session is touched" in shown
    assert status(daemon).daemon.generation == before.daemon.generation == report.generation
    reload(daemon, text)
    wait_backend(daemon, "backend1", lambda row: row.share < 0.2)
    for row in before.pools[0].backends:
        assert backend(daemon, row.name).share - row.share == pytest.approx(gains(report)[row.name], abs=0.001)
    assert all(line.is_alive for line in lines)
    for line in lines:
        line.close()


def test_plan_counts_the_sessions_of_a_backend_that_goes(lab: Lab, daemon: Daemon) -> None:
    lines = [line_to(lab.clients[0], lab.backends[2]) for _ in range(3)]
    text = configuration(*lab.backends[:2])
    shown, _ = planned(daemon, text)
    assert "backend3 is removed: no new connections, its 3 live connections go on until they end" in shown
    reload(daemon, text)
    assert all(line.is_alive for line in lines)
    for line in lines:
        line.close()


def test_plan_of_the_file_in_force_is_empty(daemon: Daemon) -> None:
    done = daemon.ctl("plan", str(daemon.config), check=False)
    assert (done.returncode, done.stdout) == (NOTHING, "Nothing to do: the text is the same.\n")


def test_plan_of_a_bad_file_is_refused_with_its_line(daemon: Daemon) -> None:
    path = daemon.config.with_name("proposed.yaml")
    path.write_text("interfaces: 7\n")
    done = daemon.ctl("plan", str(path), check=False)
    assert (done.returncode, done.stderr.startswith(f"{path}:1:")) == (2, True)


def drift(daemon: Daemon) -> list[str]:
    """What the plan of the file in force says of the kernel's tables."""
    done = daemon.ctl("plan", str(daemon.config), "--json", check=False)
    found = [each.text for each in PlanReport.model_validate_json(done.stdout).drift]
    assert done.returncode == (CHANGES if found else NOTHING)
    return found


def test_plan_tells_what_somebody_else_wrote_into_the_kernels_tables(daemon: Daemon) -> None:
    pins = Path(daemon.pins)
    assert drift(daemon) == []
    rows, pools, slots = (shared(name, pins) for name in ("lb_backends", "lb_pools", "lb_slots"))
    number = int(np.flatnonzero(rows["state"] == BackendState.UP)[0])
    rows["state"][number] = BackendState.DRAINING
    (told,) = drift(daemon)
    assert told.startswith("backend servers/backend")
    assert told.endswith(": state draining, should be up")
    rows["state"][number] = BackendState.UP
    base = int(pools["table"][np.flatnonzero(pools["identity"])[0]]) & 0xFFFF_FFFF
    block = slots[base : base + 7].copy()
    slots[base : base + 7] = 0
    assert drift(daemon) == ["pool servers: 7 slots sent to others than lbctl chose"]
    slots[base : base + 7] = block
    assert drift(daemon) == []
