"""Options and defaults that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lbctl.config.mistakes import InvalidValueError
from lbctl.config.numbers import duration

CONFIG = Path("/etc/lbctl/lbctl.yaml")
PINS = Path("/sys/fs/bpf/lbctl")
SOCKET = Path("/run/lbctl/lbctl.sock")
STATE = Path("/var/lib/lbctl")


PATH = click.Path(path_type=Path, readable=False)
"""Whether it may be read is found out by reading it: then the message says who may, and what else is wrong comes first."""


class Duration(click.ParamType[float]):
    """A number with a unit, as in the file; seconds."""

    name = "duration"

    def __init__(self, shortest: str, longest: str) -> None:
        self._parse = duration(shortest, longest)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`click.BadParameter` if it is none, or out of range."""
        if isinstance(value, float):  # converted already
            return value
        try:
            return self._parse(value)
        except InvalidValueError as error:
            self.fail(f"{error.message}; {error.hint}", param, ctx)


socket_option = click.option(
    "--socket",
    type=PATH,
    default=SOCKET,
    envvar="LBCTL_SOCKET",
    show_default=True,
    show_envvar=True,
    help="The daemon's control socket.",
)
pins_option = click.option(
    "--pins",
    type=PATH,
    default=PINS,
    envvar="LBCTL_PINS",
    show_default=True,
    show_envvar=True,
    help="Directory on a BPF file system that holds the data plane.",
)
file_argument = click.argument("file", type=PATH, default=CONFIG, envvar="LBCTL_CONFIG")
target_argument = click.argument("target", metavar="TARGET")
