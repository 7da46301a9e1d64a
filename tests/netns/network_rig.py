"""A director with a `KernelNetwork`, peers and a stranger on one switch: fixtures of the test_network_* modules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest

from lbctl.network.kernel import KernelNetwork
from lbctl.network.port import Link, LinkChanged, Neighbour, NeighbourChanged, NetworkEvent, ProbePath
from tests.netns.ns_helpers import Host, LoopInside, eventually, hosts_on_a_switch

VIP = IPv4Address("10.77.0.100")
OTHER_VIP = IPv4Address("10.77.0.101")
ETH_P_ARP = 0x0806


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
        self.loop.run(self.network.manage_neighbour(self.link.ifindex, IPv4Address(address)))

    def entry(self, address: str) -> Neighbour | None:
        """The last state told of a neighbour."""
        told = [event.neighbour for event in tuple(self.events) if isinstance(event, NeighbourChanged)]
        return next((entry for entry in reversed(told) if entry.address == IPv4Address(address)), None)

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

    def last_link_event(self) -> Link | None:
        told = [event.link for event in tuple(self.events) if isinstance(event, LinkChanged)]
        return told[-1] if told else None

    def set_paths(self, *paths: ProbePath) -> None:
        self.loop.run(self.network.set_probe_paths(frozenset(paths)))

    def path(self, mark: int, via: Host, *vips: IPv4Address) -> ProbePath:
        return ProbePath(mark=mark, vips=frozenset(vips), via=IPv4Address(via.address), ifindex=self.link.ifindex)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, ...]]:
    with hosts_on_a_switch(4) as made:
        yield made


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


def gratuitous_arp(host: Host, address: str) -> None:
    host.run(f"arping -U -c 1 -I eth0 {address}")
