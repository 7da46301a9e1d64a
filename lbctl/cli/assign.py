"""``lbctl assign``: which source has which backend, in pools with private storage."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlencode

import click
from rich.table import Table

from lbctl.cli.client import assignment_resource, delete, get, put
from lbctl.cli.options import socket_option
from lbctl.cli.render import console
from lbctl.core.addresses import by_number
from lbctl.core.model import Address
from lbctl.daemon.models import MAX_NAME, Assignee, Assignment, Assignments, Done
from lbctl.errors import UsageError


@click.group()
def assign() -> None:
    """Which source (client address) has which backend, in pools with private storage.

    There each archive has its own studies, so a source keeps to the one that its first connection was given, whatever becomes
    of weights. A source is an address as the director sees it: behind NAT, that of the NAT.
    """


@assign.command(name="list", short_help="List the assignments.")
@click.argument("pool", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
@socket_option
def list_(pool: str | None, as_json: bool, socket: Path) -> None:
    """List the assignments of POOL, or of all pools with private storage."""
    found = get(socket, "/v1/assignments" + (f"?{urlencode({'pool': pool})}" if pool is not None else ""), Assignments)
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    elif found.assignments:
        console().print(_table(found.assignments))
    else:
        click.echo(f"no source is assigned{f' in pool {pool}' if pool else ''}")


@assign.command(name="set", short_help="Send the new connections of a source to a backend.")
@click.argument("pool")
@click.argument("source")
@click.argument("backend")
@socket_option
def set_(pool: str, source: str, backend: str, socket: Path) -> None:
    """Send the new connections of SOURCE to BACKEND of POOL from now on.

    Live ones go on where they are. Studies do not move along: what SOURCE stored on another backend, it will not find on this
    one unless they are copied there.
    """
    assignee = Assignee(backend=_name_within(pool, backend))
    click.echo(put(socket, assignment_resource(pool, _address(source)), assignee, Done).message)


@assign.command(short_help="Forget the assignment of a source.")
@click.argument("pool")
@click.argument("source")
@socket_option
def remove(pool: str, source: str, socket: Path) -> None:
    """Forget the assignment of SOURCE in POOL: its next connection is given a backend by weight, and keeps to that."""
    click.echo(delete(socket, assignment_resource(pool, _address(source)), Done).message)


def _address(source: str) -> Address:
    try:
        return ip_address(source)
    except ValueError as error:
        raise UsageError(
            f"SOURCE {source!r} is not an IP address",
            hint="write one client's address, such as 192.0.2.201 or 2001:db8::201; clients are assigned one by one",
        ) from error


def _name_within(pool: str, backend: str) -> str:
    """``POOL/BACKEND``, as other commands have it, means the same."""
    name = backend.removeprefix(f"{pool}/")
    if not name or len(name) > MAX_NAME:
        raise UsageError(f"{backend!r} does not name a backend", hint="`lbctl status` lists those of each pool")
    return name


def _table(found: tuple[Assignment, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("POOL", "SOURCE", "BACKEND"):
        table.add_column(heading, overflow="fold")
    for row in sorted(found, key=lambda row: (row.pool, by_number(row.source))):
        table.add_row(row.pool, str(row.source), row.backend)
    return table
