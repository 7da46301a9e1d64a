"""A declaration in plain lines: what ``lbctl check`` prints when a file is good."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lbctl.core.durations import seconds_text
from lbctl.core.memory import flow_table_bytes
from lbctl.core.model import (
    Address,
    Agent,
    Announce,
    Backend,
    Check,
    Declaration,
    DicomEchoCheck,
    Interface,
    Policy,
    Pool,
    Reassign,
    Service,
    Storage,
    TrafficClass,
    WrongPort,
)


def describe(declaration: Declaration) -> list[str]:
    """Services, VIPs, ports, pools, backends, checks and limits, as they are after presets and overrides; classes, if there
    are any; at the end the director's own tables."""
    classes = [f"  {_class(found)}" for found in declaration.classes]
    return [
        "interfaces",
        *(f"  {_interface(interface)}" for interface in declaration.interfaces),
        "services",
        *(f"  {line}" for service in declaration.services for line in _service(service)),
        "pools",
        *(f"  {line}" for pool in declaration.pools for line in _pool(declaration, pool)),
        *(["classes", *classes] if classes else []),
        "director",
        *(f"  {line}" for line in _director(declaration)),
    ]


def warnings(declaration: Declaration) -> tuple[str, ...]:
    """What is allowed, but has a consequence that its author may not have in mind. One line each."""
    return (
        *_routed_in_a_subnet(declaration),
        *_private_archives(declaration),
        *_servers_in_several_pools(declaration),
    )


def _routed_in_a_subnet(declaration: Declaration) -> Iterator[str]:
    for service in declaration.services:
        if service.announce is not Announce.ROUTED:
            continue
        for interface in declaration.interfaces:
            own = interface.own(service.vip)
            if own and service.vip in own.network:
                yield (
                    f"service {service.name}: vip {service.vip} is routed, but in the subnet of {interface.name}: "
                    "stations there ask for it on their own segment, and nobody answers"
                )


def _private_archives(declaration: Declaration) -> Iterator[str]:
    for pool in declaration.pools:
        if pool.storage is Storage.PRIVATE and len(pool.backends) > 1:
            yield (
                f"pool {pool.name}: storage is private: clients assigned to one archive do not see the studies of the others"
            )


def _servers_in_several_pools(declaration: Declaration) -> Iterator[str]:
    """Each pool counts, assigns and fails over for itself."""
    pools: dict[Address, list[Pool]] = {}
    for pool in declaration.pools:
        for address in {backend.address for backend in pool.backends}:
            pools.setdefault(address, []).append(pool)
    for address, found in sorted(pools.items(), key=lambda item: (item[0].version, int(item[0]))):
        names = " and ".join(pool.name for pool in found)
        if len(found) > 1 and any(b.connection_limit for pool in found for b in pool.backends if b.address == address):
            yield f"{address} is in pools {names}: its connections are limited in each apart, so divide what it is licensed for"
        if {Storage.SHARED, Storage.PRIVATE} <= {pool.storage for pool in found}:
            yield f"{address} is in pools {names}: its storage is called shared in one and private in another"
        if {Policy.BALANCE, Policy.FAILOVER} <= {pool.policy for pool in found}:
            yield f"{address} is in pools {names}: one of them has a single receiver at a time, and another has not"


def _interface(interface: Interface) -> str:
    return f"{interface.name}: {_listed(interface.addresses)}, XDP mode {interface.mode}"


def _service(service: Service) -> Iterator[str]:
    where = "routed" if service.announce is Announce.ROUTED else f"on {service.interface}"
    what = f"{service.vip} {service.protocol} {_listed(service.ports)} {where}"
    yield f"{service.name}: {what} -> {service.pool}, idle limit {seconds_text(service.idle_timeout_s)}"
    if service.allow:
        yield f"  only from {_listed(service.allow)}"


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


def _class(found: TrafficClass) -> str:
    sources = f"from {_listed(found.sources)}" if found.sources else "from anywhere"
    ports = f"port{'' if len(found.ports) == 1 else 's'} {_listed(found.ports)}" if found.ports else "any port"
    return f"{found.name}: {sources} to {ports}"


