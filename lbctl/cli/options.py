"""Options and defaults that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

CONFIG = Path("/etc/lbctl/lbctl.yaml")
PINS = Path("/sys/fs/bpf/lbctl")
SOCKET = Path("/run/lbctl/lbctl.sock")
STATE = Path("/var/lib/lbctl")

socket_option = click.option(
    "--socket",
    type=click.Path(path_type=Path),
    default=SOCKET,
    envvar="LBCTL_SOCKET",
    show_default=True,
    show_envvar=True,
    help="The daemon's control socket.",
)
pins_option = click.option(
    "--pins",
    type=click.Path(path_type=Path),
    default=PINS,
    envvar="LBCTL_PINS",
    show_default=True,
    show_envvar=True,
    help="Directory on a BPF file system that holds the data plane.",
)
