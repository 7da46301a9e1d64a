"""``lbctl history``: which configurations were in force, and who put them there."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from lbctl.cli.client import get
from lbctl.cli.options import socket_option
from lbctl.cli.render import console
from lbctl.cli.tables import Column, print_table
from lbctl.daemon.models import History, HistoryEntry, HistoryText

_OUTCOMES = {"unconfirmed": "in force, unconfirmed", "failed": "failed, rolled back", "begun": "being applied"}


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
@socket_option
@click.pass_context
def history(context: click.Context, as_json: bool, socket: Path) -> None:
    """List the configurations that were in force or were to be, the latest last. The director keeps a hundred."""
    if context.invoked_subcommand is not None:
        return
    found = get(socket, "/v1/history", History)
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    else:
        _print(found)


@history.command(short_help="Print the text of an entry.")
@click.argument("number", type=click.IntRange(min=1))
@socket_option
def show(number: int, socket: Path) -> None:
    """Print the text of entry NUMBER as it was applied, comments and all."""
    click.echo(get(socket, f"/v1/history/{number}", HistoryText).text, nl=False)


def _print(found: History) -> None:
    if not found.entries:
        click.echo("no configuration was applied yet")
        return
    columns = (
        Column(heading="NO", cells=[str(entry.number) for entry in found.entries], is_number=True),
        Column(heading="TIME", cells=[_local(entry.time) for entry in found.entries], rank=1),
        Column(heading="USER", cells=[entry.user for entry in found.entries]),
        Column(heading="HOW", cells=[entry.how for entry in found.entries], rank=2),
        Column(heading="OUTCOME", cells=[outcome(entry) for entry in found.entries]),
    )
    print_table(console(), columns, reasons=[_reason(entry) for entry in found.entries])


def outcome(entry: HistoryEntry) -> str:
    """In words."""
    return _OUTCOMES.get(entry.outcome, entry.outcome)


def _reason(entry: HistoryEntry) -> str:
    return f"{entry.what} ({entry.why})" if entry.why else entry.what


def _local(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
