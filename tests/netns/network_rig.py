"""A director with a `KernelNetwork`, peers and a stranger on one switch: fixtures of the test_network_* modules."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address

import pytest

from lbctl.core.model import Address
from lbctl.errors import LbctlError
from lbctl.network import packets
from lbctl.network.kernel import KernelNetwork
from lbctl.network.port import MARK_BASE, Link, LinkChanged, Neighbour, NeighbourChanged, NetworkEvent, ProbePath
from tests.netns.ns_helpers import Host, LoopInside, eventually, hosts_on_a_switch


@dataclass(frozen=True, kw_only=True)
class Family:
    """One of the two address families, which every host on the switch has."""

    subnet: IPv4Network | IPv6Network

    @property
    def vip(self) -> Address:
        return self.subnet[100]

    @property
    def other_vip(self) -> Address:
        return self.subnet[101]

    @property
    def option(self) -> str:
        """Of ``ip``."""
        return f"-{self.subnet.version}"

    @property
    def sysctls(self) -> str:
        return f"net.ipv{self.subnet.version}"

    @property
    def socket_family(self) -> socket.AddressFamily:
        return socket.AF_INET if self.subnet.version == 4 else socket.AF_INET6

    @property
    def host_bits(self) -> int:
        return self.subnet.max_prefixlen

    @property
    def at_once(self) -> str:
        """To be said of an address that shall not wait for duplicates."""
        return " nodad" if self.subnet.version == 6 else ""

    def of(self, host: Host) -> str:
        """The host's address."""
        return str(self.subnet[int(host.address.rpartition(".")[2])])


IPV4 = Family(subnet=IPv4Network("10.77.0.0/24"))
IPV6 = Family(subnet=IPv6Network("fd77::/64"))


@dataclass
class Director:
    """A `KernelNetwork` inside the first host, its events recorded as they come."""

    host: Host
    loop: LoopInside
    network: KernelNetwork
    link: Link
    events: list[NetworkEvent] = field(default_factory=list)

    async def follow(self) -> None:
        async for event in self.network.events():
            self.events.append(event)

    def manage(self, address: str) -> None:
        self.loop.run(self.network.manage_neighbours(self.link.ifindex, [ip_address(address)]))

    def release(self, address: str) -> None:
        self.loop.run(self.network.release_neighbours(self.link.ifindex, [ip_address(address)]))

    def entry(self, address: str) -> Neighbour | None:
        """The last state told of a neighbour."""
        told = [event.neighbour for event in tuple(self.events) if isinstance(event, NeighbourChanged)]
        return next((entry for entry in reversed(told) if entry.address == ip_address(address)), None)

    def await_entry(self, address: str, fits: Callable[[Neighbour], bool], *, within_s: float = 10) -> Neighbour:
        return eventually(lambda: self._entry_that(address, fits), within_s=within_s)

    def _entry_that(self, address: str, fits: Callable[[Neighbour], bool]) -> Neighbour | None:
        entry = self.entry(address)
        return entry if entry is not None and fits(entry) else None

    def await_mac(self, address: str, mac: bytes) -> Neighbour:
        return self.await_entry(address, lambda entry: entry.mac == mac and entry.usable)

    def unplug(self) -> None:
        """Take the carrier away, at the switch."""
        self.host.set_port("down")

    def plug_in(self) -> None:
        self.host.set_port("up")

    def links_told(self) -> list[Link]:
        """As they were told of one after the other, but those that were removed."""
        return [event.link for event in tuple(self.events) if isinstance(event, LinkChanged) and event.link]

    def last_link_event(self) -> Link | None:
        told = [event.link for event in tuple(self.events) if isinstance(event, LinkChanged)]
        return told[-1] if told else None

    def link_told(self, name: str) -> Link | None:
        """How one of the links was told of last, whatever became of others since."""
        told = [event.link for event in tuple(self.events) if isinstance(event, LinkChanged)]
        return next((link for link in reversed(told) if link and link.name == name), None)

    def addresses_told(self) -> set[IPv4Interface | IPv6Interface]:
        """All that were ever told of."""
        told = (event.link for event in tuple(self.events) if isinstance(event, LinkChanged))
        return {address for link in told if link is not None for address in link.addresses}

    def set_paths(self, *paths: ProbePath) -> Mapping[int, LbctlError]:
        return self.loop.run(self.network.set_probe_paths(frozenset(paths)))

    def path(self, mark: int, via: str, *vips: Address) -> ProbePath:
        """``mark`` may be its number alone."""
        return ProbePath(mark=MARK_BASE | mark, vips=frozenset(vips), via=ip_address(via), ifindex=self.link.ifindex)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, ...]]:
    with hosts_on_a_switch(4) as made:
        for host in made:
            # Else the kernel takes the address away with the link, as an operator's network manager puts it back.
            host.set_sysctl("net.ipv6.conf.eth0.keep_addr_on_down", 1)
            host.run(f"ip addr add {IPV6.of(host)}/64 dev eth0 nodad")
        yield made


@pytest.fixture(params=[IPV4, IPV6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> Family:
    given: Family = request.param
    return given


def started(host: Host, **settings: float) -> Director:
    loop = LoopInside(host)

    async def start() -> Director:
        network = KernelNetwork(**settings)  # type: ignore[arg-type]
        return Director(host=host, loop=loop, network=network, link=await network.link("eth0"))

    director = loop.run(start())

    async def follow() -> asyncio.Task[None]:
        return asyncio.create_task(director.follow())

    director.task = loop.run(follow())  # type: ignore[attr-defined]
    return director


def stopped(director: Director) -> None:
    async def stop() -> None:
        director.task.cancel()  # type: ignore[attr-defined]
        with suppress(asyncio.CancelledError):
            await director.task  # type: ignore[attr-defined]
        await director.network.close()

    director.loop.run(stop())
    director.loop.close()


@pytest.fixture
def director(hosts: tuple[Host, ...]) -> Iterator[Director]:
    made = started(hosts[0])
    yield made
    stopped(made)


@pytest.fixture
def peer(hosts: tuple[Host, ...]) -> Host:
    return hosts[1]


@pytest.fixture
def address(peer: Host, family: Family) -> str:
    """The peer's, of either family."""
    return family.of(peer)


def claim(host: Host, address: str) -> None:
    """Tell everybody, by gratuitous ARP or unsolicited advertisement, that the address is at the host's MAC."""
    link = Link(ifindex=0, name="eth0", mac=host.mac, addresses=(), is_up=True, mtu=1500)
    host.call(lambda: packets.announce(link, ip_address(address)))


def paths_of(rules: str) -> int:
    """How many rules send a mark to its table."""
    return len(re.findall(r"fwmark 0x6c62[0-9a-f]{4} lookup", rules))


def counts(director: Director, family: Family) -> tuple[int, int]:
    """Of the rules, and of the routes."""
    rules = paths_of(director.host.run(f"ip {family.option} rule"))
    return rules, director.host.run(f"ip {family.option} route show table all proto 108").count(str(family.vip))


def subscribed_to_routes() -> socket.socket:
    ipv4_routes, ipv4_rules, ipv6_routes, ipv6_rules = 0x40, 0x80, 0x400, 0x40000
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    listener.settimeout(10)
    listener.bind((0, ipv4_routes | ipv4_rules | ipv6_routes | ipv6_rules))
    return listener
