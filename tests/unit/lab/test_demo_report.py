"""The demonstration's verdict: what a reader sees, and what the exit code says, when something did not come true."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from lbctl.lab.capture import Direction, Kind, Tally, Traffic
from lbctl.lab.demo import life
from lbctl.lab.demo.images import DEMONSTRATION
from lbctl.lab.demo.ledger import Exhibit, Ledger, Phase
from lbctl.lab.demo.report import print_report, write_figures
from lbctl.lab.demo.words import amount, kilobytes


def traffic(**received: int) -> Traffic:
    """Frames of 1,000 bytes received, by kind; as many sent on."""
    frames = {Kind[name.upper()]: count for name, count in received.items()}
    return Traffic(
        {(way, kind): Tally(frames.get(kind, 0), 1000 * frames.get(kind, 0)) for way in Direction for kind in Kind}
    )


def phase_of(name: str, seen: Traffic) -> Phase:
    phase = Phase(name=name, title=name.upper(), why="because", so_far=lambda: seen, traffic=seen)
    phase.connections = {"backend1": 3, "backend2": 4}
    phase.elapsed_s, phase.result = 1.5, "it works"
    return phase


@pytest.fixture
def ledger() -> Ledger:
    phase = phase_of("c-get", traffic(client_data=2, client_ack=40))
    phase.retrieved_bytes = 115_500_000
    phase.expect_equal("nothing passes the director", expected=0, seen=0)
    return Ledger(set_up_s=4.0, phases=[phase])


def printed(ledger: Ledger) -> str:
    out = io.StringIO()
    print_report(DEMONSTRATION, ledger, Console(file=out, width=80), figures=Path("build/demo.json"))
    return out.getvalue()


def test_report_of_a_run_without_fault_says_so_in_80_columns(ledger: Ledger) -> None:
    told = printed(ledger)
    assert "✓ all 1 expectations met" in told
    assert "115.5 MB came back" in told
    assert "0 frames of it, and 40.0 kB" in " ".join(told.split())
    assert max(map(len, told.splitlines())) <= 80
    assert ledger.has_passed


def test_report_of_a_failed_expectation_names_it_with_expected_and_seen_and_the_log(ledger: Ledger) -> None:
    ledger.phases[0].expect(False, "it gets its share", expected="11.1 %", seen="33.3 %")
    ledger.log_tail = "WARNING the last line"
    told = printed(ledger)
    assert not ledger.has_passed
    assert "✗ 1 of 2 expectations not met" in told
    assert [line.split() for line in told.splitlines() if "11.1" in line or "33.3" in line] == [
        ["expected:", "11.1", "%"],
        ["seen:", "33.3", "%"],
    ]
    assert "WARNING the last line" in told


def test_ledger_without_any_phase_has_not_passed() -> None:
    assert not Ledger().has_passed


def test_figures_hold_every_kind_and_every_expectation(ledger: Ledger, tmp_path: Path) -> None:
    write_figures(ledger, tmp_path / "build" / "demo.json")
    (phase,) = json.loads((tmp_path / "build" / "demo.json").read_text())["phases"]
    assert phase["director_nic"]["received"]["client_ack"] == {"frames": 40, "bytes": 40_000}
    assert phase["director_nic"]["received"]["from_vip"] == {"frames": 0, "bytes": 0}
    assert phase["expectations"] == [{"text": "nothing passes the director", "met": True, "expected": "0", "seen": "0"}]


def test_report_of_the_life_of_connections_counts_their_fates_in_80_columns(ledger: Ledger) -> None:
    ledger.phases[0].fates.update({"went on": 41, "told": 2, "served": 20})
    out = io.StringIO()
    print_report(life.DEMONSTRATION, ledger, Console(file=out, width=80), figures=Path("build/demo-life.json"))
    told = " ".join(out.getvalue().split())
    assert "41 live connections went on, 0 were cut without cause, and 2 whose server was dead" in told
    assert "C-GET 41 2 - - 20 -" in told
    assert max(map(len, out.getvalue().splitlines())) <= 80


def test_figures_hold_what_an_act_has_shown(ledger: Ledger, tmp_path: Path) -> None:
    ledger.phases[0].exhibits.append(Exhibit.of_text("$ lbctl assign list", "POOL  SOURCE\nlungs  192.0.2.201\n"))
    write_figures(ledger, tmp_path / "demo.json")
    (phase,) = json.loads((tmp_path / "demo.json").read_text())["phases"]
    assert phase["exhibits"] == [
        {"title": "$ lbctl assign list", "headings": [], "rows": [["POOL  SOURCE"], ["lungs  192.0.2.201"]]}
    ]


@pytest.mark.parametrize(
    ("octets", "told", "column"),
    [(0, "0", "0"), (66, "0.1 kB", "0.1"), (164_500, "164.5 kB", "164"), (121_500_000, "121.5 MB", "121,500")],
)
def test_amount_is_told_in_the_unit_that_suits_it(octets: int, told: str, column: str) -> None:
    assert (amount(octets), kilobytes(octets)) == (told, column)
