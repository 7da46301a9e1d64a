"""Changes of the file, drawn at random: each a function that returns what it did in words and the world after it, or nothing
if there is nothing of that kind to do. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from lbctl.core.model import Failback, Reassign
from lbctl.lab.chaos.world import (
    FEED,
    NODES,
    OWN_POOLS,
    PLACES,
    POOL6,
    POOLS,
    TIGHT,
    VAULT,
    WIDE,
    Allow,
    Member,
    Pool,
    Service,
    World,
    first_world,
)

Drawn = tuple[str, World] | None
_FEWEST_SERVICES = 3
_FEWEST_MEMBERS = {FEED: 2, VAULT: 2}
_BY_HAND, _HALF = 0.6, 0.5
_WEIGHTS = (0, 1, 10, 50, 100, 100, 200, 256)
_IDLE_S = (120, 600, 3600, 86_400)


def drawn(random: Random, world: World, *, only_features: bool = False) -> Drawn:
    """A change of any kind; or of one that changes which parts of the program are needed."""
    return random.choice(FEATURES if only_features else CHANGES)(random, world)


def weight(random: Random, world: World) -> Drawn:
    """Another weight."""
    pool, name, member = random.choice(list(world.members()))
    fresh = random.choice(_WEIGHTS)
    if fresh == member.weight:
        return None
    return f"{pool}/{name}: weight {member.weight} -> {fresh}", _with_member(
        world, pool, name, replace(member, weight=fresh)
    )


def member_added(random: Random, world: World) -> Drawn:
    """A server more in a pool, under the first name that is free; rather where few are left to take over."""
    pool = FEED if _is_short(world) and random.random() < _HALF else random.choice(list(world.pools))
    members = world.pools[pool].members
    nodes = [node for node in NODES if node not in {member.node for member in members.values()}]
    names = [f"m{number}" for number in range(1, len(NODES) + 1) if f"m{number}" not in members]
    if not nodes or not names:
        return None
    node = random.choice(nodes)
    return f"{pool}/{names[0]} added: {node}", _with_member(world, pool, names[0], Member(node=node))


def _is_short(world: World) -> bool:
    return FEED in world.pools and len(world.able(FEED)) < 2


def member_removed(random: Random, world: World) -> Drawn:
    """One less. What an operator said something of stays, or the file would contradict it."""
    pool = random.choice(list(world.pools))
    removable = [name for name in world.pools[pool].members if not world.is_spoken_of(f"{pool}/{name}")]
    if len(world.pools[pool].members) <= _FEWEST_MEMBERS.get(pool, 1) or not removable:
        return None
    gone = random.choice(removable)
    members = {name: member for name, member in world.pools[pool].members.items() if name != gone}
    return f"{pool}/{gone} removed", world.with_pool(pool, replace(world.pools[pool], members=members))


def member_readdressed(random: Random, world: World) -> Drawn:
    """The same name, another server."""
    pool, name, member = random.choice(list(world.members()))
    nodes = [node for node in NODES if node not in {each.node for each in world.pools[pool].members.values()}]
    if not nodes or world.is_spoken_of(f"{pool}/{name}"):
        return None
    node = random.choice(nodes)
    return f"{pool}/{name} is {node} now, not {member.node}", _with_member(
        world, pool, name, replace(member, node=node)
    )


def service_added(random: Random, world: World) -> Drawn:
    """One that is not declared, in a pool that is; or with a pool of its own."""
    absent = [name for name in PLACES if name not in world.services]
    if not absent:
        return None
    name = random.choice(absent)
    if name in OWN_POOLS:
        return f"service {name} added, and its pool", _with_own_pool(random, world, name)
    declared = [pool for pool in POOLS if pool in world.pools]
    pool = random.choice(declared or POOLS)
    grown = world if declared else world.with_pool(pool, _fresh_pool(random))
    return f"service {name} added, in {pool}", grown.with_service(name, Service(pool=pool))


def service_removed(random: Random, world: World) -> Drawn:
    """With its pool, if nobody else uses that."""
    ipv4 = [name for name in world.services if name != "six"]
    name = random.choice([*ipv4, *(["six"] if "six" in world.services else [])])
    if len(world.services) <= _FEWEST_SERVICES or ipv4 == [name]:
        return None
    after = replace(world, services={key: row for key, row in world.services.items() if key != name})
    return _if_no_word_goes(f"service {name} removed", world, after.without_unused_pools())


def service_moved(random: Random, world: World) -> Drawn:
    """To another pool, perhaps a new one; the pool that it leaves goes if nobody else uses it."""
    name = random.choice(list(world.services))
    pool = random.choice(POOLS)
    if name in OWN_POOLS or world.services[name].pool == pool:
        return None
    is_new = pool not in world.pools
    grown = world.with_pool(pool, _fresh_pool(random)) if is_new else world
    after = grown.with_service(name, replace(world.services[name], pool=pool)).without_unused_pools()
    return _if_no_word_goes(f"service {name} moved to {'new ' if is_new else ''}pool {pool}", world, after)


def allow(random: Random, world: World) -> Drawn:
    """Another list of sources."""
    name, fresh = random.choice(list(world.services)), random.choice(list(Allow))
    others = [key for key, row in world.services.items() if key != name and row.allow is not Allow.STRANGERS]
    if fresh is world.services[name].allow or len(others) < 2:
        return None
    return f"service {name}: for {fresh}", world.with_service(name, replace(world.services[name], allow=fresh))


def idle_limit(random: Random, world: World) -> Drawn:
    """Another idle limit."""
    name, fresh = random.choice(list(world.services)), random.choice(_IDLE_S)
    if fresh == world.services[name].idle_s:
        return None
    return f"service {name}: idle limit {fresh} s", world.with_service(
        name, replace(world.services[name], idle_s=fresh)
    )


def connection_limit(random: Random, world: World) -> Drawn:
    """Another connection limit, or none. At most one pool has a tight one, for somebody has to take connections."""
    pool, fresh = random.choice(list(world.pools)), random.choice((None, TIGHT, WIDE))
    others = [key for key, each in world.pools.items() if key != pool and each.limit == TIGHT]
    if fresh == world.pools[pool].limit or (fresh == TIGHT and others):
        return None
    return f"pool {pool}: connection limit {fresh}", world.with_pool(pool, replace(world.pools[pool], limit=fresh))


def traffic_class(random: Random, world: World) -> Drawn:
    """The run's clients get weights of their own in a pool, or no longer."""
    pool = random.choice([name for name in world.pools if name not in (POOL6, FEED)])
    has_class = world.pools[pool].class_weight is not None
    fresh = None if has_class else random.choice(_WEIGHTS)
    if fresh == next(iter(world.pools[pool].members.values())).weight:
        return None
    words = f"pool {pool}: class clients, weight {fresh}" if fresh is not None else f"pool {pool}: no class"
    return words, world.with_pool(pool, replace(world.pools[pool], class_weight=fresh))


