"""``lbctl status``: the state of everything, on one screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from lbctl.cli.client import get
from lbctl.cli.options import socket_option
from lbctl.cli.render import amount, console, duration, packets
from lbctl.cli.status_tables import print_backends, print_interfaces, print_pool, print_services
from lbctl.cli.traffic import print_traffic
from lbctl.daemon.models import FlowTableStatus, Status

_FORWARDED = frozenset(
    (
        *("established", "first_ack", "syn", "reused_port", "picked_up", "untracked", "over_budget"),
        *("udp_established", "udp_new", "fragment", "icmp_error"),
    )
)
NEARLY_FULL = 0.9
_ANSWERED = frozenset(("arp_reply", "neighbour_reply", "ping_reply", "wrong_port", "reset", "turned_away"))
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
    "other_lan": "packets for a VIP came by an interface or a VLAN that the file does not have",
    "lost_fragment": "fragments were dropped, for the first one of their datagram had not come by",
}


@click.command()
@click.option("--traffic", is_flag=True, help="Show bytes, rates and handshakes in place of states.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts: all of it.")
@socket_option
def status(traffic: bool, as_json: bool, socket: Path) -> None:
    """Show interfaces, services, backends and what left the program by which way."""
    found = get(socket, "/v1/status", Status)
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    else:
        show(found, console(), traffic=traffic)


def show(found: Status, out: Console, *, traffic: bool = False) -> None:
    """The whole picture as tables: of states, or of traffic."""
    _troubles(found, out)
    if traffic:
        print_traffic(found, out)
    else:
        _states(found, out)


def _states(found: Status, out: Console) -> None:
    print_interfaces(found.interfaces, out)
    out.print()
    print_services(found.services, out)
    for pool in found.pools:
        out.print()
        print_pool(pool, found.pools, out)
    if found.removed:
        out.print()
        out.print(Text("removed from the file, with live connections", "bold"))
        print_backends(found.removed, out)
    if found.removed_vips:
        vips = ", ".join(map(str, found.removed_vips))
        out.print(Text(f"\nVIPs removed from the file, answered for while they have connections: {vips}"))
    out.print()
    out.print(Text(_summary(found), "dim"))


def _troubles(found: Status, out: Console) -> None:
    """What an operator must see first."""
    if found.daemon.config_error:
        out.print(
            Text(f"The file was refused, the configuration before it goes on:\n{found.daemon.config_error}\n", "red")
        )
    if found.daemon.unconfirmed:
        waits = found.daemon.unconfirmed
        text = f"Entry {waits.number}, by {waits.user}, is rolled back in {duration(waits.left_s)} unless you `lbctl confirm`\n"
        out.print(Text(text, "yellow"))
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
            yield f"{name}, {packets(count.recent_packets)} in the last minute: {text}"
    for service in found.services:
        if service.denied_recently:
            denied = packets(service.denied_recently)
            yield f"{service.name}: {denied} denied in the last minute, of sources that are not in its `allow`"
    if found.flow_table.fullest >= NEARLY_FULL:
        yield f"a flow table is {found.flow_table.fullest:.0%} full: beyond that, packets go by hash alone"


def _flows(table: FlowTableStatus) -> str:
    if table.age_s is None:
        return "not counted yet"
    return f"{table.live} of {table.capacity}, counted {duration(table.age_s)} ago"


def _summary(found: Status) -> str:
    forwarded = sum(count.packets for name, count in found.reasons.items() if name in _FORWARDED)
    answered = sum(count.packets for name, count in found.reasons.items() if name in _ANSWERED)
    others = {name: count.packets for name, count in found.reasons.items() if name not in _FORWARDED | _ANSWERED}
    told = ", ".join(f"{count} {name}" for name, count in others.items()) or "none dropped"
    return (
        f"packets: {forwarded} forwarded, {answered} answered (ARP, ping, refusals), {told}\n"
        f"flows: {_flows(found.flow_table)}; memory: daemon "
        f"{amount(found.memory.daemon_anonymous)}, BPF maps {amount(found.memory.bpf_maps)}\n"
        f"lbctl {found.daemon.version}, process {found.daemon.pid}, up {duration(found.daemon.uptime_s)}, "
        f"generation {found.daemon.generation}, {found.daemon.config}"
    )
