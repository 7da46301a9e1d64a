"""``lbctl run``: the daemon in the foreground."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lbctl.cli.options import CONFIG, PATH, SOCKET, STATE, pins_option
from lbctl.errors import LbctlError, SystemRequirementError


@click.command()
@click.option("--config", type=PATH, default=CONFIG, show_default=True, help="The configuration.")
@pins_option
@click.option("--socket", type=PATH, default=SOCKET, show_default=True, help="Control socket to create.")
@click.option(
    "--state",
    type=PATH,
    default=STATE,
    show_default=True,
    help="Directory for what must outlast a restart: drains and halts, active backends, assignments, applied files.",
)
@click.option("--debug", is_flag=True, help="Say more in the log.")
def run(config: Path, pins: Path, socket: Path, state: Path, debug: bool) -> None:
    """Run the director until SIGTERM. Forwarding goes on after that; `lbctl detach` ends it.

    SIGHUP reads the configuration file again. If the file is wrong at the start, or fits neither the interfaces nor the tables,
    the last one that was in force goes on, as long as the state directory has it.
    """
    if os.geteuid() != 0:
        raise SystemRequirementError("lbctl run needs root", hint="run it as root, or as the systemd service")
    from lbctl.daemon.early import begun, begun_with, other_start

    with begun(config, state) as early:
        from lbctl.daemon import app  # takes longer to import than the file to read: the compiler works meanwhile

        app.set_up_logging(debug=debug)
        options = app.Options(config=config, pins=pins, socket=socket, state=state)
        try:
            app.run(options, early)
        except LbctlError as error:
            other = other_start(early.start, state, why=error)
            if other is None:
                raise
        else:
            return
    with begun_with(other) as early:
        app.run(options, early)
