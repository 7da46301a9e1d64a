"""``lbctl drain`` and ``lbctl enable``."""

from __future__ import annotations

from pathlib import Path

import click

from lbctl.cli.client import backend_resource, post
from lbctl.cli.options import socket_option
from lbctl.daemon.models import Done


@click.command()
@click.argument("backend", metavar="POOL/BACKEND")
@socket_option
def drain(backend: str, socket: Path) -> None:
    """Give a backend no new connections; its live ones go on, the idle ones too. Lasts through restarts."""
    click.echo(post(socket, backend_resource(backend, "drain"), Done).message)


@click.command()
@click.argument("backend", metavar="POOL/BACKEND")
@socket_option
def enable(backend: str, socket: Path) -> None:
    """End a drain: the backend takes new connections as its health and weight allow."""
    click.echo(post(socket, backend_resource(backend, "enable"), Done).message)
