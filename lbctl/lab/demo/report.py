"""The end of the demonstration: what went where, phase by phase, on the screen and in a file."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lbctl.lab.capture import Kind, Tally
from lbctl.lab.demo.ledger import Ledger, Phase

_CONTROL = (Kind.CLIENT_CONTROL, Kind.ARP, Kind.OTHER)


def print_report(ledger: Ledger, console: Console) -> None:
    """Two tables and a verdict."""
    console.print(_work_table(ledger))
    console.print(_nic_table(ledger))
    failed = [(phase, item) for phase in ledger.phases for item in phase.expectations if not item.met]
    for phase, item in failed:
        console.print(f"[red]✗ {phase.title}: {item.text}[/red] {item.measured}")
    met = sum(item.met for phase in ledger.phases for item in phase.expectations)
    console.print(f"{met} of {met + len(failed)} expectations met; set-up took {ledger.set_up_s} s")


def write_figures(ledger: Ledger, path: Path) -> None:
    """The same as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(ledger.as_json(), indent=2) + "\n")


def _work_table(ledger: Ledger) -> Table:
    archives = sorted({name for phase in ledger.phases for name in phase.connections})
    table = Table(title="What was done (new connections by archive)")
    table.add_column("phase")
    for heading in ("s", *archives, "MB stored", "MB retrieved"):
        table.add_column(heading, justify="right")
    for phase in ledger.phases:
        table.add_row(
            phase.title,
            f"{phase.elapsed_s or 0:.1f}",
            *(str(phase.connections.get(name, 0)) for name in archives),
            _megabytes(phase.stored_bytes),
            _megabytes(phase.retrieved_bytes),
        )
    table.add_section()
    table.add_row(
        "total",
        f"{sum(phase.elapsed_s or 0 for phase in ledger.phases):.1f}",
        *(str(sum(phase.connections.get(name, 0) for phase in ledger.phases)) for name in archives),
        _megabytes(sum(phase.stored_bytes for phase in ledger.phases)),
        _megabytes(sum(phase.retrieved_bytes for phase in ledger.phases)),
    )
    return table


def _nic_table(ledger: Ledger) -> Table:
    table = Table(title="What the director's NIC saw (received, by kind; and everything it sent)")
    table.add_column("phase")
    headings = ("client data", "bare ACKs", "SYN, FIN, RST, ARP", "checks", "server to client", "sent")
    for heading in headings:
        table.add_column(heading, justify="right")
    for phase in ledger.phases:
        table.add_row(phase.title, *map(_amount, _columns(phase)))
    table.add_section()
    totals = [sum(column, Tally()) for column in zip(*map(_columns, ledger.phases), strict=True)]
    table.add_row("total", *map(_amount, totals))
    return table


def _columns(phase: Phase) -> tuple[Tally, ...]:
    return (
        phase.received(Kind.CLIENT_DATA),
        phase.received(Kind.CLIENT_ACK),
        phase.received(*_CONTROL),
        phase.received(Kind.PROBE),
        phase.received(Kind.FROM_VIP),
        phase.sent(),
    )


def _amount(tally: Tally) -> str:
    if not tally.frames:
        return "0"
    size = f"{tally.octets / 1e6:.1f} MB" if tally.octets >= 1e6 else f"{tally.octets / 1e3:.1f} kB"
    return f"{size} ({tally.frames})"


def _megabytes(octets: int) -> str:
    return f"{octets / 1e6:.1f}" if octets else ""
