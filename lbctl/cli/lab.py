"""``lbctl lab``: a practice network on this machine, made of network namespaces."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from lbctl.lab import session
from lbctl.lab.topology import Lab, plan_lab

_EXAMPLE = """\
interfaces:
  {interface}: {{address: {director}/24}}
services:
  web: {{vip: {vip}, ports: [8042], protocol: tcp, pool: servers}}
pools:
  servers:
    kind: web
    check: {{type: tcp, port: 8042, interval: 1s, timeout: 500ms}}
    backends:
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
    """Build the network and leave it standing."""
    plan = plan_lab(directors=directors, backends=backends, clients=clients, flooding=flooding)
    standing = session.up(plan)
    example = standing.directory / "lbctl.yaml"
    _write_example(standing, example)
    _show(standing, example)


@lab.command()
def down() -> None:
    """Take the network down, with every process that runs in it."""
    session.down()
    click.echo("the lab is down; nothing is left of it")


@lab.command()
@click.argument("node")
def shell(node: str) -> None:
    """Open a shell on NODE (director, backend1, client1, … or switch)."""
    session.shell(node)


def _write_example(standing: Lab, path: Path) -> None:
    text = _EXAMPLE.format(
        interface=standing.director.interface, director=standing.director.address, vip=standing.plan.vips[0]
    )
    rows = [f"      {node.name}: {{address: {node.address}}}\n" for node in standing.backends]
    path.write_text(text + "".join(rows))


def _show(standing: Lab, example: Path) -> None:
    table = Table("node", "address", "MAC", "namespace", title=f"virtual address {standing.plan.vips[0]}")
    for node in standing.nodes:
        table.add_row(node.name, str(node.address), node.mac, node.namespace)
    Console().print(table)
    run = f"lbctl run --config {example} --pins {standing.pins}"
    click.echo(
        f"a server:    lbctl lab shell backend1   then: python3 -m http.server 8042\n"
        f"the daemon:  lbctl lab shell director   then: {run}\n"
        f"a client:    lbctl lab shell client1    then: curl http://{standing.plan.vips[0]}:8042/\n"
        f"the end:     lbctl lab down"
    )
