"""``lbctl rollback``: a configuration of the history is put in force again."""

from __future__ import annotations

from pathlib import Path

import click

from lbctl.cli.client import APPLY_TIMEOUT_S, get, post
from lbctl.cli.deciding import decided, require_somebody
from lbctl.cli.options import socket_option
from lbctl.daemon.models import Done, History, HistoryText, Proposal, Rollback
from lbctl.errors import UsageError


@click.command()
@click.argument("number", type=click.IntRange(min=1), required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@socket_option
def rollback(number: int | None, yes: bool, socket: Path) -> None:
    """Put entry NUMBER of the history in force again; without a number the one before the present.

    Shows the plan and asks first. It becomes a new entry, and the daemon's configuration file gets its text. If a change waits
    for its confirmation, that one is rolled back.
    """
    require_somebody(yes=yes)
    wanted = number or get(socket, "/v1/history", History).before
    if wanted is None:
        raise UsageError("nothing was in force before", hint="`lbctl history` lists what there is")
    text = get(socket, f"/v1/history/{wanted}", HistoryText).text
    proposal = Proposal(text=text, source=f"entry {wanted} of the history")
    report = decided(socket, proposal, yes=yes, question=f"Put entry {wanted} in force again?")
    asked = Rollback(number=wanted, base=report.base)
    click.echo(post(socket, "/v1/rollback", Done, content=asked, timeout_s=APPLY_TIMEOUT_S).message)
