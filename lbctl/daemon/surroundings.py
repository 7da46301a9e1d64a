"""The network around the daemon: interfaces as declared, duplicate addresses, neighbours, probe paths, announcements."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address

from lbctl.core.model import Declaration, Interface, Protocol
from lbctl.daemon.monitor import Route
from lbctl.errors import LbctlError, NetworkError, NoSuchInterfaceError
from lbctl.network.port import Link, Network, ProbePath

_log = logging.getLogger(__name__)

MARK_BASE = 0x6C62_0000
ANNOUNCEMENTS = 3
ANNOUNCEMENT_SPACING_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What the duplicate-address probe found: the VIPs that another station answers for, with its MAC; and those that could
    not be asked for, because their interface is down or absent."""

    owners: Mapping[IPv4Address, bytes]
    unchecked: frozenset[IPv4Address]


class Surroundings:
    """What of the kernel's network side is lbctl's: kept as the declaration asks, remembered so that changes are few."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._numbers: dict[str, int] = {}
        self._announcing: set[asyncio.Task[None]] = set()

    async def links(self, declaration: Declaration) -> Mapping[str, Link]:
        """The declared interfaces as the kernel has them. `NetworkError` if one is missing or has another address."""
        links = {interface.name: await self.network.link(interface.name) for interface in declaration.interfaces}
        for interface in declaration.interfaces:
            _check_address(interface, links[interface.name])
        return links

    async def present_links(self, declaration: Declaration) -> Mapping[str, Link]:
        """Those of the declared interfaces that exist now. Any other trouble than absence is raised: it must not be taken for
        absence."""
        links = {}
        for interface in declaration.interfaces:
            with suppress(NoSuchInterfaceError):
                links[interface.name] = await self.network.link(interface.name)
        return links

    async def find_duplicates(
        self, vips: Iterable[IPv4Address], declaration: Declaration, links: Mapping[str, Link]
    ) -> Claims:
        """Ask the network for these VIPs (RFC 5227)."""
        on = {
            s.vip: links[s.interface] for s in declaration.services if s.interface in links and links[s.interface].is_up
        }
        asked = [vip for vip in dict.fromkeys(vips) if vip in on]
        found = await asyncio.gather(*(self.network.find_duplicate(on[vip], vip) for vip in asked))
        owners = {vip: mac for vip, mac in zip(asked, found, strict=True) if mac is not None}
        return Claims(owners=owners, unchecked=frozenset(vips) - on.keys())

    async def manage_neighbours(self, declaration: Declaration, links: Mapping[str, Link]) -> None:
        """Have the kernel resolve every backend and keep it fresh; let go of the others."""
        wanted = {(links[b.interface].ifindex, b.address) for b in declaration.backends() if b.interface in links}
        for ifindex, address in sorted(wanted):
            await self.network.manage_neighbour(ifindex, address)
        for link in links.values():
            for address in await self.network.owned_neighbours(link.ifindex):
                if (link.ifindex, address) not in wanted:
                    await self.network.release_neighbour(link.ifindex, address)

    async def set_probe_paths(self, declaration: Declaration, links: Mapping[str, Link]) -> None:
        """Policy routes by which the probes reach the VIPs on each backend."""
        paths = frozenset(
            ProbePath(
                mark=self.mark(backend.label),
                vips=frozenset(service.vip for service in declaration.services_of(backend.pool)),
                via=backend.address,
                ifindex=links[backend.interface].ifindex,
            )
            for backend in declaration.backends()
            if backend.interface in links
        )
        await self.network.set_probe_paths(paths)

    def routes(self, declaration: Declaration) -> Mapping[str, Route]:
        """How each backend is probed, by label: through every VIP that its pool answers for, that of its first TCP service
        first."""
        addresses = {interface.name: interface.address.ip for interface in declaration.interfaces}
        return {
            backend.label: Route(
                vips=_vips_of(backend.pool, declaration),
                mark=self.mark(backend.label),
                source=addresses[backend.interface],
            )
            for backend in declaration.backends()
        }

    def mark(self, label: str) -> int:
        """Of the path to a backend: a number of its own for as long as the daemon lives."""
        return MARK_BASE | self._numbers.setdefault(label, len(self._numbers) + 1)

    def announce(self, vips: Iterable[IPv4Address], link: Link) -> None:
        """Gratuitous ARP for these VIPs, three times, in the background."""
        task = asyncio.create_task(self._announce(tuple(vips), link))
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)

    async def _announce(self, vips: tuple[IPv4Address, ...], link: Link) -> None:
        for _ in range(ANNOUNCEMENTS):
            try:
                for vip in vips:
                    await self.network.announce(link, vip)
            except LbctlError as error:
                _log.warning("%s", error)
                return
            await asyncio.sleep(ANNOUNCEMENT_SPACING_S)

    async def close(self) -> None:
        """Cease to announce; release sockets."""
        for task in self._announcing:
            task.cancel()
        await asyncio.gather(*self._announcing, return_exceptions=True)
        await self.network.close()


def _vips_of(pool: str, declaration: Declaration) -> tuple[IPv4Address, ...]:
    services = sorted(declaration.services_of(pool), key=lambda service: service.protocol is not Protocol.TCP)
    return tuple(dict.fromkeys(service.vip for service in services))


def faults_of(declaration: Declaration, links: Mapping[str, Link]) -> tuple[str, ...]:
    """What is not as declared about the interfaces, a line each."""
    faults = []
    for interface in declaration.interfaces:
        try:
            _check_address(interface, links[interface.name])
        except KeyError:
            faults.append(f"interface {interface.name} does not exist")
        except NetworkError as error:
            faults.append(error.message)
    return tuple(faults)


def _check_address(interface: Interface, link: Link) -> None:
    if interface.address in link.addresses:
        return
    present = ", ".join(map(str, link.addresses)) or "no IPv4 address"
    raise NetworkError(
        f"interface {interface.name} has {present}, but the file says {interface.address}",
        hint=f"correct interfaces.{interface.name}.address, or the interface: ip address add {interface.address} "
        f"dev {interface.name}",
    )
