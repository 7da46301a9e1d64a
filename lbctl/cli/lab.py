"""``lbctl lab``: a practice network on this machine, made of network namespaces."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from lbctl.errors import SystemRequirementError, UsageError
from lbctl.lab import session
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab, plan_lab

_PORT = 8042

_EXAMPLE = """\
interfaces:
  {interface}: {{address: {director}/24}}
services:
  web: {{vip: {vip}, ports: [{port}], protocol: tcp, pool: servers}}
pools:
  servers:
    kind: web
    check: {{type: tcp, interval: 1s, timeout: 500ms}}
    backends:
"""

_STEPS = """\
Next, each in a terminal of its own (`{lbctl} lab shell NODE` alone opens a shell on a node):

# a web server on every backend
for n in {backends}; do {lbctl} lab shell $n python3 -m http.server {port} --directory {directory}/$n & done

# the daemon on the director; Ctrl-C ends it, and forwarding goes on
{lbctl} lab shell director {inside} run \\
    --config {paths.config} --pins {paths.pins} \\
    --socket {paths.socket} --state {paths.state}

# a client: each connection goes to a server of the director's choice
for i in 1 2 3 4 5 6; do {lbctl} lab shell client1 curl -s http://{vip}:{port}/; done

# what the director says; try `drain servers/backend1` and `enable servers/backend1` in place of `status`
{lbctl} lab shell director {inside} status

# a change: edit {paths.config}, then
{lbctl} lab shell director {inside} plan     # and `apply`, `history`, `rollback` in place of `plan`

# the end of it all
{lbctl} lab down\
"""


@click.group()
def lab() -> None:
    """A practice network on this machine: switch, director, backends, clients."""


@lab.command()
@click.option("--backends", default=3, show_default=True, type=click.IntRange(1, 80))
@click.option("--clients", default=3, show_default=True, type=click.IntRange(1, 50))
@click.option("--directors", default=1, show_default=True, type=click.IntRange(1, 9))
@click.option("--flooding", is_flag=True, help="The switch never learns: every frame reaches every port.")
def up(backends: int, clients: int, directors: int, flooding: bool) -> None:
    """Build the network, leave it standing, and tell what to try in it."""
    _require_root()
    plan = plan_lab(directors=directors, backends=backends, clients=clients, flooding=flooding)
    standing = session.up(plan)
    for director in standing.directors:
        _prepare_director(standing, director)
    for backend in standing.backends:
        _prepare_server(standing, backend)
    _show(standing)


@lab.command()
def down() -> None:
    """Take the network down, with every process that runs in it.

    Also removes what demonstrations and tests that were killed have left on this machine.
    """
    _require_root()
    removed = session.remove_abandoned()
    if removed:
        click.echo(f"removed what killed labs had left: {', '.join(removed)}")
    try:
        session.down()
    except UsageError:
        if not removed:
            raise
        return
    click.echo("the lab is down; nothing is left of it")


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("node", default="director")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def shell(node: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on NODE (director, backend1, client1, … or switch), or open a shell there."""
    _require_root()
    session.shell(node, command)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise SystemRequirementError("lbctl lab needs root, for it makes network namespaces", hint="run it as root")


def _prepare_director(standing: Lab, director: Node) -> None:
    paths = session.paths_of(standing.plan, director.name)
    paths.config.parent.mkdir()
    text = _EXAMPLE.format(
        interface=director.interface, director=director.address, vip=standing.plan.vips[0], port=_PORT
    )
    rows = [f"      {node.name}: {{address: {node.address}}}\n" for node in standing.backends]
    paths.config.write_text(text + "".join(rows))


def _prepare_server(standing: Lab, backend: Node) -> None:
    """A page that tells which server answered."""
    directory = standing.directory / backend.name
    directory.mkdir()
    (directory / "index.html").write_text(f"{backend.name}\n")


def _show(standing: Lab) -> None:
    vip = standing.plan.vips[0]
    table = Table("node", "address", "MAC", "namespace", box=None, pad_edge=False)
    for node in standing.nodes:
        table.add_row(node.name, str(node.address), node.mac, node.namespace)
    table.add_row("virtual address", str(vip))
    Console().print(table)
    steps = _STEPS.format(
        lbctl=_invocation(),
        inside=_invocation_inside(),
        backends=" ".join(node.name for node in standing.backends),
        directory=standing.directory,
        paths=session.paths_of(standing.plan, standing.director.name),
        vip=vip,
        port=_PORT,
    )
    click.echo(f"\n{steps}")


def _invocation() -> str:
    """How the person called this program: what is printed is meant to be pasted."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return f"{sys.executable} -m lbctl"
    found = shutil.which("lbctl")
    return "lbctl" if found and program.resolve() == Path(found).resolve() else str(program)


def _invocation_inside() -> str:
    """The same in a lab's shell, whose PATH leads to this environment first."""
    python = Path(sys.executable)
    return "lbctl" if (python.parent / "lbctl").exists() else f"{python} -m lbctl"
