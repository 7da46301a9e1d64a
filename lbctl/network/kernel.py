"""The kernel's network side over netlink and packet sockets, in the network namespace the process is in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from ipaddress import IPv6Address

from pyroute2.netlink.exceptions import NetlinkError

from lbctl.core.model import Address
from lbctl.errors import LbctlError, NetworkError, NoSuchInterfaceError
from lbctl.network import neighbours, offload, packets, tcp
from lbctl.network.events import EventStream
from lbctl.network.groups import groups_of, set_groups
from lbctl.network.links import MAXIMUM_TAGS, read_link, read_links
from lbctl.network.netlink import Netlink
from lbctl.network.paths import apply, change, read_tables, tables_of
from lbctl.network.port import Link, LinkChanged, Neighbour, NeighbourChanged, NetworkEvent, ProbePath
from lbctl.network.refusals import explained
from lbctl.network.tcp import Segment
from lbctl.network.watch import NeighbourWatch
from lbctl.network.ways import astray, way_to

_log = logging.getLogger(__name__)

SEGMENTS_AT_ONCE = 200
SEGMENT_PAUSE_S = 0.01


class KernelNetwork:
    """`lbctl.network.port.Network` on Linux. Lives in one event loop; changes no setting of the machine.

    Managed neighbours are confirmed every ``confirm_interval_s``: a MAC that changes silently is known after at most
    two intervals and a round trip.
    """

    def __init__(self, *, confirm_interval_s: float = 0.25, receive_buffer_bytes: int = 4 << 20) -> None:
        self._confirm_interval_s = confirm_interval_s
        self._receive_buffer_bytes = receive_buffer_bytes
        self._netlink = Netlink()
        self._links: dict[int, Link] = {}
        self._managed: set[tuple[int, Address]] = set()
        self._watches: dict[int, NeighbourWatch] = {}
        self._paths_lock = asyncio.Lock()
        self._stream: EventStream | None = None

    @property
    def overruns(self) -> int:
        """How often the event stream lost messages and read the tables anew."""
        return self._stream.overruns if self._stream else 0

    async def link(self, name: str) -> Link:
        """The interface of that name, as it is now."""
        with explained("read the interfaces"):
            links = (await read_links(self._netlink)).values()
        for link in links:
            if link.name == name:
                self._links.setdefault(link.ifindex, link)
                return _balanceable(link)
        existing = ", ".join(sorted(link.name for link in links))
        raise NoSuchInterfaceError(f"interface {name} does not exist", hint=f"the interfaces here are: {existing}")

    def events(self) -> AsyncIterator[NetworkEvent]:
        """Subscribed from this call on. Entries of all neighbours are told, managed or not.

        A managed entry that the kernel dropped (carrier lost, link down, ``ip neigh flush``) is put back on the way.
        """
        self._stream = EventStream(self._netlink, links=self._links, receive_buffer_bytes=self._receive_buffer_bytes)
        return self._restoring(self._stream)

    async def neighbours(self, ifindex: int) -> tuple[Neighbour, ...]:
        """The neighbour entries of an interface."""
        with explained("read the neighbours"):
            entries = await neighbours.read_neighbours(self._netlink)
        return tuple(entry for entry in entries if entry.ifindex == ifindex)

    async def owned_neighbours(self, ifindex: int) -> frozenset[Address]:
        """Those with lbctl's mark."""
        with explained("read the neighbours"):
            return await neighbours.read_owned(self._netlink, ifindex)

    async def manage_neighbours(self, ifindex: int, addresses: Sequence[Address]) -> None:
        """Install the entries as managed and watch them. Those that an operator made permanent are left as they are."""
        link = await self._known_link(ifindex)
        with explained(f"manage neighbours on {link.name}"):
            answers = await neighbours.install(self._netlink, ifindex, addresses)
        for address, refusal in answers.items():
            if refusal is None:
                self._managed.add((ifindex, address))
                self._watch(ifindex).add(address)
        _raise_first(answers, "manage neighbour {} on " + link.name)

    async def release_neighbours(self, ifindex: int, addresses: Sequence[Address]) -> None:
        """Delete those of the entries that are managed ones, and watch them no longer."""
        for address in addresses:
            self._managed.discard((ifindex, address))
            if ifindex in self._watches:
                self._watches[ifindex].discard(address)
        with explained("release neighbours"):
            answers = await neighbours.remove(self._netlink, ifindex, addresses)
        _raise_first(answers, "release neighbour {}")

    async def set_probe_paths(self, paths: frozenset[ProbePath]) -> Mapping[int, LbctlError]:
        """Make lbctl's rules and routes these. To be called again when a link came up: the kernel drops its routes."""
        wanted = tables_of(paths)
        async with self._paths_lock:
            with explained("set the policy routes of the probes"):
                current = await read_tables(self._netlink)
                return await apply(self._netlink, current=current, wanted=wanted)

    async def has_probe_paths(self, paths: frozenset[ProbePath], *, up: Collection[int]) -> bool:
        """Whether their rules and routes are there."""
        async with self._paths_lock:
            with explained("read the policy routes of the probes"):
                return (await read_tables(self._netlink)).has_all(tables_of(paths), up=up)

    async def require_way(
        self, vip: Address, *, via: Address, interface: str, mark: int, source: Address | None
    ) -> None:
        """While the interface is down there is none, and that is the truth."""
        with explained(f"ask for the way to {vip}"):
            found = astray(await way_to(self._netlink, vip, mark=mark, source=source), vip, via=via, mark=mark)
        if found and any(link.name == interface and link.is_up for link in self._links.values()):
            raise found

    async def change_probe_paths(
        self, *, before: frozenset[ProbePath], after: frozenset[ProbePath], kept: Collection[int]
    ) -> Mapping[int, LbctlError]:
        """Put other paths in the place of some that were set; nothing is read."""
        async with self._paths_lock:
            with explained("set the policy routes of the probes"):
                return await change(self._netlink, before=tables_of(before), after=tables_of(after), kept=kept)

    async def announce(self, link: Link, vip: Address) -> None:
        """Send one gratuitous ARP, or unsolicited advertisement, for the VIP with the link's MAC."""
        packets.announce(link, vip)

    async def find_duplicate(
        self, link: Link, vip: Address, *, probes: int = 3, spacing_s: float = 0.2
    ) -> bytes | None:
        """ARP probe, or duplicate address detection; takes ``probes * spacing_s`` seconds when nobody answers."""
        return await packets.find_duplicate(link, vip, probes=probes, spacing_s=spacing_s)

    async def listen_for(self, ifindex: int, vips: frozenset[IPv6Address]) -> None:
        """Have the kernel join the VIPs' groups and leave lbctl's others, also those of an earlier run."""
        link = await self._known_link(ifindex)
        with explained(f"listen for solicitations on {link.name}"):
            await set_groups(self._netlink, ifindex, groups_of(vips))

    async def untag(self, ifindex: int) -> str:
        """Switch the RX VLAN off-load off, by the interface's name of now."""
        return offload.untag((await self._read_link(ifindex)).name)

    async def send_segments(self, segments: Sequence[Segment]) -> int:
        """In small portions, so that thousands flood nobody and the loop turns meanwhile."""
        sent = 0
        for start in range(0, len(segments), SEGMENTS_AT_ONCE):
            sent += tcp.send(segments[start : start + SEGMENTS_AT_ONCE])
            await asyncio.sleep(SEGMENT_PAUSE_S)
        return sent

    async def close(self) -> None:
        """Stop watching and release sockets. Leaves neighbours and routes in place."""
        for watch in self._watches.values():
            await watch.close()
        self._watches.clear()
        if self._stream:
            self._stream.close()
        self._netlink.close()

    async def _known_link(self, ifindex: int) -> Link:
        if ifindex not in self._links:
            self._links[ifindex] = await self._read_link(ifindex)
        return self._links[ifindex]

    async def _read_link(self, ifindex: int) -> Link:
        with explained("read the interfaces"):
            link = await read_link(self._netlink, ifindex)
        if link is None:
            raise NetworkError(f"no interface has index {ifindex}", hint="it was removed meanwhile; see: ip link")
        return link

    def _watch(self, ifindex: int) -> NeighbourWatch:
        if ifindex not in self._watches:
            link = self._links[ifindex]
            self._watches[ifindex] = NeighbourWatch(
                # The last link known, should it vanish.
                link=lambda: self._links.get(ifindex, link),
                interval_s=self._confirm_interval_s,
                on_silence=partial(self._verify, ifindex),
                on_news=partial(self._correct, ifindex),
            )
        return self._watches[ifindex]

    async def _verify(self, ifindex: int, address: Address) -> None:
        with explained(f"verify neighbour {address}"):
            await neighbours.verify(self._netlink, ifindex, address)

    async def _correct(self, ifindex: int, address: Address, mac: bytes) -> None:
        with explained(f"correct the MAC of neighbour {address}"):
            await neighbours.correct(self._netlink, ifindex, address, mac=mac)

    async def _restoring(self, stream: EventStream) -> AsyncIterator[NetworkEvent]:
        async with aclosing(stream.events()) as events:
            async for event in events:
                if isinstance(event, NeighbourChanged) and event.neighbour.state == "deleted":
                    await self._restore(event.neighbour.ifindex, event.neighbour.address)
                elif isinstance(event, LinkChanged) and event.link is None:
                    await self._forget(event.ifindex)
                elif isinstance(event, LinkChanged):
                    self._doubt(event.ifindex)
                yield event

    async def _forget(self, ifindex: int) -> None:
        """The interface is gone, and its watch has nothing to listen to."""
        self._managed = {(index, address) for index, address in self._managed if index != ifindex}
        self._links.pop(ifindex, None)
        watch = self._watches.pop(ifindex, None)
        if watch is not None:
            await watch.close()

    async def _restore(self, ifindex: int, address: Address) -> None:
        """Put a managed entry back that the kernel dropped; it takes one on a link that is down, too."""
        if (ifindex, address) not in self._managed:
            return
        try:
            with explained(f"put back neighbour {address}"):
                answers = await neighbours.install(self._netlink, ifindex, [address])
            _raise_first(answers, "put back neighbour {}")
        except LbctlError as error:  # the interface is gone
            _log.warning("%s", error)
        self._doubt(ifindex, address)

    def _doubt(self, ifindex: int, address: Address | None = None) -> None:
        watch = self._watches.get(ifindex)
        if watch is not None:
            watch.doubt(address)


def _raise_first(answers: Mapping[Address, NetlinkError | None], action: str) -> None:
    """The first refusal, if there is one: of that address, which ``action`` has a place for."""
    for address, refusal in answers.items():
        if refusal is not None:
            with explained(action.format(address)):
                raise refusal


def _balanceable(link: Link) -> Link:
    if link.vlan >> 12 * MAXIMUM_TAGS:
        raise NetworkError(
            f"frames of {link.name} carry more than {MAXIMUM_TAGS} VLAN tags",
            hint="name an interface with fewer: lbctl reads two tags at most",
        )
    return link
