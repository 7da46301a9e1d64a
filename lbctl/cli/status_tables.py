"""The tables of ``lbctl status``: interfaces, services, and pools with their backends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from lbctl.cli.render import amount, duration, latency, packets
from lbctl.cli.tables import Column, print_table
from lbctl.daemon.models import BackendStatus, ClassStatus, InterfaceStatus, PoolStatus, ServiceStatus

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


def print_interfaces(interfaces: Sequence[InterfaceStatus], out: Console) -> None:
    """With the VLAN of those that have one, and the device that the program is on."""
    modes = [Text(row.mode, "green" if row.mode == "native" else "yellow") for row in interfaces]
    columns = [
        Column(heading="INTERFACE", cells=[row.name for row in interfaces]),
        Column(heading="ADDRESS", cells=[_addresses(row) for row in interfaces], is_address=True),
        Column(heading="MAC", cells=[row.mac or "-" for row in interfaces]),
        Column(heading="XDP", cells=modes),
    ]
    if any(row.vlans for row in interfaces):
        columns.insert(2, Column(heading="VLAN", cells=[_vlan(row) for row in interfaces]))
    print_table(out, columns)


def _addresses(interface: InterfaceStatus) -> str:
    return "\n".join(str(address) for address in (interface.address, interface.address6) if address)


def _vlan(interface: InterfaceStatus) -> str:
    return f"{'.'.join(map(str, interface.vlans))} on {interface.device}" if interface.vlans else "-"


def print_services(services: Sequence[ServiceStatus], out: Console) -> None:
    """And what they received."""
    ports = [f"{row.protocol} {','.join(map(str, row.ports))}" for row in services]
    states = [Text(row.state, "green" if row.state == "active" else "red") for row in services]
    columns = [
        Column(heading="SERVICE", cells=[row.name for row in services]),
        Column(heading="VIP", cells=[_vip(row) for row in services], is_address=True),
        Column(heading="PORTS", cells=ports),
        Column(heading="POOL", cells=[row.pool for row in services], rank=1),
        Column(heading="STATE", cells=states),
        Column(heading="CONNECTIONS", cells=[str(row.new_connections) for row in services], is_number=True),
        Column(heading="PACKETS", cells=[str(row.packets) for row in services], is_number=True, rank=4),
        Column(heading="BYTES", cells=[amount(row.bytes) for row in services], is_number=True, rank=3),
        Column(heading="RETURNED", cells=[amount(row.returned_bytes) for row in services], is_number=True, rank=2),
    ]
    if any(row.denied for row in services):
        columns.append(Column(heading="DENIED", cells=[str(row.denied or "-") for row in services], is_number=True))
    print_table(out, columns, reasons=[row.reason for row in services])


def _vip(service: ServiceStatus) -> str:
    return f"{service.vip}\n(routed)" if service.announce == "routed" else str(service.vip)


def print_pool(pool: PoolStatus, pools: Sequence[PoolStatus], out: Console) -> None:
    """How it shares its connections, its backends, and the classes that it shares by other weights."""
    out.print(Text.assemble((f"pool {pool.name} ({pool.kind}): ", "bold"), ", ".join(_manners(pool, pools))))
    if pool.storage == "private":
        out.print(Text("clients assigned to one archive do not see the studies of the others", "yellow"))
    print_backends(pool.backends, out)
    for each in pool.classes:
        out.print(Text(_class(each)))


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


def _class(found: ClassStatus) -> str:
    whose = [f"from {', '.join(found.sources)}"] if found.sources else []
    whose += [f"to port {', '.join(map(str, found.ports))}"] if found.ports else []
    shares = ", ".join(f"{name} {share:.1%}" for name, share in found.shares.items())
    return f"class {found.name} ({' '.join(whose) or 'all'}): {shares}"


def print_backends(rows: Sequence[BackendStatus], out: Console) -> None:
    """Each with why it is as it is."""
    states = [Text(row.state, _COLOURS.get(row.state, "red")) for row in rows]
    ages = ["-" if row.since_s is None else duration(row.since_s) for row in rows]
    weights = [
        f"{row.effective_weight:g}/{row.weight if row.given_weight is None else row.given_weight}" for row in rows
    ]
    medians = [latency(row.handshakes.median_s) for row in rows]
    columns = [
        Column(heading="BACKEND", cells=[row.name for row in rows]),
        Column(heading="ADDRESS", cells=[str(row.address) for row in rows], is_address=True),
        Column(heading="MAC", cells=[row.mac or "-" for row in rows], rank=7),
        Column(heading="STATE", cells=states),
        Column(heading="FOR", cells=ages, rank=1),
        Column(heading="WEIGHT", cells=weights, is_number=True),
        Column(heading="SHARE", cells=[f"{row.share:.1%}" for row in rows], is_number=True),
        Column(heading="OPEN", cells=[_open(row) for row in rows], is_number=True),
        Column(heading="FLOWS", cells=[str(row.flows) for row in rows], is_number=True, rank=4),
        Column(heading="CONNECTIONS", cells=[str(row.new_connections) for row in rows], is_number=True, rank=5),
        Column(heading="BYTES", cells=[amount(row.bytes) for row in rows], is_number=True, rank=6),
        Column(heading="RETURNED", cells=[amount(row.returned_bytes) for row in rows], is_number=True, rank=3),
        Column(heading="HANDSHAKE", cells=medians, is_number=True, rank=2),
    ]
    if any(row.looped for row in rows):
        columns.append(Column(heading="LOOPED", cells=[str(row.looped or "-") for row in rows], is_number=True, rank=8))
    print_table(out, columns, reasons=[_reason(row) for row in rows])


def _open(backend: BackendStatus) -> str:
    """Open TCP connections, of so many at most."""
    return str(backend.connections) + (f"/{backend.connection_limit}" if backend.connection_limit is not None else "")


def _reason(backend: BackendStatus) -> str:
    parts = [backend.reason, _given_weight(backend)]
    if backend.slow_start_percent is not None:
        parts.append(f"slow start, {backend.slow_start_percent} %")
    if backend.agent and backend.agent not in backend.reason:
        parts.append(f"agent: {backend.agent.removeprefix('agent: ').removeprefix('agent ')}")
    if backend.looped_recently:
        looped = packets(backend.looped_recently)
        parts.append(f"it sent {looped} back in the last minute: put the VIP on its loopback")
    if backend.handshakes.unfinished_recently:
        parts.append(f"handshakes not completed in the last minute: {backend.handshakes.unfinished_recently}")
    return "; ".join(part for part in parts if part)


def _given_weight(backend: BackendStatus) -> str:
    """An operator's word stands against the file, also against what the file says since."""
    if backend.given_weight is None:
        return ""
    if backend.given_weight == 0 and "by an operator" in backend.reason:
        return f"weight {backend.weight} in the file"
    if backend.weight_declared_then in (None, backend.weight):
        return f"weight {backend.given_weight} by an operator, {backend.weight} in the file"
    return (
        f"weight {backend.given_weight} by an operator; the file said {backend.weight_declared_then} then, "
        f"and says {backend.weight} now"
    )
