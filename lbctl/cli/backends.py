"""``lbctl drain``, ``halt``, ``enable`` and ``activate``: an operator's word on backends."""

from __future__ import annotations

from pathlib import Path

import click

from lbctl.cli.client import backend_resource, post, target_resource
from lbctl.cli.options import Duration, socket_option, target_argument
from lbctl.cli.waiting import drain_and_wait
from lbctl.core.targets import Target, named
from lbctl.daemon.models import Done
from lbctl.errors import UsageError


@click.command()
@target_argument
@click.option("--wait", is_flag=True, help="Wait until the last connection has ended, and show how many are left.")
@click.option(
    "--timeout", "timeout_s", type=Duration("1s", "7d"), metavar="DURATION", help="Wait no longer than that (10m, 2h)."
)
@socket_option
def drain(target: str, wait: bool, timeout_s: float | None, socket: Path) -> None:
    """Give backends no new connections; their live ones go on, the idle ones too. Lasts through restarts.

    TARGET is POOL/BACKEND, a POOL, or the address of a host: what it is in all pools. With --wait, the exit code is 0 when
    nobody is connected any more, nor can be: a client that was let in just before the drain is waited for until its handshake
    is complete, or, if it never will be, for about a minute. It is 1 when the time is over; the drain stays either way, also
    after Ctrl-C. What the file loses meanwhile is waited for, too.

    Where only one backend of a pool is active (policy failover), draining that one makes another active and RESETS its
    connections. Where storage is private, its assigned sources are refused until `lbctl enable`: nobody else has their studies.
    """
    if timeout_s is not None and not wait:
        raise UsageError("--timeout is for how long to wait", hint="say --wait, too")
    found = named(target)
    if wait:
        drain_and_wait(socket, found, timeout_s=timeout_s)
    else:
        _command(socket, found, "drain")


@click.command()
@target_argument
@socket_option
def halt(target: str, socket: Path) -> None:
    """Cut backends off: no new connections, and every live one is cut (reset) at once, at its client and at the server.

    A transfer under way fails, and its client must repeat it; `lbctl drain` would let it end. Nobody is asked to confirm.
    Lasts through restarts, until `lbctl enable`. TARGET is POOL/BACKEND, a POOL, or the address of a host.
    """
    _command(socket, named(target), "halt")


@click.command()
@target_argument
@click.option(
    "--slow-start",
    "slow_start_s",
    type=Duration("1s", "24h"),
    metavar="DURATION",
    help="Let its share grow from a tenth to all of it in that time.",
)
@socket_option
def enable(target: str, slow_start_s: float | None, socket: Path) -> None:
    """End a drain or a halt: backends take new connections as their health and weight allow.

    A slow start begins when the backend takes connections (anew, if meanwhile it took none, or was not in the file), and goes
    on through restarts of the daemon; without one, a slow start that is under way is over. With policy failover a backend
    stands by, unless the pool fails back by itself; to return to it: `lbctl activate`. TARGET is POOL/BACKEND, a POOL, or the
    address of a host.
    """
    _command(socket, named(target), "enable", f"?slow_start_s={slow_start_s}" if slow_start_s else "")


@click.command()
@click.argument("backend", metavar="POOL/BACKEND")
@socket_option
def activate(backend: str, socket: Path) -> None:
    """Make a backend the active one of its pool, which must have the policy failover: the way to fail back.

    The connections of the one that was active are reset, so that no two receive at a time. Lasts through restarts. A pool
    with `failback: automatic` chooses for itself: there drain the backends before this one instead.
    """
    click.echo(post(socket, backend_resource(backend, "activate"), Done).message)


def _command(socket: Path, target: Target, verb: str, query: str = "") -> None:
    click.echo(post(socket, f"{target_resource(target)}/{verb}{query}", Done).message)
