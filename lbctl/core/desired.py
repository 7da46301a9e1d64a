"""What the kernel's tables should be, given what was declared and what is observed. Pure.

Ids, generations and slot blocks go on as the current tables have them, so that an unchanged declaration changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from lbctl.core.blocks import first_fit
from lbctl.core.ids import FREE, Ids, Ref, identity
from lbctl.core.model import Backend, Declaration, Pool, Storage, WrongPort
from lbctl.core.standing import Standing
from lbctl.core.tables import (
    BackendRow,
    BackendState,
    InterfaceRow,
    PoolRow,
    ServiceKey,
    ServiceRow,
    Tables,
)
from lbctl.core.takers import members, owned_slots, table_size
from lbctl.errors import LbctlError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the kernel's tables hold. Ids are below these, and 0 is never used."""

    backends: int
    services: int
    pools: int
    slots: int
    interfaces: int
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NicFacts:
    """An interface as it is now."""

    ifindex: int
    mac: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that is observed. ``nics`` by interface name; ``macs`` by backend address (the last confirmed one); ``standings``
    by backend label; ``refused_vips`` are answered for by somebody else.

    ``busy_backends`` (ids) and ``busy_vips`` still have flows: they stay although the declaration no longer has them; the ids
    in ``busy_services`` are not given to another service. ``settling_pools`` wait for the first word of an agent since the
    daemon's start: their slots stay as they were found. ``former_receivers`` (identities) were removed from a pool of which
    only one may receive at a time."""

    nics: Mapping[str, NicFacts]
    macs: Mapping[IPv4Address, bytes]
    standings: Mapping[str, Standing]
    refused_vips: frozenset[IPv4Address] = frozenset()
    busy_backends: frozenset[int] = frozenset()
    busy_services: frozenset[int] = frozenset()
    busy_vips: frozenset[IPv4Address] = frozenset()
    settling_pools: frozenset[str] = frozenset()
    former_receivers: frozenset[int] = frozenset()


def backend_key(backend: Backend) -> str:
    """What a backend is recognised by: under another address it is another server."""
    return f"{backend.label}@{backend.address}"


def desired_tables(declaration: Declaration, situation: Situation, *, current: Tables, limits: Limits) -> Tables:
    """The tables that should be. `LbctlError` if they do not fit."""
    ids, refs = _refs(declaration, situation, current, limits)
    pool_ids = _pool_ids(declaration.pools, current, limits)
    pools = _pools(declaration, current, pool_ids, limits)
    return Tables(
        interfaces=_interfaces(declaration, situation, limits),
        vips=_vips(declaration, situation, current),
        services=_services(declaration, situation, current, pool_ids, limits),
        pools=pools,
        backends={**_lingering(current, ids, situation), **_declared(declaration, situation, refs)},
        slots={
            pool_ids[pool.name]: owned_slots(
                pool,
                declaration.fallback_of(pool),
                situation.standings,
                refs,
                settled=current.slots.get(pool_ids[pool.name]) if pool.name in situation.settling_pools else None,
            )
            for pool in declaration.pools
        },
        members={
            pool_ids[pool.name]: members(
                pool, declaration.fallback_of(pool), situation.standings, refs, limit=limits.members
            )
            for pool in declaration.pools
        },
        freed={number: row.generation for number, row in ids.rows.items() if row.identity == FREE},
        drops_wrong_ports=declaration.director.wrong_port is WrongPort.DROP,
    )


def _interfaces(declaration: Declaration, situation: Situation, limits: Limits) -> Mapping[int, InterfaceRow]:
    rows: dict[int, InterfaceRow] = {}
    places: dict[int, str] = {}
    for interface in declaration.interfaces:
        nic = situation.nics.get(interface.name)
        if nic is None:
            continue
        other = places.setdefault(nic.ifindex % limits.interfaces, interface.name)
        if other != interface.name:
            raise LbctlError(
                f"interfaces {other} and {interface.name} have index numbers that share a row ({nic.ifindex})",
                hint=f"create {interface.name} anew, so that it gets another index number",
            )
        rows[nic.ifindex] = InterfaceRow(mac=nic.mac, address=interface.address.ip)
    return rows


def _vips(declaration: Declaration, situation: Situation, current: Tables) -> Mapping[IPv4Address, int]:
    """Declared ones, and those that were removed while connections to them live."""
    declared = {
        service.vip: situation.nics[service.interface].ifindex
        for service in declaration.services
        if service.interface in situation.nics and service.vip not in situation.refused_vips
    }
    lingering = {vip: ifindex for vip, ifindex in current.vips.items() if vip in situation.busy_vips}
    return {**lingering, **declared}


def _services(
    declaration: Declaration, situation: Situation, current: Tables, pool_ids: Mapping[str, int], limits: Limits
) -> Mapping[ServiceKey, ServiceRow]:
    """One row for each port, all ports of a service with ids of their own: counters are kept by port."""
    wanted = {
        ServiceKey(vip=service.vip, port=port, protocol=service.protocol): pool_ids[service.pool]
        for service in declaration.services
        if service.vip not in situation.refused_vips
        for port in service.ports
    }
    taken = situation.busy_services | {row.id for key, row in current.services.items() if key in wanted}
    free = (number for number in range(1, limits.services) if number not in taken)
    rows: dict[ServiceKey, ServiceRow] = {}
    for key, pool_id in wanted.items():
        number = current.services[key].id if key in current.services else next(free, 0)
        if not number:
            raise LbctlError(f"no counter is left for {key}", hint=f"declare fewer than {limits.services} ports in all")
        rows[key] = ServiceRow(id=number, pool_id=pool_id)
    return rows


def _refs(
    declaration: Declaration, situation: Situation, current: Tables, limits: Limits
) -> tuple[Ids, Mapping[str, Ref]]:
    """Each declared backend's reference by label. Removed backends keep their ids while they are busy; one that takes
    connections until this very moment counts as busy, for a client may have come since the flows were counted."""
    ids = _ids_of(current, limits)
    taking = {number for number, row in current.backends.items() if row.state is BackendState.UP}
    declared = {identity(backend_key(backend)) for backend in declaration.backends()}
    for number in [number for number, row in current.backends.items() if row.identity not in declared]:
        ids = ids.without(number)
        if number not in situation.busy_backends | taking:
            ids = ids.release(number)
    known = {row.identity: Ref(number, row.generation) for number, row in current.backends.items()}
    refs: dict[str, Ref] = {}
    for backend in declaration.backends():
        ref = known.get(identity(backend_key(backend)))
        if ref is None:
            ids, ref = ids.with_key(backend_key(backend))
        refs[backend.label] = ref
    return ids, refs


def _ids_of(current: Tables, limits: Limits) -> Ids:
    held = {number: (row.generation, row.identity) for number, row in current.backends.items()}
    free = {number: (generation, FREE) for number, generation in current.freed.items()}
    return Ids.adopt({**free, **held}, limit=limits.backends - 1)


def _declared(declaration: Declaration, situation: Situation, refs: Mapping[str, Ref]) -> Mapping[int, BackendRow]:
    return {
        refs[backend.label].id: BackendRow(
            generation=refs[backend.label].generation,
            identity=identity(backend_key(backend)),
            address=backend.address,
            state=situation.standings[backend.label].state,
            mac=situation.macs.get(backend.address),
            limit=backend.connection_limit,
            resume=backend.resume_at,
        )
        for backend in declaration.backends()
    }


def _lingering(current: Tables, ids: Ids, situation: Situation) -> Mapping[int, BackendRow]:
    """Rows of removed backends that are still busy: a removal is a drain, except where two must not receive at once. One that
    was down or halted stays so: what a client sends anew (a datagram, a connection from the same port) goes to somebody
    else."""
    rows = {number: current.backends[number] for number in ids.retired}
    return {number: replace(row, state=_state_of_removed(row, situation)) for number, row in rows.items()}


def _state_of_removed(row: BackendRow, situation: Situation) -> BackendState:
    if row.identity in situation.former_receivers:
        return BackendState.HALTED
    if row.state is BackendState.DEAD:  # it is not probed any more, and may come back
        return BackendState.DOWN
    return row.state if row.state in (BackendState.DOWN, BackendState.HALTED) else BackendState.DRAINING


def _pool_ids(pools: Sequence[Pool], current: Tables, limits: Limits) -> Mapping[str, int]:
    by_identity = {row.identity: number for number, row in current.pools.items()}
    known = {pool.name: by_identity[identity(pool.name)] for pool in pools if identity(pool.name) in by_identity}
    taken = set(current.pools)
    free = (number for number in range(1, limits.pools) if number not in taken)
    for pool in pools:
        if pool.name not in known:
            known[pool.name] = next(free, 0)
        if not known[pool.name]:
            raise LbctlError(f"no row is left for pool {pool.name}", hint=f"declare fewer than {limits.pools} pools")
    return known


def _pools(
    declaration: Declaration, current: Tables, pool_ids: Mapping[str, int], limits: Limits
) -> Mapping[int, PoolRow]:
    """A pool keeps its block while the size fits; a new one lies where nobody's old or new block does."""
    taken = [(row.base, row.size) for row in current.pools.values()]
    rows: dict[int, PoolRow] = {}
    for pool in declaration.pools:
        number, size = pool_ids[pool.name], table_size(pool, declaration.fallback_of(pool))
        row = current.pools.get(number)
        if row is None or row.size != size:
            base = first_fit(taken, size=size, capacity=limits.slots)
            taken.append((base, size))
        else:
            base = row.base
        rows[number] = PoolRow(
            identity=identity(pool.name),
            base=base,
            size=size,
            on_empty=pool.on_empty,
            is_private=pool.storage is Storage.PRIVATE,
        )
    return rows
