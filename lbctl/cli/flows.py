"""``lbctl flows``: live connections."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click
from rich.table import Table

from lbctl.cli.client import get
from lbctl.cli.options import socket_option
from lbctl.cli.render import console, duration
from lbctl.daemon.models import Flows, FlowStatus
from lbctl.errors import UsageError

_MOST = 10_000


@click.command()
@click.option("--limit", type=click.IntRange(1, _MOST), default=1000, show_default=True, help="List at most this many.")
@click.option("--backend", metavar="POOL/BACKEND", help="Only those of one backend.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@socket_option
def flows(limit: int, backend: str | None, as_json: bool, socket: Path) -> None:
    """List live connections through the director: client, VIP, backend, and how long the client has been silent."""
    found = get(socket, f"/v1/flows?limit={limit}{_of(backend)}", Flows)
    if as_json:
        click.echo(found.model_dump_json(indent=1))
        return
    console().print(_table(found.flows))
    if found.truncated:
        click.echo(f"not all are shown; --limit may be up to {_MOST}")


def _of(backend: str | None) -> str:
    """The part of the resource that names a backend, also one that was removed from the file."""
    if backend is None:
        return ""
    if "/" not in backend:
        raise UsageError(f"{backend!r} does not name a backend", hint="write POOL/BACKEND; `lbctl status` lists them")
    return f"&backend={quote(backend, safe='')}"


def _table(found: tuple[FlowStatus, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("PROTO", "CLIENT", "VIP", "BACKEND", "STATE"):
        table.add_column(heading)
    table.add_column("IDLE", justify="right")
    for flow in sorted(found, key=lambda flow: (flow.vip, flow.vip_port, flow.client, flow.client_port)):
        client, vip = f"{flow.client}:{flow.client_port}", f"{flow.vip}:{flow.vip_port}"
        table.add_row(flow.protocol, client, vip, flow.backend, flow.state, duration(flow.idle_s))
    return table
