"""Declarations and situations for tests: short to write, and at random."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from hypothesis import strategies as st

from lbctl.core.desired import Limits, NicFacts, Situation
from lbctl.core.model import Backend, Declaration, Interface, Pool, PoolKind, Protocol, Service, TcpCheck
from lbctl.core.standing import Condition, Standing
from lbctl.core.tables import BackendState
from tests.strategies import Dice

LIMITS = Limits(backends=128, services=16, pools=16, slots=1 << 14, interfaces=256, members=8)
VIP = IPv4Address("192.0.2.100")
OTHER_VIP = IPv4Address("192.0.2.101")
NICS = {"eth0": NicFacts(ifindex=2, mac=bytes.fromhex("02000202000a"))}

Servers = Mapping[str, int]
"""Backends by name, to the last byte of their address, in the order of the file."""


def pool(name: str, servers: Servers) -> Pool:
    """A pool of backends of equal declared weight."""
    backends = tuple(
        Backend(
            pool=name,
            name=server,
            address=IPv4Address(f"192.0.2.{host}"),
            interface="eth0",
            weight=100,
            check=TcpCheck(port=104),
        )
        for server, host in servers.items()
    )
    return Pool(name=name, kind=PoolKind.OTHER, storage=None, backends=backends)


def service(pool_name: str, vip: IPv4Address = VIP, ports: tuple[int, ...] = (104,)) -> Service:
    """A TCP service on eth0."""
    return Service(
        name=f"{pool_name} at {vip}",
        vip=vip,
        ports=ports,
        protocol=Protocol.TCP,
        pool=pool_name,
        interface="eth0",
        idle_timeout_s=3600.0,
    )


def declaration(pools: Mapping[str, Servers], *services: Service) -> Declaration:
    """Pools and services on one interface. Without ``services``, the first pool is at `VIP`."""
    return Declaration(
        interfaces=(Interface(name="eth0", address=IPv4Interface("192.0.2.10/24")),),
        services=services or tuple(service(name) for name in list(pools)[:1]),
        pools=tuple(pool(name, servers) for name, servers in pools.items()),
    )


def up(weight: int = 10_000) -> Standing:
    """Takes new connections."""
    return Standing(condition=Condition.UP, reason="", state=BackendState.UP, weight=weight)


def down() -> Standing:
    """Takes none."""
    return Standing(condition=Condition.DOWN, reason="", state=BackendState.DOWN, weight=0)


def draining() -> Standing:
    """Keeps those it has."""
    return Standing(condition=Condition.DRAINING, reason="", state=BackendState.DRAINING, weight=0)


def mac_of(address: IPv4Address) -> bytes:
    """The MAC of the server at an address."""
    return bytes((2, 0)) + address.packed


def situation(
    declared: Declaration,
    standings: Mapping[str, Standing] | None = None,
    *,
    busy_backends: Collection[int] = (),
    busy_services: Collection[int] = (),
    busy_vips: Collection[IPv4Address] = (),
    refused_vips: Collection[IPv4Address] = (),
    settling_pools: Collection[str] = (),
) -> Situation:
    """Everybody is up, but for ``standings`` by label."""
    backends = list(declared.backends())
    return Situation(
        nics=NICS,
        macs={backend.address: mac_of(backend.address) for backend in backends},
        standings={backend.label: up() for backend in backends} | dict(standings or {}),
        refused_vips=frozenset(refused_vips),
        busy_backends=frozenset(busy_backends),
        busy_services=frozenset(busy_services),
        busy_vips=frozenset(busy_vips),
        settling_pools=frozenset(settling_pools),
    )


@dataclass(frozen=True)
class World:
    """What is declared and observed at one moment."""

    declared: Declaration
    observed: Situation


def _world(dice: Dice) -> World:
    pools = {}
    for name in ["archives", *dice.subset(["web", "hl7"])]:
        servers = {server: dice.pick((11, 12, 13)) for server in dice.subset(["a", "b", "c", "d"])}
        pools[name] = dict(sorted(servers.items(), reverse=dice.pick((False, True))))
    places = dice.subset([(vip, port) for vip in (VIP, OTHER_VIP) for port in (104, 443)])
    declared = declaration(pools, *(service(dice.pick(list(pools)), vip, (port,)) for vip, port in places))
    standings = {b.label: dice.pick((up(), up(5_000), draining(), down())) for b in declared.backends()}
    observed = situation(
        declared,
        standings,
        busy_backends=dice.subset(range(1, 16)),
        busy_vips=dice.subset([VIP, OTHER_VIP]),
        refused_vips=[OTHER_VIP] if dice.pick((False, False, True)) else [],
        busy_services=dice.subset(range(1, 5)),
        settling_pools=dice.subset(list(pools)),
    )
    return World(declared, observed)


WORLDS = st.lists(st.binary(min_size=64, max_size=64).map(lambda throws: _world(Dice(throws))), min_size=1, max_size=6)
"""One director's history."""
