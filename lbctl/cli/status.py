"""``lbctl status``: the state of everything, on one screen."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbctl.cli.client import get
from lbctl.cli.options import socket_option
from lbctl.cli.render import amount, console, duration
from lbctl.daemon.models import BackendStatus, InterfaceStatus, PoolStatus, ServiceStatus, Status

_COLOURS = {
    "up": "green",
    "busy": "yellow",
    "misconfigured": "yellow",
    "draining": "cyan",
    "removed": "cyan",
    "unknown": "dim",
}
_FORWARDED = frozenset(
    ("established", "first_ack", "syn", "reused_port", "picked_up", "untracked", "udp_established", "udp_new")
)
_ANSWERED = frozenset(("arp_reply", "ping_reply"))
_ALARMS = {
    "loop_backend": "a backend sends packets back: the VIP is missing on its loopback",
    "loop_own": "our own packets come back: a loop, or a backend without the VIP that forwards",
    "unresolved": "packets for a backend without a known MAC were dropped",
    "no_backend": "packets for a pool without an available backend were dropped",
    "untracked": "packets were forwarded without a flow entry: the flow table was full, or a last packet came late",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
@socket_option
def status(as_json: bool, socket: Path) -> None:
    """Show interfaces, services, backends and what left the program by which way."""
    found = get(socket, "/v1/status", Status)
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    else:
        show(found, console())


def show(found: Status, out: Console) -> None:
    """The whole picture as tables."""
    _troubles(found, out)
    out.print(_interfaces(found.interfaces))
    out.print()
    out.print(_services(found.services))
    for pool in found.pools:
        out.print()
        out.print(_pool(pool))
    if found.removed:
        out.print()
        out.print(_backends("removed from the file, with live connections", found.removed))
    out.print()
    out.print(_summary(found), style="dim")


def _troubles(found: Status, out: Console) -> None:
    """What an operator must see first."""
    if found.daemon.config_error:
        out.print(
            Text(f"The file was refused, the configuration before it goes on:\n{found.daemon.config_error}\n", "red")
        )
    if found.daemon.last_error:
        out.print(Text(f"The latest change failed: {found.daemon.last_error}\n", "red"))
    for interface in found.interfaces:
        if interface.fallback_reason:
            text = f"{interface.name} runs in generic mode, which is slower: {interface.fallback_reason}\n"
            out.print(Text(text, "yellow"))
    for name, text in _ALARMS.items():
        if name in found.reasons:
            out.print(Text(f"{found.reasons[name].packets} {name}: {text}", "yellow"))
    if _ALARMS.keys() & found.reasons.keys():
        out.print()


def _table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=column != "REASON")
    return table


def _interfaces(interfaces: tuple[InterfaceStatus, ...]) -> Table:
    table = _table("INTERFACE", "ADDRESS", "MAC", "XDP")
    for interface in interfaces:
        mode = Text(interface.mode, "green" if interface.mode == "native" else "yellow")
        table.add_row(interface.name, str(interface.address), interface.mac or "-", mode)
    return table


def _services(services: tuple[ServiceStatus, ...]) -> Table:
    numbers = ("CONNECTIONS", "PACKETS", "BYTES")
    table = _table("SERVICE", "VIP", "PORTS", "POOL", "STATE", *numbers, "REASON", numbers=numbers)
    for service in services:
        ports = f"{service.protocol} {','.join(map(str, service.ports))}"
        state = Text(service.state, "green" if service.state == "active" else "red")
        counts = (str(service.new_connections), str(service.packets), amount(service.bytes))
        table.add_row(service.name, str(service.vip), ports, service.pool, state, *counts, service.reason)
    return table


def _pool(pool: PoolStatus) -> Table:
    return _backends(f"pool {pool.name} ({pool.kind})", pool.backends)


def _backends(title: str, backends: tuple[BackendStatus, ...]) -> Table:
    numbers = ("WEIGHT", "SHARE", "FLOWS", "CONNECTIONS", "BYTES", "RETURNED")
    table = _table("BACKEND", "ADDRESS", "MAC", "STATE", "FOR", *numbers, "REASON", numbers=numbers)
    table.title, table.title_justify, table.title_style = title, "left", "bold"
    for backend in backends:
        table.add_row(
            backend.name,
            str(backend.address),
            backend.mac or "-",
            Text(backend.state, _COLOURS.get(backend.state, "red")),
            duration(backend.since_s),
            f"{backend.effective_weight:g}/{backend.weight}",
            f"{backend.share:.1%}",
            str(backend.flows),
            str(backend.new_connections),
            amount(backend.bytes),
            str(backend.returned or "-"),
            _reason(backend),
        )
    return table


def _reason(backend: BackendStatus) -> str:
    parts = [backend.reason]
    if backend.agent and backend.agent not in backend.reason:
        parts.append(f"agent: {backend.agent.removeprefix('agent: ').removeprefix('agent ')}")
    if backend.returned:
        parts.append("it returned packets: put the VIP on its loopback")
    return "; ".join(part for part in parts if part)


def _summary(found: Status) -> str:
    forwarded = sum(count.packets for name, count in found.reasons.items() if name in _FORWARDED)
    answered = sum(count.packets for name, count in found.reasons.items() if name in _ANSWERED)
    others = {name: count.packets for name, count in found.reasons.items() if name not in _FORWARDED | _ANSWERED}
    told = ", ".join(f"{packets} {name}" for name, packets in others.items()) or "nothing else"
    return (
        f"{forwarded} packets forwarded, {answered} ARP requests and pings answered, {told}\n"
        f"flow table: {found.flow_table.live} of {found.flow_table.capacity}; memory: daemon "
        f"{amount(found.memory.daemon_anonymous)}, BPF maps {amount(found.memory.bpf_maps)}\n"
        f"lbctl {found.daemon.version}, process {found.daemon.pid}, up {duration(found.daemon.uptime_s)}, "
        f"generation {found.daemon.generation}, {found.daemon.config}"
    )
