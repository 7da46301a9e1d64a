"""``lbctl status``: the state of everything, on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from lbctl.cli.client import get
from lbctl.cli.options import socket_option
from lbctl.cli.render import amount, console, duration
from lbctl.cli.tables import Column, print_table
from lbctl.daemon.models import BackendStatus, FlowTableStatus, InterfaceStatus, PoolStatus, ServiceStatus, Status

_COLOURS = {
    "up": "green",
    "busy": "yellow",
    "full": "yellow",
    "misconfigured": "yellow",
    "draining": "cyan",
    "halted": "cyan",
    "standby": "dim green",
    "removed": "cyan",
    "unknown": "dim",
}
_FORWARDED = frozenset(
    (
        *("established", "first_ack", "syn", "reused_port", "picked_up", "untracked", "over_budget"),
        *("udp_established", "udp_new", "fragment", "icmp_error"),
    )
)
NEARLY_FULL = 0.9
_ANSWERED = frozenset(("arp_reply", "ping_reply", "wrong_port", "reset", "turned_away"))
_ALARMS = {
    "loop_backend": "a backend sends packets back: the VIP is missing on its loopback",
    "loop_own": "our own packets come back: a loop, or a backend without the VIP that forwards",
    "unresolved": "packets for a backend without a known MAC were dropped",
    "turned_away": "new connections were refused, for no backend took them",
    "empty": "new connections that no backend took were dropped, not refused: too many at once",
    "no_backend": "packets that no backend took were dropped",
    "dead": "clients of a dead backend were not told so by a reset: too many at once",
    "untracked": "packets were forwarded without a flow entry: the flow table was full, or a last packet came late",
    "over_budget": "connections came faster than they are entered: forwarded, but not remembered (a flood?)",
    "lost_fragment": "fragments were dropped, for the first one of their datagram had not come by",
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
    _interfaces(found.interfaces, out)
    out.print()
    _services(found.services, out)
    for pool in found.pools:
        out.print()
        _pool(pool, found.pools, out)
    if found.removed:
        out.print()
        out.print(Text("removed from the file, with live connections", "bold"))
        _backends(found.removed, out)
    if found.removed_vips:
        vips = ", ".join(map(str, found.removed_vips))
        out.print(f"\nVIPs removed from the file, answered for while they have connections: {vips}")
    out.print()
    out.print(_summary(found), style="dim")


def _troubles(found: Status, out: Console) -> None:
    """What an operator must see first."""
    if found.daemon.config_error:
        out.print(
            Text(f"The file was refused, the configuration before it goes on:\n{found.daemon.config_error}\n", "red")
        )
    if found.daemon.last_error:
        out.print(Text(f"The latest change failed and is tried again: {found.daemon.last_error}\n", "red"))
    for service in found.services:
        if service.state != "active":
            out.print(Text(f"{service.name} is not served: {service.reason}\n", "red"))
    for warning in found.daemon.warnings:
        out.print(Text(f"Not as declared: {warning}\n", "red"))
    for interface in found.interfaces:
        if interface.fallback_reason:
            text = f"{interface.name} runs in generic mode, which is slower: {interface.fallback_reason}\n"
            out.print(Text(text, "yellow"))
    alarms = list(_alarms(found))
    for text in alarms:
        out.print(Text(text, "yellow"))
    if alarms:
        out.print()


def _alarms(found: Status) -> Iterator[str]:
    """What went wrong in the last minute; what did before is in the totals at the end."""
    for name, text in _ALARMS.items():
        count = found.reasons.get(name)
        if count and count.recent_packets:
            yield f"{name}, {_packets(count.recent_packets)} in the last minute: {text}"
    if found.flow_table.fullest >= NEARLY_FULL:
        yield f"a flow table is {found.flow_table.fullest:.0%} full: beyond that, packets go by hash alone"


def _packets(count: int) -> str:
    return f"{count} packet" if count == 1 else f"{count} packets"


def _interfaces(interfaces: tuple[InterfaceStatus, ...], out: Console) -> None:
    modes = [Text(row.mode, "green" if row.mode == "native" else "yellow") for row in interfaces]
    columns = (
        Column(heading="INTERFACE", cells=[row.name for row in interfaces]),
        Column(heading="ADDRESS", cells=[str(row.address) for row in interfaces]),
        Column(heading="MAC", cells=[row.mac or "-" for row in interfaces]),
        Column(heading="XDP", cells=modes),
    )
    print_table(out, columns)


def _services(services: tuple[ServiceStatus, ...], out: Console) -> None:
    ports = [f"{row.protocol} {','.join(map(str, row.ports))}" for row in services]
    states = [Text(row.state, "green" if row.state == "active" else "red") for row in services]
    columns = (
        Column(heading="SERVICE", cells=[row.name for row in services]),
        Column(heading="VIP", cells=[str(row.vip) for row in services]),
        Column(heading="PORTS", cells=ports),
        Column(heading="POOL", cells=[row.pool for row in services], rank=1),
        Column(heading="STATE", cells=states),
        Column(heading="CONNECTIONS", cells=[str(row.new_connections) for row in services], is_number=True),
        Column(heading="PACKETS", cells=[str(row.packets) for row in services], is_number=True, rank=3),
        Column(heading="BYTES", cells=[amount(row.bytes) for row in services], is_number=True, rank=2),
    )
    print_table(out, columns, reasons=[row.reason for row in services])


def _pool(pool: PoolStatus, pools: Sequence[PoolStatus], out: Console) -> None:
    out.print(Text.assemble((f"pool {pool.name} ({pool.kind}): ", "bold"), ", ".join(_manners(pool, pools))))
    if pool.storage == "private":
        out.print(Text("clients assigned to one archive do not see the studies of the others", "yellow"))
    _backends(pool.backends, out)


def _manners(pool: PoolStatus, pools: Sequence[PoolStatus]) -> Iterator[str]:
    """How the pool gives connections to its backends, and what becomes of those that none of them takes."""
    yield f"{pool.policy}, {pool.active} is active" if pool.active else pool.policy
    if pool.storage:
        yield f"{pool.storage} storage"
    if pool.assigned_sources is not None:
        yield f"{pool.assigned_sources} source{'' if pool.assigned_sources == 1 else 's'} assigned"
    if pool.fallback:
        helpers = [backend for other in pools if other.name == pool.fallback for backend in other.backends]
        is_used = _takes_new(helpers) and not _takes_new(pool.backends)
        yield f"fallback {pool.fallback}" + (" takes the new connections" if is_used else "")
    if pool.on_empty == "drop":
        yield "dropped if nobody takes them"


def _takes_new(backends: Sequence[BackendStatus]) -> bool:
    return any(backend.effective_weight for backend in backends)


def _backends(rows: Sequence[BackendStatus], out: Console) -> None:
    states = [Text(row.state, _COLOURS.get(row.state, "red")) for row in rows]
    ages = ["-" if row.since_s is None else duration(row.since_s) for row in rows]
    weights = [f"{row.effective_weight:g}/{row.weight}" for row in rows]
    columns = [
        Column(heading="BACKEND", cells=[row.name for row in rows]),
        Column(heading="ADDRESS", cells=[str(row.address) for row in rows]),
        Column(heading="MAC", cells=[row.mac or "-" for row in rows], rank=5),
        Column(heading="STATE", cells=states),
        Column(heading="FOR", cells=ages, rank=1),
        Column(heading="WEIGHT", cells=weights, is_number=True),
        Column(heading="SHARE", cells=[f"{row.share:.1%}" for row in rows], is_number=True),
        Column(heading="OPEN", cells=[_open(row) for row in rows], is_number=True),
        Column(heading="FLOWS", cells=[str(row.flows) for row in rows], is_number=True, rank=2),
        Column(heading="CONNECTIONS", cells=[str(row.new_connections) for row in rows], is_number=True, rank=3),
        Column(heading="BYTES", cells=[amount(row.bytes) for row in rows], is_number=True, rank=4),
    ]
    if any(row.returned for row in rows):
        columns.append(
            Column(heading="RETURNED", cells=[str(row.returned or "-") for row in rows], is_number=True, rank=6)
        )
    print_table(out, columns, reasons=[_reason(row) for row in rows])


def _open(backend: BackendStatus) -> str:
    """Open TCP connections, of so many at most."""
    return str(backend.connections) + (f"/{backend.connection_limit}" if backend.connection_limit is not None else "")


def _reason(backend: BackendStatus) -> str:
    parts = [backend.reason]
    if backend.agent and backend.agent not in backend.reason:
        parts.append(f"agent: {backend.agent.removeprefix('agent: ').removeprefix('agent ')}")
    if backend.returned_recently:
        parts.append(
            f"it returned {_packets(backend.returned_recently)} in the last minute: put the VIP on its loopback"
        )
    return "; ".join(part for part in parts if part)


def _flows(table: FlowTableStatus) -> str:
    if table.age_s is None:
        return "not counted yet"
    return f"{table.live} of {table.capacity}, counted {duration(table.age_s)} ago"


def _summary(found: Status) -> str:
    forwarded = sum(count.packets for name, count in found.reasons.items() if name in _FORWARDED)
    answered = sum(count.packets for name, count in found.reasons.items() if name in _ANSWERED)
    others = {name: count.packets for name, count in found.reasons.items() if name not in _FORWARDED | _ANSWERED}
    told = ", ".join(f"{packets} {name}" for name, packets in others.items()) or "none dropped"
    return (
        f"packets: {forwarded} forwarded, {answered} answered (ARP, ping, refusals), {told}\n"
        f"flows: {_flows(found.flow_table)}; memory: daemon "
        f"{amount(found.memory.daemon_anonymous)}, BPF maps {amount(found.memory.bpf_maps)}\n"
        f"lbctl {found.daemon.version}, process {found.daemon.pid}, up {duration(found.daemon.uptime_s)}, "
        f"generation {found.daemon.generation}, {found.daemon.config}"
    )
