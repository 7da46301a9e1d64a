"""What a run has shown: steps by kind, connections, recoveries, what has grown; and a verdict, on the screen and in a file."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbctl.lab.chaos import leaks
from lbctl.lab.chaos.run import Run, Tally
from lbctl.lab.chaos.step import Kind
from lbctl.lab.demo.report import plain_table


def print_report(run: Run, console: Console, *, figures: Path) -> None:
    """Tables, the verdict, and what else a failure needs. Fits 80 columns."""
    for title, table in (
        ("Steps, and how long until all was as declared again", _steps(run.tally)),
        ("Connections", _connections(run)),
        ("What the director takes of the machine", _leaks(run.tally)),
    ):
        console.print(Text(f"\n{title}", style="bold underline"))
        console.print(table)
    console.print()
    _print_verdict(run, console, figures)


def as_json(run: Run) -> dict[str, Any]:
    """The figures."""
    tally, held = run.tally, run.crowd.held or [0]
    return {
        "passed": tally.has_passed,
        "seed": tally.seed,
        "steps": {str(kind): count for kind, count in sorted(tally.taken.items())},
        "recoveries_s": {
            str(kind): {"median": round(statistics.median(times), 3), "worst": round(max(times), 3)}
            for kind, times in sorted(tally.recovered_s.items())
        },
        "sessions": {"wanted": tally.sessions, "median": statistics.median(held), "fewest": min(held)},
        "fates": dict(run.ledger.fates),
        "new_connections": dict(run.ledger.visits),
        "messages": run.crowd.messages,
        "slowest_answer_s": run.crowd.slowest_s,
        "census": {
            when: dict(census.counts)
            for when, census in (("first", tally.first), ("last", tally.last))
            if census is not None
        },
        "elapsed_s": round(tally.elapsed_s, 1),
        "failures": tally.failures,
    }


def write_figures(run: Run, path: Path) -> None:
    """The same in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(run), indent=2) + "\n")


def _steps(tally: Tally) -> Table:
    table = plain_table(left=("kind",), right=("taken", "median s", "worst s"))
    for kind in Kind:
        times = tally.recovered_s.get(kind)
        if times:
            median, worst = f"{statistics.median(times):.1f}", f"{max(times):.1f}"
            table.add_row(str(kind), str(tally.taken[kind]), median, worst)
    return table


def _connections(run: Run) -> Table:
    held = run.crowd.held or [0]
    table = plain_table(left=("",), right=("",), last=("",))
    rows = [
        (
            "held at a time",
            statistics.median(held),
            f"in the median; {min(held)} at least, while lost ones were replaced",
        ),
        (
            "kept",
            run.ledger.fates["kept to their end"],
            "every byte from the same server until their client ended them",
        ),
        (
            "ended, and told",
            run.ledger.fates["may end, and told"],
            "their server was killed, cut off, halted or active no more",
        ),
        (
            "ended, never told",
            run.ledger.fates["may end, never told"],
            "their server was cut off, and no longer in the file",
        ),
        ("broken", run.ledger.fates["broken"], "though nothing happened to their server"),
        ("new ones answered", run.ledger.visits["succeeded"], ""),
        ("by their ports", run.ledger.visits["by the ports of another"], "answered by the server of an earlier one's"),
        ("failed, and might", run.ledger.visits["failed, and might"], "server or path was down at that moment"),
        ("failed", run.ledger.visits["failed"], "though a server was there"),
        ("messages", run.crowd.messages, f"each checked; the slowest answer took {run.crowd.slowest_s:.1f} s"),
    ]
    for name, count, words in rows:
        table.add_row(name, f"{count:,.0f}", words)
    return table


def _leaks(tally: Tally) -> Table:
    table = plain_table(left=("",), right=("first", "last", "may grow by"))
    if tally.first is None:
        return table
    for name, count in tally.first.counts.items():
        last = f"{tally.last.counts.get(name, 0):g}" if tally.last else "-"
        table.add_row(name, f"{count:g}", last, f"{leaks.allowed(name):g}")
    return table


def _print_verdict(run: Run, console: Console, figures: Path) -> None:
    tally = run.tally
    took = f"{tally.taken.total()} steps in {tally.elapsed_s:.0f} s, seed {tally.seed}; figures in {figures}"
    if tally.has_passed:
        console.print(Text(f"✓ no protected connection broken, nothing leaked ({took})", style="bold green"))
        return
    console.print(Text(f"✗ {len(tally.failures)} failures ({took})", style="bold red"))
    for words in tally.failures[:20]:
        console.print(Text(f"  {words}", style="bold red"))
    console.print(f"the same again: python -m lbctl.lab.chaos --seed {tally.seed} --steps {tally.taken.total()}")
    console.print(Text(f"lbctl's log ended with:\n{tally.log_tail}", style="dim"))
