"""``lbctl plan``: what a file would change, and what that does to those who are served."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from lbctl.cli.client import PLAN, PLAN_TIMEOUT_S, post
from lbctl.cli.options import PATH, file_argument, socket_option
from lbctl.cli.plan_view import show
from lbctl.cli.render import console
from lbctl.config.reading import read_text
from lbctl.daemon.models import PlanReport, Proposal

THERE_ARE_CHANGES = 3
"""The exit code that says so; 0 says that there are none."""


@click.command(epilog="Exit codes: 0 nothing to do, 1 it failed, 2 the file is wrong, 3 there are changes, or drift.")
@file_argument
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts: all of it.")
@click.option("--offline", is_flag=True, help="Ask no daemon: compare with the file named by --against.")
@click.option("--against", type=PATH, metavar="OLD", help="The file to compare with, offline.")
@socket_option
def plan(file: Path, as_json: bool, offline: bool, against: Path | None, socket: Path) -> None:
    """Compare FILE (/etc/lbctl/lbctl.yaml, or what LBCTL_CONFIG says, if you name none) with what is in force; change nothing.

    Shown are the keys that differ; what that does: which new connections go elsewhere, which live sessions are touched as of
    now; the steps that carry it out, with their price; and drift: what of the kernel's tables lbctl did not write. New backends
    are taken to be up, which they are once a check has succeeded.

    Offline neither root nor a daemon is needed: all backends are taken to be up, and nobody counts connections.
    """
    if offline != (against is not None):
        raise click.UsageError("--offline and --against OLD go together")
    report = _offline(file, against) if against else _asked(socket, file)
    if as_json:
        click.echo(report.model_dump_json(indent=1))
    else:
        show(report, console())
    if not report.is_empty:
        click.get_current_context().exit(THERE_ARE_CHANGES)


def _asked(socket: Path, file: Path) -> PlanReport:
    proposal = Proposal(text=read_text(file), source=str(file.resolve()))
    return post(socket, PLAN, PlanReport, content=proposal, timeout_s=PLAN_TIMEOUT_S)


def _offline(file: Path, against: Path) -> PlanReport:
    """All that the daemon computes with is imported here only: who asks a daemon does not wait for it."""
    from lbctl.config.describe import warnings
    from lbctl.config.loader import parse
    from lbctl.core.features import features_of
    from lbctl.core.imagined import imagined
    from lbctl.daemon.models.planned import planned

    old, new = read_text(against), read_text(file)
    before, after = parse(old, source=str(against)), parse(new, source=str(file))
    return planned(
        imagined(before, after),
        base=_digest(old),
        proposed=_digest(new),
        source=str(file.resolve()),
        generation=0,
        features=features_of(before),
        warnings=warnings(after),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
