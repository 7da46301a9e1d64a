"""What is so at a moment of the run: which servers live, what the file declares, what an operator said. Pure.

A pool's members are servers of the lab under names of their own, so that a name can be given to another server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from lbctl.core.model import Address, Failback, Reassign
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
    "feed": (VIPS[1], 9007),
    "vault": (VIPS[0], 9008),
}
"""Where each service is, whenever it is declared."""
POOLS = ("p1", "p2", "p3", "p4")
POOL6, FEED, VAULT = "p6", "pf", "pv"
OWN_POOLS: Mapping[str, str] = {"six": POOL6, "feed": FEED, "vault": VAULT}
"""Services that have a pool to themselves: of IPv6; with one active server at a time; with a server for each source."""
SOURCES: tuple[Address, ...] = tuple(HOME.address(host) for host in range(202, 208))
"""Who the run's clients are to the vault."""
TIGHT, WIDE = 20, 100_000
"""Connection limits: one that is soon reached, and one that never is."""
TCP_FLOWS, UDP_FLOWS = 16_384, 1_024
_FIRST_HOST = 10


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
    """A pool in the file. ``class_weight`` is what its first member weighs for the run's clients, if it has a class.
    ``failback`` if only one member is active at a time, ``reassign`` if each source has a member of its own."""

    members: Mapping[str, Member]
    limit: int | None = None
    class_weight: int | None = None
    failback: Failback | None = None
    reassign: Reassign | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service in the file."""

    pool: str
    allow: Allow = Allow.EVERYBODY
    idle_s: int = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All of it. ``overrides``, and the weights ``given`` by an operator, are by label (``pool/member``). ``actives`` are those
    who may be the active one, of each pool that has one: mostly a single name."""

    pools: Mapping[str, Pool]
    services: Mapping[str, Service]
    fates: Mapping[str, Fate] = field(default_factory=lambda: dict.fromkeys(NODES, Fate.ALIVE))
    overrides: Mapping[str, Override] = field(default_factory=dict)
    given: Mapping[str, int] = field(default_factory=dict)
    actives: Mapping[str, frozenset[str]] = field(default_factory=dict)
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

    def is_spoken_of(self, label: str) -> bool:
        """Whether an operator said anything of a member."""
        return label in self.overrides or label in self.given

    def weights(self, pool: str) -> dict[str, int]:
        """By member, as they are for everybody."""
        members = self.pools[pool].members.items()
        return {name: self.given.get(f"{pool}/{name}", member.weight) for name, member in members}

    def class_weights(self, pool: str) -> dict[str, int]:
        """By member, as they are for the run's clients. What the class says of a member goes before what an operator says."""
        first, its = next(iter(self.pools[pool].members)), self.pools[pool].class_weight
        return self.weights(pool) | ({} if its is None else {first: its})

    def is_drained(self, pool: str, name: str) -> bool:
        """Whether a member takes nothing new, by an operator's word or for want of weight."""
        return self.overrides.get(f"{pool}/{name}") is Override.DRAINED or not self.weights(pool)[name]

    def takes_new(self, pool: str, name: str) -> bool:
        """Whether a member is one that new connections may be sent to, weights aside."""
        member = self.pools[pool].members[name]
        return self.fates[member.node] is Fate.ALIVE and f"{pool}/{name}" not in self.overrides

    def able(self, pool: str) -> tuple[str, ...]:
        """The members that can take connections, in the order of the file."""
        return tuple(name for name, weight in self.weights(pool).items() if weight and self.takes_new(pool, name))

    def is_declarable(self, pool: str) -> bool:
        """Whether somebody has a weight in the file, whatever an operator says; and in the class, if there is one."""
        first, *others = (member.weight for member in self.pools[pool].members.values())
        its = self.pools[pool].class_weight
        return any((first, *others)) and any((first if its is None else its, *others))

    def has_takers(self, pool: str) -> bool:
        """Whether somebody takes the run's clients."""
        weights = self.class_weights(pool)
        return any(weights[name] for name in self.able(pool))

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

    def members(*nodes: int) -> Mapping[str, Member]:
        return {f"m{index}": Member(node=NODES[node - 1]) for index, node in enumerate(nodes, start=1)}

    return World(
        pools={
            "p1": Pool(members=members(1, 2, 3)),
            "p2": Pool(members=members(4, 5, 6)),
            "p3": Pool(members=members(1, 3, 5)),
            POOL6: Pool(members=members(2, 4, 6)),
            FEED: Pool(members=members(2, 5, 6), failback=Failback.MANUAL),
            VAULT: Pool(members=members(1, 3, 4), reassign=Reassign.REMOVED),
        },
        services={
            "s1": Service(pool="p1"),
            "s2": Service(pool="p2"),
            "s3": Service(pool="p3"),
            "s4": Service(pool="p1"),
            "s5": Service(pool="p3"),
            **{name: Service(pool=pool) for name, pool in OWN_POOLS.items()},
        },
        actives={FEED: frozenset(("m1", "m2", "m3"))},
    )


def address_of(node: str, *, pool: str) -> Address:
    """A server's address, of the pool's family."""
    host = _FIRST_HOST + 1 + NODES.index(node)
    return HOME.address6(host) if pool == POOL6 else HOME.address(host)
