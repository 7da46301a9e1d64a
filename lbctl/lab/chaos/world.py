"""What is so at a moment of the run: which servers live, what the file declares, what an operator said. Pure.

A pool's members are servers of the lab under names of their own, so that a name can be given to another server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from lbctl.core.model import Address
from lbctl.lab.segments import HOME

NODES = tuple(f"backend{number}" for number in range(1, 7))
VIPS: tuple[Address, ...] = (HOME.address(100), HOME.address(101), HOME.address6(100))
PLACES: Mapping[str, tuple[Address, int]] = {
    "s1": (VIPS[0], 9001),
    "s2": (VIPS[0], 9002),
    "s3": (VIPS[0], 9003),
    "s4": (VIPS[1], 9004),
    "s5": (VIPS[1], 9005),
    "six": (VIPS[2], 9006),
}
"""Where each service is, whenever it is declared."""
POOLS = ("p1", "p2", "p3", "p4")
POOL6 = "p6"
TIGHT, WIDE = 20, 100_000
"""Connection limits: one that is soon reached, and one that never is."""
TCP_FLOWS, UDP_FLOWS = 16_384, 1_024
_FIRST_HOST = 10
_CHECK = {"type": "tcp", "interval": "1s", "timeout": "800ms", "fall": 3, "rise": 1}


class Fate(StrEnum):
    """What has become of a server."""

    ALIVE = "alive"
    KILLED = "killed"
    """Its process is gone: its host refuses."""
    CUT = "cut"
    """Its cable is out: nobody answers."""


class Allow(StrEnum):
    """Whom a service's list of sources lets in."""

    EVERYBODY = "everybody"
    CLIENTS = "clients"
    STRANGERS = "strangers"
    """Everybody but the run's clients."""


class Override(StrEnum):
    """What an operator said of a member."""

    DRAINED = "drained"
    HALTED = "halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A backend in the file."""

    node: str
    weight: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool in the file. ``class_weight`` is what its first member weighs for the run's clients, if it has a class."""

    members: Mapping[str, Member]
    limit: int | None = None
    class_weight: int | None = None

    def weights(self) -> dict[str, int]:
        """By member, as they are for everybody."""
        return {name: member.weight for name, member in self.members.items()}

    def class_weights(self) -> dict[str, int]:
        """By member, as they are for the run's clients."""
        first = next(iter(self.members))
        return self.weights() | ({} if self.class_weight is None else {first: self.class_weight})


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service in the file."""

    pool: str
    allow: Allow = Allow.EVERYBODY
    idle_s: int = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All of it. ``overrides`` are by label (``pool/member``)."""

    pools: Mapping[str, Pool]
    services: Mapping[str, Service]
    fates: Mapping[str, Fate] = field(default_factory=lambda: dict.fromkeys(NODES, Fate.ALIVE))
    overrides: Mapping[str, Override] = field(default_factory=dict)
    drops_wrong_ports: bool = False
    has_datagrams: bool = False
    """Whether a UDP service is declared."""

    def with_pool(self, name: str, pool: Pool) -> World:
        """The world with this pool changed, or added."""
        return replace(self, pools={**self.pools, name: pool})

    def with_service(self, name: str, service: Service) -> World:
        """The world with this service changed, or added."""
        return replace(self, services={**self.services, name: service})

    def without_unused_pools(self) -> World:
        """A pool is declared as long as a service uses it."""
        used = {service.pool for service in self.services.values()}
        return replace(self, pools={name: pool for name, pool in self.pools.items() if name in used})

    def members(self) -> Iterator[tuple[str, str, Member]]:
        """Every (pool, name, member)."""
        for pool_name, pool in self.pools.items():
            for name, member in pool.members.items():
                yield pool_name, name, member

    def takes_new(self, pool: str, name: str) -> bool:
        """Whether a member is one that new connections may be sent to, weights aside."""
        member = self.pools[pool].members[name]
        return self.fates[member.node] is Fate.ALIVE and f"{pool}/{name}" not in self.overrides

    def has_takers(self, pool: str) -> bool:
        """Whether somebody takes the run's clients."""
        weights = self.pools[pool].class_weights()
        own = self.pools[pool].weights()
        return any(weights[name] and own[name] and self.takes_new(pool, name) for name in weights)

    def has_idle_class(self, pool: str) -> bool:
        """Whether a pool has a class whose sources none of its services lets in: the file would be refused."""
        rows = [service for service in self.services.values() if service.pool == pool]
        return self.pools[pool].class_weight is not None and all(row.allow is Allow.STRANGERS for row in rows)

    def accepts(self, service: str) -> bool:
        """Whether a new connection of the run's clients must succeed, as long as the path is whole."""
        declared = self.services.get(service)
        if declared is None or declared.allow is Allow.STRANGERS:
            return False
        return self.pools[declared.pool].limit != TIGHT and self.has_takers(declared.pool)

    def accepting(self) -> tuple[str, ...]:
        """The services that accept."""
        return tuple(name for name in self.services if self.accepts(name))


