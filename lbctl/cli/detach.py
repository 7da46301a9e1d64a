"""``lbctl detach``: the one command that stops forwarding."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lbctl.cli.deciding import is_somebody_there
from lbctl.cli.options import pins_option
from lbctl.daemon.teardown import tear_down
from lbctl.errors import SystemRequirementError, UsageError


@click.command()
@pins_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def detach(pins: Path, yes: bool) -> None:
    """Take the data plane down. Every connection through the VIPs ends; the daemon must be stopped before.

    Removes the program from its interfaces, and all of lbctl's pins, policy routes and neighbour entries.
    """
    if os.geteuid() != 0:
        raise SystemRequirementError("lbctl detach needs root", hint="run it as root")
    if not pins.is_dir():
        click.echo(f"nothing was attached: {pins} does not exist")
        return
    if not yes and not is_somebody_there():
        raise UsageError("nobody can be asked here, for the input is no terminal", hint="say --yes: traffic stops then")
    if not yes:
        click.confirm("Every connection through this director's VIPs will end. Go on?", abort=True)
    links = tear_down(pins)
    click.echo(f"detached from {links} interface{'' if links == 1 else 's'}; nothing of lbctl is left in {pins}")