def _pool(declaration: Declaration, pool: Pool) -> Iterator[str]:
    storage = f", {pool.storage} storage" if pool.storage else ""
    count = f"{len(pool.backends)} IPv{pool.version} backend{'' if len(pool.backends) == 1 else 's'}"
    reset = f"reset on down: {pool.backends[0].reset_on_down}"
    yield f"{pool.name}: {pool.kind}{storage}, {_policy(pool)}, {count}, {reset}"
    yield from (f"  {line}" for line in _new_connections(declaration, pool))
    total = sum(backend.weight for backend in pool.backends)
    for place, backend in enumerate(pool.backends, start=1):
        share = f"weight {backend.weight} ({backend.weight / total:.0%})"
        yield f"  {_backend(backend, _place(place, backend) if pool.policy is Policy.FAILOVER else share)}"
    yield from (f"  class {name}: {_shares(pool, weights)}" for name, weights in pool.class_weights.items())


def _shares(pool: Pool, class_weights: Mapping[str, int]) -> str:
    """How a class is shared: its own weights, and those of the backends that it does not name."""
    weights = {backend.name: class_weights.get(backend.name, backend.weight) for backend in pool.backends}
    total = sum(weights.values())
    return _listed(f"{name} weight {weight} ({weight / total:.0%})" for name, weight in weights.items())


def _policy(pool: Pool) -> str:
    return f"failover ({pool.failback} failback)" if pool.policy is Policy.FAILOVER else str(pool.policy)


_KEEPS_ITS_ARCHIVE = {
    Reassign.NEVER: "until an operator assigns it another",
    Reassign.REMOVED: "until that one is removed from the file",
    Reassign.DOWN: "until that one is down or removed from the file",
}


def _new_connections(declaration: Declaration, pool: Pool) -> Iterator[str]:
    """Where a new connection goes when it cannot go where it should, and for whom the pool steps in."""
    if pool.storage is Storage.PRIVATE:
        yield f"each source keeps the archive that it is assigned, {_KEEPS_ITS_ARCHIVE[pool.reassign]}"
    if leaning := [other.name for other in declaration.pools if other.fallback == pool.name]:
        yield f"fallback of: {', '.join(leaning)}"
    if any(service.pool == pool.name for service in declaration.services):
        instead = f"fallback pool {pool.fallback}, else {pool.on_empty}" if pool.fallback else pool.on_empty
        when = "that archive takes none" if pool.storage is Storage.PRIVATE else "no backend takes one"
        yield f"new connection, when {when}: {instead}"


def _place(place: int, backend: Backend) -> str:
    return f"number {place} in order" + ("" if backend.weight else ", weight 0 (takes no new connections)")


def _backend(backend: Backend, share: str) -> str:
    where = f"{backend.address} on {backend.interface}"
    limit = f", at most {_connections(backend.connection_limit)} (once full, more at {backend.resume_at:,})"
    agent = f"; {_agent(backend.agent)}" if backend.agent else ""
    return (
        f"{backend.name}: {where}, {share}{limit if backend.connection_limit else ''}; {_check(backend.check)}{agent}"
    )


def _connections(count: int) -> str:
    return f"{count:,} connection{'' if count == 1 else 's'}"


def _check(check: Check) -> str:
    if isinstance(check, DicomEchoCheck):
        what = f"dicom-echo port {check.port}, {check.calling_ae} to {check.called_ae}"
    else:
        what = f"tcp port {check.port}"
    timing = check.timing
    every = f"every {seconds_text(timing.interval_s)}, timeout {seconds_text(timing.timeout_s)}"
    return f"{what}, {every}, fall {timing.fall}, rise {timing.rise}"


def _agent(agent: Agent) -> str:
    return f"agent port {agent.port} every {seconds_text(agent.interval_s)}"


def _director(declaration: Declaration) -> Iterator[str]:
    director = declaration.director
    versions = (4, 6) if declaration.has_ipv6 else (4,)
    tables = [(entries, version) for entries in (director.tcp_flows, director.udp_flows) for version in versions]
    size_bytes = sum(flow_table_bytes(entries, version=version) for entries, version in tables)
    flows = f"{director.tcp_flows:,} TCP and {director.udp_flows:,} UDP flows"
    each = " for IPv4, as many for IPv6" if len(versions) > 1 else ""
    yield f"flow tables: {flows}{each}, {_megabytes(size_bytes)} of kernel memory"
    what = {WrongPort.REFUSE: "refused", WrongPort.DROP: "dropped without an answer"}[director.wrong_port]
    yield f"ports of a VIP that no service has: {what}"


def _megabytes(size_bytes: int) -> str:
    """Two figures that mean something, and no more."""
    megabytes = size_bytes / 1e6
    return f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.1f} MB"
