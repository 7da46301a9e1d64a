"""``lbctl weight``: another weight than the file's."""

from __future__ import annotations

from pathlib import Path

import click

from lbctl.cli.client import put, target_resource
from lbctl.cli.options import socket_option, target_argument
from lbctl.core.targets import named
from lbctl.daemon.models import MAX_WEIGHT, Done, Weighting
from lbctl.errors import UsageError

_DEFAULT = "default"


@click.command()
@target_argument
@click.argument("weight", metavar="N|default")
@socket_option
def weight(target: str, weight: str, socket: Path) -> None:
    """Give backends another weight than the file does, from 0 (no new connections) to 256, or that of the file again.

    No live connection is touched. It lasts through restarts and reloads, also one that brings another weight in the file:
    `lbctl status` shows both. What a load agent says is a percentage of it, as of the file's. TARGET is POOL/BACKEND, a POOL,
    or the address of a host.
    """
    given = Weighting(weight=_parsed(weight))
    click.echo(put(socket, f"{target_resource(named(target))}/weight", given, Done).message)


def _parsed(written: str) -> int | None:
    if written == _DEFAULT:
        return None
    if not (written.isascii() and written.isdecimal()) or len(written) > 9 or int(written) > MAX_WEIGHT:
        raise UsageError(
            f"{written!r} is not a weight", hint=f"write a whole number from 0 to {MAX_WEIGHT}, or {_DEFAULT}"
        )
    return int(written)
