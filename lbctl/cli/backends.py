"""``lbctl drain``, ``enable``, ``halt`` and ``activate``: an operator's word on one backend."""

from __future__ import annotations

from pathlib import Path

import click

from lbctl.cli.client import backend_resource, post
from lbctl.cli.options import socket_option
from lbctl.daemon.models import Done

_backend_argument = click.argument("backend", metavar="POOL/BACKEND")


@click.command()
@_backend_argument
@socket_option
def drain(backend: str, socket: Path) -> None:
    """Give a backend no new connections; its live ones go on, the idle ones too. Lasts through restarts.

    Where only one backend of a pool is active (policy failover), draining that one makes another active and RESETS its
    connections. Where storage is private, its assigned sources are refused until `lbctl enable`: nobody else has their studies.
    """
    _command(socket, backend, "drain")


@click.command()
@_backend_argument
@socket_option
def halt(backend: str, socket: Path) -> None:
    """Cut a backend off: no new connections, and every live one is cut (reset) at once, at its client and at the server.

    A transfer under way fails, and its client must repeat it; `lbctl drain` would let it end. Nobody is asked to confirm.
    Lasts through restarts, until `lbctl enable`.
    """
    _command(socket, backend, "halt")


@click.command()
@_backend_argument
@socket_option
def enable(backend: str, socket: Path) -> None:
    """End a drain or a halt: the backend takes new connections as its health and weight allow.

    With policy failover it stands by, unless the pool fails back by itself; to return to it: `lbctl activate`.
    """
    _command(socket, backend, "enable")


@click.command()
@_backend_argument
@socket_option
def activate(backend: str, socket: Path) -> None:
    """Make a backend the active one of its pool, which must have the policy failover: the way to fail back.

    The connections of the one that was active are reset, so that no two receive at a time. Lasts through restarts. A pool
    with `failback: automatic` chooses for itself: there drain the backends before this one instead.
    """
    _command(socket, backend, "activate")


def _command(socket: Path, backend: str, verb: str) -> None:
    click.echo(post(socket, backend_resource(backend, verb), Done).message)
