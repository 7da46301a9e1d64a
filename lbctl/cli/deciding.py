"""A plan that is shown, and somebody who is asked whether it is to be carried out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lbctl.cli.client import PLAN, PLAN_TIMEOUT_S, post
from lbctl.cli.plan_view import show
from lbctl.cli.render import console
from lbctl.daemon.models import PlanReport, Proposal
from lbctl.errors import UsageError


def require_somebody(*, yes: bool) -> None:
    """`UsageError` if nobody can be asked, and has not said yes in advance."""
    if not yes and not is_somebody_there():
        raise UsageError(
            "nobody can be asked here, for the input is no terminal", hint="say --yes; `lbctl plan` only looks"
        )


def is_somebody_there() -> bool:
    """Whether the input is a terminal."""
    return sys.stdin.isatty()


def decided(socket: Path, proposal: Proposal, *, yes: bool, question: str) -> PlanReport:
    """Show what a text would change, and ask; who says no, ends the command (1). About nothing nobody is asked."""
    report = post(socket, PLAN, PlanReport, content=proposal, timeout_s=PLAN_TIMEOUT_S)
    if report.base == report.proposed and report.is_empty:
        return report
    show(report, console())
    if not yes:
        click.confirm(question, abort=True)
    return report
