"""What must be so when everything has settled: the kernel's tables equal the declaration, and the daemon says that all is well.

The tables are compared with the run's own idea of the world, not with what the daemon thinks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lbctl.core.ids import identity
from lbctl.core.model import Protocol, Reassign
from lbctl.core.slots import quotas
from lbctl.core.tables import BackendRow, BackendState, ServiceKey
from lbctl.lab.chaos.kerneltables import Held
from lbctl.lab.chaos.world import PLACES, TIGHT, VAULT, Fate, Override, World, address_of

_NOBODY = 0
_STATES = {
    "up": frozenset({"up", "busy"}),
    "dead": frozenset({"down", "unresolved"}),
}
_FAULTS = ("vip_claimed", "over_budget", "loop_own", "loop_backend", "lost_fragment", "malformed", "icmp_unknown")
"""Ways out of the program that would be lbctl's own fault."""


def unlike(world: World, held: Held, macs: Mapping[str, str], *, own: tuple[int, str]) -> Iterator[str]:
    """What of the kernel's tables is not as declared, in words. ``macs`` are the servers' real ones, ``own`` the
    director's interface: its index and MAC."""
    if held.interfaces != {own}:
        yield f"the director's interfaces are known as {sorted(held.interfaces)}, not as {own}"
    yield from _services(world, held)
    active = actives(world, held)
    for pool_name, name, member in world.members():
        key = f"{pool_name}/{name}"
        row = held.backends.get(_identity(world, pool_name, name))
        mac = macs[member.node] if world.fates[member.node] is Fate.ALIVE else None
        is_active = active.get(pool_name, name) == name
        yield from (f"{key}: {words}" for words in _backend(world, pool_name, name, row, mac, is_active=is_active))
    declared = {_identity(world, pool, name) for pool, name, _ in world.members()}
    strangers = [row for key, row in held.backends.items() if row.state is BackendState.UP and key not in declared]
    yield from (f"{row.address} takes connections and is not declared" for row in strangers)
    for pool_name in world.pools:
        yield from _slots(world, held, pool_name)


def actives(world: World, held: Held) -> dict[str, str]:
    """Who has all the slots of each pool of which one member is active at a time, if one has."""
    names = {_identity(world, pool, name): name for pool, name, _ in world.members()}
    owners = {pool: list(held.slots.get(identity(pool), {})) for pool in world.actives}
    return {pool: names[found[0]] for pool, found in owners.items() if len(found) == 1 and found[0] in names}


def holders(world: World, held: Held) -> dict[str, str]:
    """Who holds what of which source, of those that are declared."""
    names = {_identity(world, pool, name): name for pool, name, _ in world.members() if pool == VAULT}
    of_pool = {source: found for (pool, source), found in held.holders.items() if pool == identity(VAULT)}
    return {source: names[found] for source, found in of_pool.items() if found in names}


def misassigned(world: World, held: Held, expected: Mapping[str, str], said: Mapping[str, str]) -> Iterator[str]:
    """Which source is not assigned as it must be, in the kernel's table or by what the daemon ``said``. That of a holder which
    the file has no more is nobody else's."""
    found = holders(world, held)
    strays = [source for (pool, source), _ in held.holders.items() if pool == identity(VAULT) and source not in found]
    if VAULT in world.pools and world.pools[VAULT].reassign is not Reassign.NEVER:
        yield from (f"{source} is assigned to nobody of the file" for source in strays)
    for source, name in expected.items():
        wanted = name if VAULT in world.pools and name in world.pools[VAULT].members else None
        if found.get(source) != wanted:
            yield f"{source} is assigned to {found.get(source)}, not to {wanted}"
        if said.get(source) != name:
            yield f"{source} is said to be assigned to {said.get(source)}, not to {name}"


def _services(world: World, held: Held) -> Iterator[str]:
    expected = {
        ServiceKey(vip=PLACES[name][0], port=PLACES[name][1], protocol=Protocol.TCP): identity(service.pool)
        for name, service in world.services.items()
    }
    found = {key: pool for key, pool in held.services.items() if key.protocol is Protocol.TCP}
    for key in expected.keys() | found.keys():
        if expected.get(key) != found.get(key):
            what = "has another pool" if key in expected and key in found else "is missing"
            yield f"service {key.vip}:{key.port} {what if key in expected else 'is not declared'}"
    has_datagrams = any(key.protocol is Protocol.UDP for key in held.services)
    if has_datagrams != world.has_datagrams:
        yield f"UDP service: {has_datagrams}, not {world.has_datagrams}"


def _backend(
    world: World, pool: str, name: str, row: BackendRow | None, mac: str | None, *, is_active: bool
) -> Iterator[str]:
    if row is None:
        yield "has no row"
        return
    states = _states(world, pool, name, is_active=is_active)
    if row.state not in states:
        yield f"is {row.state.name}, not {' or '.join(sorted(state.name for state in states))}"
    if mac is not None and (row.mac or b"").hex(":") != mac:
        yield f"has MAC {(row.mac or b'').hex(':')}, the server's is {mac}"
    if row.limit != (world.pools[pool].limit or 0):
        yield f"limit {row.limit}, not {world.pools[pool].limit}"


