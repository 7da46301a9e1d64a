"""The network around the daemon: interfaces as declared, duplicate addresses, neighbours, probe paths, announcements."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from lbctl.core.model import Address, Backend, Declaration
from lbctl.core.vips import vips_by_pool
from lbctl.daemon.faults import check_addresses
from lbctl.daemon.monitor import Route
from lbctl.daemon.vips import is_announced
from lbctl.errors import LbctlError, NetworkError, NoSuchInterfaceError
from lbctl.network.port import MARKS, Link, Network, PathsTouched, ProbePath

_log = logging.getLogger(__name__)

ANNOUNCEMENTS = 3
ANNOUNCEMENT_SPACING_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What the duplicate-address probe found: the VIPs that another station answers for, with its MAC; and those that could
    not be asked for, because their interface is down or absent."""

    owners: Mapping[Address, bytes]
    unchecked: frozenset[Address]


_Place = tuple[int, Address]
"""A neighbour: where, and who."""
_Way = tuple[int, frozenset[Address], Address, int]
"""Of a probe: its mark, the VIPs, the backend's address and interface."""


class Surroundings:
    """What of the kernel's network side is lbctl's: kept as the declaration asks, remembered so that changes are few."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._marks: dict[str, int] = {}
        self._free_marks = deque(MARKS)
        self._announcing: dict[asyncio.Task[None], tuple[tuple[Address, ...], Link]] = {}
        self._managed: Mapping[Hashable, _Place] | None = None
        self._unclaimed: frozenset[_Place] = frozenset()
        self._ways: Mapping[str, _Way] | None = None
        self._are_some_refused = False
        self._touched: set[int | None] = set()

    async def links(self, declaration: Declaration) -> Mapping[str, Link]:
        """The declared interfaces as the kernel has them. `NetworkError` if one is missing or has another address."""
        links = {interface.name: await self.network.link(interface.name) for interface in declaration.interfaces}
        for interface in declaration.interfaces:
            check_addresses(interface, links[interface.name])
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
        self, vips: Iterable[Address], declaration: Declaration, links: Mapping[str, Link]
    ) -> Claims:
        """Ask the network for these VIPs (RFC 5227, RFC 4862 section 5.4). Of a routed one nobody is asked."""
        announced = {s.vip: links.get(s.interface) for s in declaration.services if is_announced(s)}
        on = {vip: link for vip, link in announced.items() if link is not None and link.is_up}
        wanted = [vip for vip in dict.fromkeys(vips) if vip in announced]
        asked = [vip for vip in wanted if vip in on]
        found = await asyncio.gather(*(self.network.find_duplicate(on[vip], vip) for vip in asked))
        owners = {vip: mac for vip, mac in zip(asked, found, strict=True) if mac is not None}
        return Claims(owners=owners, unchecked=frozenset(wanted) - on.keys())

    async def manage_neighbours(
        self,
        declaration: Declaration,
        links: Mapping[str, Link],
        *,
        lingering: Mapping[Address, str] | None = None,
        anew: bool = False,
    ) -> bool:
        """Have the kernel resolve every backend and keep it fresh, those that are ``lingering`` as well: declared no more, but
        live connections go to their MACs. Let go of the others, unless it is not known who lingers. Returns whether there are
        new ones. Only what is not as it was is touched, unless ``anew``: the kernel may have dropped entries."""
        wanted = _places(declaration, links, lingering or {})
        known = None if anew else self._managed
        formerly, self._managed = self._managed or {}, None  # what a failure leaves behind is not known
        if (
            known == wanted and not self._unclaimed
        ):  # as after most changes: addresses are slow to hash, and may be thousands
            self._managed = wanted
            return False
        self._unclaimed |= frozenset(formerly.values())  # also those on interfaces that are declared no more
        managed = frozenset(known.values()) if known is not None else frozenset()
        before = self._unclaimed if known is not None else self._unclaimed | await self._owned(links)
        places = dict.fromkeys(wanted.values())
        new = [place for place in places if place not in managed]
        for ifindex, addresses in _by_interface(new).items():
            await self.network.manage_neighbours(ifindex, addresses)
        others = before - places.keys()
        for ifindex, addresses in _by_interface(others if lingering is not None else ()).items():
            await self.network.release_neighbours(ifindex, addresses)
        # An earlier run's are nobody's yet: they are to be managed by this one, or let go, once it is known who lingers.
        self._managed, self._unclaimed = wanted, others if lingering is None else frozenset()
        return bool(new)

    async def _owned(self, links: Mapping[str, Link]) -> frozenset[_Place]:
        """Those that lbctl has made, in this run or an earlier one."""
        owned = [(link.ifindex, await self.network.owned_neighbours(link.ifindex)) for link in links.values()]
        return frozenset((ifindex, address) for ifindex, addresses in owned for address in addresses)

    async def set_probe_paths(
        self, declaration: Declaration, links: Mapping[str, Link], *, anew: bool = False
    ) -> Mapping[str, LbctlError]:
        """Policy routes by which the probes reach the VIPs on each backend. ``anew`` as in `manage_neighbours`. Tells, by
        label, why the kernel refused some: such backends must not be probed, for a probe would go anywhere. The next call
        tries again."""
        vips = {pool: frozenset(found) for pool, found in vips_by_pool(declaration).items()}
        wanted = {
            backend.label: (
                self.mark(backend.label),
                vips[backend.pool],
                backend.address,
                links[backend.interface].ifindex,
            )
            for backend in declaration.backends()
            if backend.interface in links
        }
        known = None if anew or self._are_some_refused else self._ways
        self._ways = None
        if known is None:
            refused = await self.network.set_probe_paths(_paths(wanted.values()))
        else:
            refused = await self._change_probe_paths(known, wanted)
        self._ways = {label: way for label, way in wanted.items() if way[0] not in refused}
        self._are_some_refused = bool(refused)  # what the kernel has of those is not known
        self._give_back_marks(self._marks.keys() - {backend.label for backend in declaration.backends()})
        return {label: refused[way[0]] for label, way in wanted.items() if way[0] in refused}

    async def _change_probe_paths(
        self, known: Mapping[str, _Way], wanted: Mapping[str, _Way]
    ) -> Mapping[int, LbctlError]:
        """Mostly nothing changes, of thousands."""
        kept = {label for label, way in wanted.items() if known.get(label) == way}
        if len(kept) == len(known) == len(wanted):
            return {}
        return await self.network.change_probe_paths(
            before=_paths(way for label, way in known.items() if label not in kept),
            after=_paths(way for label, way in wanted.items() if label not in kept),
            kept=[wanted[label][0] for label in kept],
        )

    def touched(self, event: PathsTouched) -> None:
        """To be looked after, once no change is under way: what a change removes itself, nobody misses afterwards."""
        self._touched.add(event.mark)

    async def lacks_probe_paths(self, links: Mapping[str, Link]) -> bool:
        """Whether somebody else deleted some of the rules and routes that were set; or whether that is not known."""
        if self._ways is None:
            return True
        touched, self._touched = self._touched, set()
        if None not in touched and all(mark not in touched for mark, *_ in self._ways.values()):
            return False
        up = [link.ifindex for link in links.values() if link.is_up]
        ways, self._ways = self._ways, None
        has_all = await self.network.has_probe_paths(_paths(ways.values()), up=up)
        self._ways = ways
        return not has_all

    def routes(self, declaration: Declaration) -> Mapping[str, Route]:
        """How each backend is probed, by label: through every VIP that its pool answers for, that of its first TCP service
        first; from the director's own address of the backend's family."""
        own = {
            (interface.name, address.version): address.ip
            for interface in declaration.interfaces
            for address in (interface.address, interface.address6)
            if address
        }
        vips = vips_by_pool(declaration)
        return {
            backend.label: Route(
                vips=vips[backend.pool],
                mark=self.mark(backend.label),
                source=own.get((backend.interface, backend.address.version)),
            )
            for backend in declaration.backends()
        }

    async def require_ways(self, backend: Backend, route: Route) -> None:
        """`NetworkError` if a probe of the backend does not go to it, for each of its VIPs, but anywhere."""
        for vip in route.vips:
            await self.network.require_way(
                vip, via=backend.address, interface=backend.interface, mark=route.mark, source=route.source
            )

    def mark(self, label: str) -> int:
        """Of the path to a backend: one of its own, for as long as it is declared."""
        if label not in self._marks and not self._free_marks:
            raise NetworkError(
                f"no mark is left for probes of {label}", hint=f"there are {len(MARKS):,}, for so many backends"
            )
        if label not in self._marks:
            self._marks[label] = self._free_marks.popleft()
        return self._marks[label]

    def _give_back_marks(self, labels: Iterable[str]) -> None:
        """There are no paths to these any more. Their marks are the last to be had again: somebody may still send with one."""
        self._free_marks += [self._marks.pop(label) for label in sorted(labels)]

    def announce(self, vips: Iterable[Address], link: Link, *, times: int = ANNOUNCEMENTS) -> None:
        """Gratuitous ARP, or unsolicited neighbour advertisements, for these VIPs, in the background."""
        self._cease_as_another(link)
        named = tuple(vips)
        task = asyncio.create_task(self._announce(named, link, times))
        self._announcing[task] = named, link
        task.add_done_callback(lambda done: self._announcing.pop(done, None))

    def _cease_as_another(self, link: Link) -> None:
        """The repetitions of an interface's former MAC would take back what is announced with the present one."""
        for task, (_, former) in list(self._announcing.items()):
            if former.name == link.name and (former.ifindex, former.mac) != (link.ifindex, link.mac):
                task.cancel()
                del self._announcing[task]

    async def _announce(self, vips: tuple[Address, ...], link: Link, times: int) -> None:
        for left in range(times, 0, -1):
            is_sent = await self._announce_once(vips, link)
            if not is_sent or left == 1:
                return
            await asyncio.sleep(ANNOUNCEMENT_SPACING_S)

    async def _announce_once(self, vips: tuple[Address, ...], link: Link) -> bool:
        try:
            for vip in vips:
                await self.network.announce(link, vip)
        except LbctlError as error:
            _log.warning("%s", error)
            return False
        return True

    async def close(self) -> None:
        """Announce at once what was to be announced again (a switch may have forwarded nothing yet when it was announced
        first, and nobody else will do it); release sockets."""
        under_way = dict(self._announcing)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for vips, link in under_way.values():
            await self._announce_once(vips, link)
        await self.network.close()


def _places(
    declaration: Declaration, links: Mapping[str, Link], lingering: Mapping[Address, str]
) -> Mapping[Hashable, _Place]:
    """Of the backends, by label, and of those that linger, by address."""
    found: dict[Hashable, tuple[str, Address]] = {
        backend.label: (backend.interface, backend.address) for backend in declaration.backends()
    }
    found.update({address: (interface, address) for address, interface in lingering.items()})
    return {key: (links[name].ifindex, address) for key, (name, address) in found.items() if name in links}


def _by_interface(places: Iterable[_Place]) -> Mapping[int, list[Address]]:
    found: dict[int, list[Address]] = {}
    for ifindex, address in places:
        found.setdefault(ifindex, []).append(address)
    return found


def _paths(ways: Iterable[_Way]) -> frozenset[ProbePath]:
    return frozenset(ProbePath(mark=mark, vips=vips, via=via, ifindex=ifindex) for mark, vips, via, ifindex in ways)
