"""The end of a demonstration: what was shown, what went where, and a verdict; on the screen and in a file."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbctl.lab.demo.display import expectation_line
from lbctl.lab.demo.ledger import Ledger
from lbctl.lab.demo.programme import Demonstration, StageT


def print_report(demonstration: Demonstration[StageT], ledger: Ledger, console: Console, *, figures: Path) -> None:
    """What was shown, the demonstration's own tables, what failed, and the verdict. Fits 80 columns."""
    for title, table in (("What was shown", _showing(ledger)), *demonstration.accounts(ledger)):
        console.print(Text(f"\n{title}", style="bold underline"))
        console.print(table)
    console.print()
    console.print(demonstration.summary(ledger), highlight=False)
    _print_verdict(ledger, console, figures)


def write_figures(ledger: Ledger, path: Path) -> None:
    """The same as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(ledger.as_json(), indent=2) + "\n")


def _showing(ledger: Ledger) -> Table:
    table = plain_table(left=("", "phase"), right=("s",), last=("result",))
    for phase in ledger.phases:
        mark, style = ("✓", "green") if phase.has_passed else ("✗", "bold red")
        result = phase.result or "it did not come to its end"
        table.add_row(Text(mark, style), phase.title, f"{phase.elapsed_s or 0:.1f}", result)
    return table


def plain_table(*, left: tuple[str, ...], right: tuple[str, ...], last: tuple[str, ...] = ()) -> Table:
    """A table without lines: columns flush left, then flush right, then those that may break."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0) if last else (0, 2, 0, 0), header_style="dim")
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in last:
        table.add_column(heading)
    return table


def _print_verdict(ledger: Ledger, console: Console, figures: Path) -> None:
    count = sum(len(phase.expectations) for phase in ledger.phases)
    took = f"set-up {ledger.set_up_s or 0:.1f} s, acts {ledger.acts_s:.1f} s; figures in {figures}"
    if ledger.has_passed:
        console.print(Text(f"✓ all {count} expectations met ({took})", style="bold green"))
        return
    console.print(Text(f"✗ {len(ledger.failed)} of {count} expectations not met ({took})", style="bold red"))
    for phase, expectation in ledger.failed:
        console.print(expectation_line(expectation, of=phase.title))
    console.print(Text(f"lbctl's log ended with:\n{ledger.log_tail}", style="dim"))