def first_world() -> World:
    """Where a run begins, and ends."""

    def pool(*nodes: int) -> Pool:
        return Pool(members={f"m{index}": Member(node=NODES[node - 1]) for index, node in enumerate(nodes, start=1)})

    return World(
        pools={"p1": pool(1, 2, 3), "p2": pool(4, 5, 6), "p3": pool(1, 3, 5), POOL6: pool(2, 4, 6)},
        services={
            "s1": Service(pool="p1"),
            "s2": Service(pool="p2"),
            "s3": Service(pool="p3"),
            "s4": Service(pool="p1"),
            "s5": Service(pool="p3"),
            "six": Service(pool=POOL6),
        },
    )


def address_of(node: str, *, pool: str) -> Address:
    """A server's address, of the pool's family."""
    host = _FIRST_HOST + 1 + NODES.index(node)
    return HOME.address6(host) if pool == POOL6 else HOME.address(host)


def configuration(world: World) -> str:
    """The file (JSON is YAML)."""
    has_class = any(pool.class_weight is not None for pool in world.pools.values())
    document: dict[str, Any] = {
        "interfaces": {"eth0": {"address": "192.0.2.10/24", "address6": "2001:db8:2::10/64"}},
        "services": dict(_services(world)),
        "pools": {name: _pool(name, pool) for name, pool in world.pools.items()},
        "director": {
            "tcp_flows": TCP_FLOWS,
            "udp_flows": UDP_FLOWS,
            "wrong_port": "drop" if world.drops_wrong_ports else "refuse",
        },
    }
    if has_class:
        document["classes"] = {"clients": {"sources": ["192.0.2.192/26"]}}
    return json.dumps(document, indent=1)


def _services(world: World) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, service in world.services.items():
        vip, port = PLACES[name]
        row = {"vip": str(vip), "ports": [port], "pool": service.pool, "idle_timeout": f"{service.idle_s}s"}
        if service.allow is not Allow.EVERYBODY:
            row["allow"] = [_prefix(service.allow, vip)]
        yield name, row
    if world.has_datagrams:
        first = next(iter(world.services))
        vip, port = PLACES[first]
        row = {"vip": str(vip), "ports": [port], "protocol": "udp", "pool": world.services[first].pool}
        yield "datagrams", row


def _prefix(allow: Allow, vip: Address) -> str:
    if vip.version == 6:
        return "2001:db8:2::/64" if allow is Allow.CLIENTS else "2001:db8:77::/64"
    return "192.0.2.192/26" if allow is Allow.CLIENTS else "198.51.100.0/24"


def _pool(name: str, pool: Pool) -> dict[str, Any]:
    rows = {
        key: {"address": str(address_of(member.node, pool=name)), "weight": member.weight}
        for key, member in pool.members.items()
    }
    declared: dict[str, Any] = {"kind": "other", "check": _CHECK, "backends": rows}
    if pool.limit is not None:
        declared["connection_limit"] = pool.limit
    if pool.class_weight is not None:
        declared["classes"] = {"clients": {next(iter(pool.members)): pool.class_weight}}
    return declared
