"""``lbctl events``: new connections and dropped packets, as they happen."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from lbctl.cli.client import stream
from lbctl.cli.options import socket_option
from lbctl.core.addresses import endpoint
from lbctl.core.model import Address
from lbctl.daemon.models import EventStatus

_REASON_WIDTH = 13


@click.command()
@click.option("--flows", is_flag=True, help="New flows only.")
@click.option("--drops", is_flag=True, help="Dropped packets only.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, an object a line.")
@socket_option
def events(flows: bool, drops: bool, as_json: bool, socket: Path) -> None:
    """Print new flows and dropped packets, a line each, until Ctrl-C.

    A TCP connection is told when its handshake completes. What was refused (wrong_port, turned_away, reset) was answered, not
    dropped: `lbctl status` counts it. The program tells of at most 1,000 a second on each CPU, and of none while nobody
    watches. Only headers are looked at, never what a packet carries.
    """
    wants_all = flows == drops
    resource = f"/v1/events?flows={str(flows or wants_all).lower()}&drops={str(drops or wants_all).lower()}"
    try:
        for event in stream(socket, resource, EventStatus):
            _print(event, as_json=as_json)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # `| head`: who reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    click.echo("the daemon stopped; forwarding goes on", err=True)


def _print(event: EventStatus, *, as_json: bool) -> None:
    if as_json:
        click.echo(event.model_dump_json())
        return
    if event.lost:
        click.echo(f"{event.lost} events were lost: they came faster than they are read", err=True)
    at = event.time.astimezone().strftime("%H:%M:%S.%f")[:-3]
    reason = click.style(f"{event.reason:<{_REASON_WIDTH}}", fg="red" if event.kind == "drop" else "green")
    click.echo(" ".join([at, reason, *_words(event)]), color=False if os.environ.get("NO_COLOR") else None)


def _words(event: EventStatus) -> Iterator[str]:
    """``tcp 192.0.2.50:41022 > 192.0.2.100:104 [S] eth0 vlan 20 -> archives/pacs1``."""
    yield event.protocol
    if event.source and event.destination:
        yield f"{_end(event.source, event.source_port)} > {_end(event.destination, event.destination_port)}"
    if event.details:
        yield event.details
    yield event.interface
    if event.vlans:
        yield f"vlan {'.'.join(map(str, event.vlans))}"
    if event.backend:
        yield f"-> {event.backend}"
    elif event.service:
        yield f"for {event.service}"


def _end(address: Address, port: int | None) -> str:
    return str(address) if port is None else endpoint(address, port)
