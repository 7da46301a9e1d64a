"""The end of the demonstration: what was shown, what went where, and a verdict; on the screen and in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbctl.lab.capture import FROM_CLIENTS, Kind
from lbctl.lab.demo.display import expectation_line
from lbctl.lab.demo.ledger import Ledger, Phase
from lbctl.lab.demo.words import amount, kilobytes, megabytes
from lbctl.lab.topology import VIP

_NIC_COLUMNS: tuple[tuple[str, Callable[[Phase], int]], ...] = (
    ("client\ndata", lambda phase: phase.received(Kind.CLIENT_DATA).octets),
    ("pure\nACKs", lambda phase: phase.received(Kind.CLIENT_ACK).octets),
    ("SYN, FIN\nRST", lambda phase: phase.received(Kind.CLIENT_CONTROL).octets),
    ("archive\nto client", lambda phase: phase.received(Kind.FROM_VIP).octets),
    ("lbctl's\nchecks", lambda phase: phase.both_ways(Kind.PROBE).octets),
    ("\nARP", lambda phase: phase.both_ways(Kind.ARP).octets),
    ("\nother", lambda phase: phase.both_ways(Kind.OTHER).octets),
)


def print_report(ledger: Ledger, console: Console, *, figures: Path) -> None:
    """What was shown, two tables, what failed, and the verdict. Fits 80 columns."""
    for title, table in (
        ("What was shown", _showing(ledger)),
        ("New connections by archive, and the MB that clients stored and retrieved", _work_table(ledger)),
        ("The director's NIC, in kB: received from clients; checks and ARP in and out", _nic_table(ledger)),
    ):
        console.print(Text(f"\n{title}", style="bold underline"))
        console.print(table)
    console.print()
    _print_verdict(ledger, console, figures)


def write_figures(ledger: Ledger, path: Path) -> None:
    """The same as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(ledger.as_json(), indent=2) + "\n")


def _showing(ledger: Ledger) -> Table:
    table = _table(left=("", "phase"), right=("s",), last=("result",))
    for phase in ledger.phases:
        mark, style = ("✓", "green") if phase.has_passed else ("✗", "bold red")
        result = phase.result or "it did not come to its end"
        table.add_row(Text(mark, style), phase.title, f"{phase.elapsed_s or 0:.1f}", result)
    return table


def _work_table(ledger: Ledger) -> Table:
    archives = sorted({name for phase in ledger.phases for name in phase.connections})
    headings = (*archives, "stored", "retrieved")
    table = _table(left=("phase",), right=headings)
    for phase in ledger.phases:
        connections = (str(phase.connections.get(name, 0)) for name in archives)
        table.add_row(phase.title, *connections, megabytes(phase.stored_bytes), megabytes(phase.retrieved_bytes))
    table.add_section()
    table.add_row(
        "all",
        *(str(sum(phase.connections.get(name, 0) for phase in ledger.phases)) for name in archives),
        megabytes(sum(phase.stored_bytes for phase in ledger.phases)),
        megabytes(sum(phase.retrieved_bytes for phase in ledger.phases)),
        style="bold",
    )
    return table


def _nic_table(ledger: Ledger) -> Table:
    headings = tuple(heading for heading, _ in _NIC_COLUMNS)
    table = _table(left=("phase",), right=headings)
    rows = {phase.title: _nic_row(phase) for phase in ledger.phases}
    for title, row in rows.items():
        table.add_row(title, *map(kilobytes, row))
    table.add_section()
    table.add_row("all", *(kilobytes(sum(column)) for column in zip(*rows.values(), strict=True)), style="bold")
    return table


def _nic_row(phase: Phase) -> tuple[int, ...]:
    return tuple(octets_of(phase) for _, octets_of in _NIC_COLUMNS)


def _table(*, left: tuple[str, ...], right: tuple[str, ...], last: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0) if last else (0, 2, 0, 0), header_style="dim")
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in last:
        table.add_column(heading)
    return table


def _print_verdict(ledger: Ledger, console: Console, figures: Path) -> None:
    console.print(_summary(ledger), highlight=False)
    count = sum(len(phase.expectations) for phase in ledger.phases)
    took = f"set-up {ledger.set_up_s or 0:.1f} s, acts {ledger.acts_s:.1f} s; figures in {figures}"
    if ledger.has_passed:
        console.print(Text(f"✓ all {count} expectations met ({took})", style="bold green"))
        return
    console.print(Text(f"✗ {len(ledger.failed)} of {count} expectations not met ({took})", style="bold red"))
    for phase, expectation in ledger.failed:
        console.print(expectation_line(expectation, of=phase.title))
    console.print(Text(f"lbctl's log ended with:\n{ledger.log_tail}", style="dim"))


def _summary(ledger: Ledger) -> str:
    retrieved = sum(phase.retrieved_bytes for phase in ledger.phases)
    acknowledged = sum(phase.received(Kind.CLIENT_ACK).octets for phase in ledger.phases)
    answers = sum(phase.received(Kind.FROM_VIP).frames for phase in ledger.phases)
    received = sum(phase.received(*FROM_CLIENTS).frames for phase in ledger.phases)
    sent_on = sum(phase.sent(*FROM_CLIENTS).frames for phase in ledger.phases)
    part = f" ({acknowledged / retrieved:.2%})" if retrieved else ""
    return (
        f"{amount(retrieved)} came back from {VIP}. The director saw {answers} frames of it, and {amount(acknowledged)} "
        f"of pure ACKs{part}. Of {received:,} frames from clients it sent {sent_on:,} on."
    )