def wrong_port(random: Random, world: World) -> Drawn:
    """Refused, or dropped."""
    fresh = not world.drops_wrong_ports
    return f"wrong ports are {'dropped' if fresh else 'refused'}", replace(world, drops_wrong_ports=fresh)


def datagrams(random: Random, world: World) -> Drawn:
    """A UDP service comes or goes."""
    fresh = not world.has_datagrams
    return f"UDP service {'added' if fresh else 'removed'}", replace(world, has_datagrams=fresh)


def failback(random: Random, world: World) -> Drawn:
    """By itself, or when an operator says so: mostly that, for it leaves more to happen."""
    if FEED not in world.pools:
        return None
    is_by_hand = world.pools[FEED].failback is Failback.MANUAL
    if is_by_hand and random.random() < _BY_HAND:
        return None
    fresh = Failback.AUTOMATIC if is_by_hand else Failback.MANUAL
    return f"pool {FEED}: failback {fresh}", world.with_pool(FEED, replace(world.pools[FEED], failback=fresh))


def reassign(random: Random, world: World) -> Drawn:
    """When a source is given another archive."""
    fresh = random.choice(list(Reassign))
    if VAULT not in world.pools or fresh is world.pools[VAULT].reassign:
        return None
    return f"pool {VAULT}: reassign {fresh}", world.with_pool(VAULT, replace(world.pools[VAULT], reassign=fresh))


def _own_pool(random: Random, world: World) -> Drawn:
    """A service with a pool of its own comes or goes: all of IPv6, or all assignments of sources."""
    name = random.choice(("six", "vault"))
    if name not in world.services:
        return f"service {name} comes, and its pool", _with_own_pool(random, world, name)
    after = replace(world, services={key: row for key, row in world.services.items() if key != name})
    return _if_no_word_goes(f"service {name} goes, and its pool", world, after.without_unused_pools())


CHANGES: tuple[Callable[[Random, World], Drawn], ...] = (
    *(weight, weight, weight, weight, member_added, member_added, member_removed, member_removed),
    *(member_readdressed, service_added, service_added, service_removed, service_moved, service_moved),
    *(allow, allow, idle_limit, connection_limit, traffic_class, wrong_port, datagrams, reassign),
    *(failback, failback, failback),
)
FEATURES: tuple[Callable[[Random, World], Drawn], ...] = (_own_pool, allow, connection_limit, traffic_class)
"""Those that add or take a part of the program."""


def spoilt(random: Random, text: str) -> tuple[str, str]:
    """What is wrong, and the file that has it wrong."""
    return random.choice(
        (
            ("half a file", text[: len(text) // 2]),
            ("an unknown key", text.replace('"services"', '"servces"', 1)),
            ("a backend outside of the subnet", text.replace('"address": "192.0.2.1', '"address": "198.51.100.1', 2)),
            ("a service of a pool that is not there", text.replace('"pool": "p', '"pool": "q', 1)),
            ("no file but noise", "\x00\x01" + "{[" * 500),
            ("an empty file", ""),
        )
    )


def _with_member(world: World, pool: str, name: str, member: Member) -> World:
    members = {**world.pools[pool].members, name: member}
    return world.with_pool(pool, replace(world.pools[pool], members=members))


def _with_own_pool(random: Random, world: World, service: str) -> World:
    """The world with a service, and its pool of the kind that it was at first."""
    pool = OWN_POOLS[service]
    declared = replace(first_world().pools[pool], members=_fresh_pool(random).members)
    return world.with_pool(pool, declared).with_service(service, Service(pool=pool))


def _fresh_pool(random: Random) -> Pool:
    nodes = random.sample(NODES, random.randint(2, 4))
    return Pool(members={f"m{index}": Member(node=node) for index, node in enumerate(nodes, start=1)})


def _if_no_word_goes(words: str, before: World, after: World) -> Drawn:
    """A pool of which an operator said something stays."""
    said_of = {label.partition("/")[0] for label in (*before.overrides, *before.given)}
    return (words, after) if said_of <= after.pools.keys() else None
