"""``lbctl flows``: live connections."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from lbctl.cli.client import get
from lbctl.cli.options import socket_option
from lbctl.cli.render import amount, console, duration
from lbctl.cli.tables import Column, print_table
from lbctl.core.addresses import by_number, endpoint
from lbctl.daemon.models import Flows, FlowStatus
from lbctl.errors import UsageError

_MOST = 10_000


@click.command()
@click.option("--limit", type=click.IntRange(1, _MOST), default=1000, show_default=True, help="List at most this many.")
@click.option("--backend", metavar="POOL/BACKEND", help="Only those of one backend.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@socket_option
def flows(limit: int, backend: str | None, as_json: bool, socket: Path) -> None:
    """List live connections through the director: client, VIP, backend, and how long the client has been silent.

    SENT and RETURNED are bytes of TCP payload, as the client's sequence numbers and acknowledgements tell: what is returned
    never crosses the director.
    """
    found = get(socket, f"/v1/flows?limit={limit}{_of(backend)}", Flows)
    if as_json:
        click.echo(found.model_dump_json(indent=1))
        return
    print_table(console(), _columns(found.flows))
    if found.truncated:
        click.echo(f"not all are shown; --limit may be up to {_MOST}")


def _of(backend: str | None) -> str:
    """The part of the resource that names a backend, also one that was removed from the file."""
    if backend is None:
        return ""
    if "/" not in backend:
        raise UsageError(f"{backend!r} does not name a backend", hint="write POOL/BACKEND; `lbctl status` lists them")
    return f"&backend={quote(backend, safe='')}"


def _columns(found: tuple[FlowStatus, ...]) -> tuple[Column, ...]:
    rows = sorted(
        found, key=lambda flow: (by_number(flow.vip), flow.vip_port, by_number(flow.client), flow.client_port)
    )
    return (
        Column(heading="PROTO", cells=[row.protocol for row in rows]),
        Column(heading="CLIENT", cells=[endpoint(row.client, row.client_port) for row in rows], is_address=True),
        Column(heading="VIP", cells=[endpoint(row.vip, row.vip_port) for row in rows], is_address=True),
        Column(heading="BACKEND", cells=[row.backend for row in rows]),
        Column(heading="STATE", cells=[row.state for row in rows]),
        Column(heading="IDLE", cells=[duration(row.idle_s) for row in rows], is_number=True),
        Column(heading="SENT", cells=[amount(row.sent_bytes) for row in rows], is_number=True, rank=1),
        Column(heading="RETURNED", cells=[amount(row.returned_bytes) for row in rows], is_number=True, rank=1),
    )
