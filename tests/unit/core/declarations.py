"""Declarations and situations for tests: short to write."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from lbctl.core.model import (
    Address,
    Announce,
    Backend,
    Declaration,
    Interface,
    Network,
    Pool,
    PoolKind,
    Protocol,
    Service,
    TcpCheck,
    TrafficClass,
)
from lbctl.core.situation import Limits, NicFacts, Situation
from lbctl.core.standing import Condition, Standing
from lbctl.core.tables import BackendState, Lan

LIMITS = Limits(backends=128, services=16, pools=64, slots=1 << 17, interfaces=256, members=8, sources=64)
VIP = IPv4Address("192.0.2.100")
OTHER_VIP = IPv4Address("192.0.2.101")
VIP6 = IPv6Address("2001:db8::100")
ETH0 = Interface(name="eth0", address=IPv4Interface("192.0.2.10/24"), address6=IPv6Interface("2001:db8::10/64"))
VLAN = Interface(
    name="eth0.20", address=IPv4Interface("198.51.100.10/24"), address6=IPv6Interface("2001:db8:20::10/64")
)
LAN, VLAN_LAN = Lan(2), Lan(2, 20)
NICS = {"eth0": NicFacts(lan=LAN, mac=bytes.fromhex("02000202000a"))}
BOTH_NICS = {**NICS, "eth0.20": NicFacts(lan=VLAN_LAN, mac=bytes.fromhex("02000202000a"))}

CT = TrafficClass(name="ct", sources=(IPv4Network("10.1.0.0/16"), IPv6Network("2001:db8:1::/48")))
FEED = TrafficClass(name="feed", ports=(443,))

Servers = Mapping[str, int]
"""Backends by name, to the last byte of their address, in the order of the file."""


def address(host: int, *, interface: Interface = ETH0, version: int = 4) -> Address:
    """An address of an interface's subnet."""
    own = interface.address if version == 4 else interface.address6
    assert own is not None
    return own.network[host]


def pool(
    name: str,
    servers: Servers,
    *,
    version: int = 4,
    interface: Interface = ETH0,
    class_weights: Mapping[str, Mapping[str, int]] | None = None,
) -> Pool:
    """A pool of backends of equal declared weight."""
    backends = tuple(
        Backend(
            pool=name,
            name=server,
            address=address(host, interface=interface, version=version),
            interface=interface.name,
            weight=100,
            check=TcpCheck(port=104),
        )
        for server, host in servers.items()
    )
    return Pool(
        name=name, kind=PoolKind.OTHER, storage=None, backends=backends, class_weights=dict(class_weights or {})
    )


def service(
    pool_name: str,
    vip: Address = VIP,
    ports: tuple[int, ...] = (104,),
    *,
    announce: Announce = Announce.ARP,
    allow: tuple[Network, ...] = (),
    interface: Interface = ETH0,
) -> Service:
    """A TCP service."""
    return Service(
        name=f"{pool_name} at {vip}",
        vip=vip,
        ports=ports,
        protocol=Protocol.TCP,
        pool=pool_name,
        interface=interface.name,
        idle_timeout_s=3600.0,
        announce=announce,
        allow=allow,
    )


def declared(*pools: Pool, services: tuple[Service, ...], classes: tuple[TrafficClass, ...] = ()) -> Declaration:
    """On both interfaces."""
    return Declaration(interfaces=(ETH0, VLAN), services=services, pools=pools, classes=classes)


def declaration(pools: Mapping[str, Servers], *services: Service) -> Declaration:
    """Pools and services on one interface. Without ``services``, the first pool is at `VIP`."""
    return Declaration(
        interfaces=(ETH0,),
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


def mac_of(address: Address) -> bytes:
    """The MAC of the server at an address."""
    return bytes((2, 0)) + address.packed[-4:]


def situation(
    declared: Declaration,
    standings: Mapping[str, Standing] | None = None,
    *,
    nics: Mapping[str, NicFacts] = NICS,
    busy_backends: Collection[int] = (),
    busy_services: Collection[int] = (),
    busy_vips: Collection[Address] = (),
    refused_vips: Collection[Address] = (),
    settling_pools: Collection[str] = (),
) -> Situation:
    """Everybody is up, but for ``standings`` by label."""
    backends = list(declared.backends())
    return Situation(
        nics=nics,
        macs={backend.address: mac_of(backend.address) for backend in backends},
        standings={backend.label: up() for backend in backends} | dict(standings or {}),
        refused_vips=frozenset(refused_vips),
        busy_backends=frozenset(busy_backends),
        busy_services=frozenset(busy_services),
        busy_vips=frozenset(busy_vips),
        settling_pools=frozenset(settling_pools),
    )