def _states(world: World, pool: str, name: str, *, is_active: bool) -> frozenset[BackendState]:
    """Of two that are active one after the other, the one that is not is cut off from its clients, whatever its state."""
    if not is_active or world.overrides.get(f"{pool}/{name}") is Override.HALTED:
        return frozenset({BackendState.HALTED})
    if world.fates[world.pools[pool].members[name].node] is not Fate.ALIVE:
        return frozenset({BackendState.DOWN, BackendState.DEAD})
    return frozenset({BackendState.DRAINING if world.is_drained(pool, name) else BackendState.UP})


def _slots(world: World, held: Held, pool: str) -> Iterator[str]:
    """Each member's share of the slots, to within one, for everybody and for the class."""
    rows = {pool: world.weights(pool)}
    if world.pools[pool].class_weight is not None:
        rows[f"{pool}:clients"] = world.class_weights(pool)
    able = world.able(pool)
    for row, weights in rows.items():
        found = held.slots.get(identity(row))
        if found is None:
            yield f"{row} has no slots"
        elif pool in world.actives:
            yield from _slots_of_one(world, held, pool)
        else:
            shared = {name: weight if name in able else 0 for name, weight in weights.items()}
            yield from _unlike_shares(row, shared, {n: found.get(_identity(world, pool, n), 0) for n in shared}, found)


def _unlike_shares(
    row: str, shared: Mapping[str, int], counts: Mapping[str, int], found: Mapping[int, int]
) -> Iterator[str]:
    expected = quotas(shared, size=sum(found.values()))
    if any(abs(counts[name] - expected[name]) > 1 for name in shared) or found.get(_NOBODY):
        yield f"{row} has slots {dict(counts)}, not {expected}"


def _slots_of_one(world: World, held: Held, pool: str) -> Iterator[str]:
    """All of them are one member's, and that is one which may be active."""
    found, expected = actives(world, held).get(pool), sorted(world.actives[pool])
    if found not in expected:
        yield f"{found} is the active one of {pool}, not {' or '.join(expected)}"


def _identity(world: World, pool: str, name: str) -> int:
    return identity(f"{pool}/{name}@{address_of(world.pools[pool].members[name].node, pool=pool)}")


def unwell(world: World, status: Mapping[str, Any]) -> Iterator[str]:
    """What the daemon says that is not as it should be."""
    daemon = status["daemon"]
    if daemon["unconfirmed"] is not None:
        yield "a change waits for its confirmation"
    yield from (f"status has {key}: {daemon[key]}" for key in ("config_error", "last_error") if daemon[key])
    yield from (f"warning: {warning}" for warning in daemon["warnings"])
    yield from (f"{row['name']} has no program" for row in status["interfaces"] if not row["attached"])
    yield from (
        f"service {row['name']} is {row['state']}: {row['reason']}"
        for row in status["services"]
        if row["state"] not in _service_states(world, row["name"])
    )
    said = {f"{pool['name']}/{row['name']}": row for pool in status["pools"] for row in pool["backends"]}
    active = {pool["name"]: pool.get("active") for pool in status["pools"]}
    for pool_name, name, member in world.members():
        key = f"{pool_name}/{name}"
        row = said.get(key, {})
        expected = _conditions(world, pool_name, name, is_active=active.get(pool_name) in (name, None))
        if row.get("state") not in expected:
            yield f"{key} ({member.node}) is said to be {row.get('state')}, not {' or '.join(sorted(expected))}"
        if row.get("given_weight") != world.given.get(key):
            yield f"{key} is said to have weight {row.get('given_weight')} by an operator, not {world.given.get(key)}"
    for pool, names in world.actives.items():
        if active.get(pool) not in names:
            yield f"{active.get(pool)} is said to be the active one of {pool}, not {' or '.join(sorted(names))}"


def _service_states(world: World, name: str) -> frozenset[str]:
    """Where the limit is tight, all that are left to take connections may be full. (The UDP service is at the first one's
    place.)"""
    service = world.services.get(name, next(iter(world.services.values())))
    is_tight = world.pools[service.pool].limit == TIGHT
    return frozenset({"active", "no backend"} if is_tight else {"active"})


def _conditions(world: World, pool: str, name: str, *, is_active: bool) -> frozenset[str]:
    member, override = world.pools[pool].members[name], world.overrides.get(f"{pool}/{name}")
    if override is not None:
        return frozenset({"draining" if override is Override.DRAINED else "halted"})
    if world.fates[member.node] is not Fate.ALIVE:
        return _STATES["dead"]
    if world.is_drained(pool, name):
        return frozenset({"draining"})
    if not is_active:
        return frozenset({"standby"})
    return _STATES["up"] | (frozenset({"full"}) if world.pools[pool].limit == TIGHT else frozenset())


def faults(status: Mapping[str, Any]) -> dict[str, int]:
    """The counters that would be lbctl's own fault, where they are not zero."""
    return {name: row["packets"] for name, row in status["reasons"].items() if name in _FAULTS and row["packets"]}


def unplanned(plan: Mapping[str, Any]) -> Iterator[str]:
    """What the daemon itself would still change for the file to be in force; there must be nothing."""
    yield from (f"to be changed: {change['key']}" for change in plan["changes"])
    yield from (f"drift: {drift['text']}" for drift in plan["drift"])
    if not plan["is_empty"]:
        yield "the plan is not empty"
