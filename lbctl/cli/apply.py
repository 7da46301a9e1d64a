"""``lbctl apply`` and ``lbctl confirm``: a configuration is put in force."""

from __future__ import annotations

from pathlib import Path

import click

from lbctl.cli.client import APPLY_TIMEOUT_S, post
from lbctl.cli.deciding import decided, require_somebody
from lbctl.cli.options import Duration, file_argument, socket_option
from lbctl.config.reading import read_text
from lbctl.daemon.models import Application, Done, Proposal


@click.command()
@file_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--confirm",
    "confirm_s",
    type=Duration("1s", "24h"),
    metavar="DURATION",
    help="Roll back after that time (60s, 5m) unless `lbctl confirm` is said.",
)
@socket_option
def apply(file: Path, yes: bool, confirm_s: float | None, socket: Path) -> None:
    """Put FILE in force, verified, or leave all as it was. Shows the plan and asks first.

    FILE is /etc/lbctl/lbctl.yaml, or what LBCTL_CONFIG says, unless you name one. If it is not the daemon's own configuration,
    it replaces the text of that, comments and all; with --confirm that happens when it is confirmed. What somebody wrote there
    and did not apply yet is kept beside it. Who cut himself off need not do anything: what was in force before comes back.

    What the kernel has is compared with what was written; if it differs, what was in force before is put back at once. No live
    session is moved or cut unless the plan says so.
    """
    require_somebody(yes=yes)
    text, source = read_text(file), str(file.resolve())
    report = decided(socket, Proposal(text=text, source=source), yes=yes, question="Apply this?")
    application = Application(text=text, source=source, base=report.base, confirm_s=confirm_s)
    click.echo(post(socket, "/v1/apply", Done, content=application, timeout_s=APPLY_TIMEOUT_S).message)


@click.command()
@socket_option
def confirm(socket: Path) -> None:
    """Let the change stay that was applied with --confirm."""
    click.echo(post(socket, "/v1/confirm", Done, timeout_s=APPLY_TIMEOUT_S).message)
