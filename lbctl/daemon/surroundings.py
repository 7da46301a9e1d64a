"""The network around the daemon: interfaces as declared, duplicate addresses, neighbours, probe paths, announcements."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from lbctl.core.model import Declaration, Interface
from lbctl.daemon.monitor import Route
from lbctl.errors import LbctlError, NetworkError
from lbctl.network.port import Link, Network, ProbePath

_log = logging.getLogger(__name__)

MARK_BASE = 0x6C62_0000
ANNOUNCEMENTS = 3
ANNOUNCEMENT_SPACING_S = 1.0


class Surroundings:
    """What of the kernel's network side is lbctl's: kept as the declaration asks, remembered so that changes are few."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._managed: set[tuple[int, IPv4Address]] = set()
        self._numbers: dict[str, int] = {}
        self._announcing: set[asyncio.Task[None]] = set()

    async def links(self, declaration: Declaration) -> Mapping[str, Link]:
        """The declared interfaces as the kernel has them. `NetworkError` if one is missing or has another address."""
        links = {interface.name: await self.network.link(interface.name) for interface in declaration.interfaces}
        for interface in declaration.interfaces:
            _check_address(interface, links[interface.name])
        return links

    async def present_links(self, declaration: Declaration) -> Mapping[str, Link]:
        """Those of the declared interfaces that exist now."""
        found = await asyncio.gather(
            *(self.network.link(interface.name) for interface in declaration.interfaces), return_exceptions=True
        )
        return {link.name: link for link in found if isinstance(link, Link)}

    async def find_duplicates(
        self, vips: Iterable[IPv4Address], declaration: Declaration, links: Mapping[str, Link]
    ) -> Mapping[IPv4Address, bytes]:
        """The VIPs that another station answers for, with its MAC (RFC 5227)."""
        on = {
            s.vip: links[s.interface] for s in declaration.services if s.interface in links and links[s.interface].is_up
        }
        asked = [vip for vip in dict.fromkeys(vips) if vip in on]
        found = await asyncio.gather(*(self.network.find_duplicate(on[vip], vip) for vip in asked))
        return {vip: mac for vip, mac in zip(asked, found, strict=True) if mac is not None}

    async def manage_neighbours(self, declaration: Declaration, links: Mapping[str, Link]) -> None:
        """Have the kernel resolve every backend and keep it fresh; let go of the others."""
        wanted = {(links[b.interface].ifindex, b.address) for b in declaration.backends() if b.interface in links}
        for ifindex, address in sorted(wanted):
            await self.network.manage_neighbour(ifindex, address)
        for ifindex, address in self._managed - wanted:
            await self.network.release_neighbour(ifindex, address)
        self._managed = wanted

    async def set_probe_paths(self, declaration: Declaration, links: Mapping[str, Link]) -> None:
        """Policy routes by which the probes reach the VIPs on each backend."""
        paths = frozenset(
            ProbePath(
                mark=self._mark(backend.label),
                vips=frozenset(service.vip for service in declaration.services_of(backend.pool)),
                via=backend.address,
                ifindex=links[backend.interface].ifindex,
            )
            for backend in declaration.backends()
            if backend.interface in links
        )
        await self.network.set_probe_paths(paths)

    def routes(self, declaration: Declaration) -> Mapping[str, Route]:
        """How each backend is probed, by label: through the VIP of the first service that its pool answers."""
        addresses = {interface.name: interface.address.ip for interface in declaration.interfaces}
        return {
            backend.label: Route(
                vip=declaration.services_of(backend.pool)[0].vip,
                mark=self._mark(backend.label),
                source=addresses[backend.interface],
            )
            for backend in declaration.backends()
        }

    def _mark(self, label: str) -> int:
        """A number of the backend's own for as long as the daemon lives."""
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


def _check_address(interface: Interface, link: Link) -> None:
    if interface.address in link.addresses:
        return
    present = ", ".join(map(str, link.addresses)) or "no IPv4 address"
    raise NetworkError(
        f"interface {interface.name} has {present}, but the file says {interface.address}",
        hint=f"correct interfaces.{interface.name}.address, or the interface: ip address add {interface.address} "
        f"dev {interface.name}",
    )
