"""`Network` in memory: a test sets what the kernel would hold, pushes events, and reads what was done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv6Address

from lbctl.core.model import Address
from lbctl.errors import LbctlError, NetworkError, NoSuchInterfaceError
from lbctl.network.port import (
    Link,
    LinkChanged,
    Neighbour,
    NeighbourChanged,
    NetworkEvent,
    ProbePath,
)
from lbctl.network.tcp import Segment


class FakeNetwork:
    """The dict-backed twin of `lbctl.network.kernel.KernelNetwork`.

    ``macs`` says who would answer for an address: managing one resolves it from there, or fails it. ``duplicates`` says which
    station claims a VIP, ``taggers`` why an interface keeps its VLAN tags to itself, ``no_ways`` to whom no probe path can
    lead, and ``own`` which addresses the director has itself.
    """

    def __init__(self, links: Iterable[Link] = (), *, macs: dict[Address, bytes] | None = None) -> None:
        self.links = {link.ifindex: link for link in links}
        self.macs = dict(macs or {})
        self.duplicates: dict[Address, bytes] = {}
        self.entries: dict[tuple[int, Address], Neighbour] = {}
        self.managed: set[tuple[int, Address]] = set()
        self.paths: frozenset[ProbePath] = frozenset()
        self.no_ways: set[Address] = set()
        self.own: set[Address] = set()
        self.announcements: list[tuple[str, Address]] = []
        self.listened_for: dict[int, frozenset[IPv6Address]] = {}
        self.taggers: dict[int, str] = {}
        self.untagged: set[int] = set()
        self.segments: list[Segment] = []
        self.is_closed = False
        self._queue: asyncio.Queue[NetworkEvent] = asyncio.Queue()

    def push(self, event: NetworkEvent) -> None:
        """Make an event happen: the state changes, and `events` tells of it."""
        match event:
            case NeighbourChanged(neighbour=entry):
                self._store(entry)
            case LinkChanged(ifindex=ifindex, link=None):
                self.links.pop(ifindex, None)
            case LinkChanged(ifindex=ifindex, link=Link() as link):
                self.links[ifindex] = link
        self._queue.put_nowait(event)

    def move_neighbour(self, ifindex: int, address: Address, mac: bytes | None) -> None:
        """The station at the address now has this MAC (``None``: it is gone, and the kernel has noticed)."""
        self.macs = {**self.macs, address: mac} if mac else {key: m for key, m in self.macs.items() if key != address}
        self.push(NeighbourChanged(neighbour=self._resolve(ifindex, address)))

    async def link(self, name: str) -> Link:
        """The link of that name."""
        for link in self.links.values():
            if link.name == name:
                return link
        existing = ", ".join(sorted(link.name for link in self.links.values()))
        raise NoSuchInterfaceError(f"interface {name} does not exist", hint=f"the interfaces here are: {existing}")

    async def events(self) -> AsyncIterator[NetworkEvent]:
        """The entries as they are, then what is pushed."""
        while not self._queue.empty():  # the entries already show it
            self._queue.get_nowait()
        for entry in tuple(self.entries.values()):
            yield NeighbourChanged(neighbour=entry)
        while True:
            yield await self._queue.get()

    async def neighbours(self, ifindex: int) -> tuple[Neighbour, ...]:
        """The entries of an interface."""
        return tuple(entry for entry in self.entries.values() if entry.ifindex == ifindex)

    async def owned_neighbours(self, ifindex: int) -> frozenset[Address]:
        """Those that were managed."""
        return frozenset(address for index, address in self.managed if index == ifindex)

    async def manage_neighbours(self, ifindex: int, addresses: Sequence[Address]) -> None:
        """Resolve from ``macs``."""
        self._require(ifindex)
        for address in addresses:
            self._manage(ifindex, address)

    def _manage(self, ifindex: int, address: Address) -> None:
        entry = self.entries.get((ifindex, address))
        if entry is not None and entry.state == "permanent":
            return
        self.managed.add((ifindex, address))
        resolved = self._resolve(ifindex, address)
        if resolved != entry:
            self.push(NeighbourChanged(neighbour=resolved))

    async def release_neighbours(self, ifindex: int, addresses: Sequence[Address]) -> None:
        """Delete managed entries."""
        for address in addresses:
            if (ifindex, address) in self.managed:
                self.managed.discard((ifindex, address))
                gone = replace(self.entries[ifindex, address], mac=None, usable=False, state="deleted")
                self.push(NeighbourChanged(neighbour=gone))

    async def set_probe_paths(self, paths: frozenset[ProbePath]) -> Mapping[int, LbctlError]:
        """Replace ``paths``, but for those by way of addresses in ``no_ways``."""
        self.paths = frozenset(path for path in paths if path.via not in self.no_ways)
        return {path.mark: NetworkError(f"no way to {path.via}") for path in paths - self.paths}

    async def has_probe_paths(self, paths: frozenset[ProbePath], *, up: Collection[int]) -> bool:
        """Whether ``paths`` has these."""
        return paths <= self.paths

    async def require_way(
        self, vip: Address, *, via: Address, interface: str, mark: int, source: Address | None
    ) -> None:
        """Look up ``own``."""
        if vip in self.own:
            raise NetworkError(f"{vip} is the director's own", hint="take it off there")

    async def change_probe_paths(
        self, *, before: frozenset[ProbePath], after: frozenset[ProbePath], kept: Collection[int]
    ) -> Mapping[int, LbctlError]:
        """Replace some of ``paths``."""
        assert {path.mark for path in self.paths - before} == set(kept)
        return await self.set_probe_paths((self.paths - before) | after)

    async def announce(self, link: Link, vip: Address) -> None:
        """Append to ``announcements``."""
        self.announcements.append((link.name, vip))

    async def find_duplicate(self, link: Link, vip: Address) -> bytes | None:
        """Look up ``duplicates``."""
        return self.duplicates.get(vip)

    async def listen_for(self, ifindex: int, vips: frozenset[IPv6Address]) -> None:
        """Replace ``listened_for`` of the interface."""
        self._require(ifindex)
        self.listened_for[ifindex] = vips

    async def untag(self, ifindex: int) -> str:
        """Look up ``taggers``; one that is in none is ``untagged`` from now on."""
        self._require(ifindex)
        reason = self.taggers.get(ifindex, "")
        if not reason:
            self.untagged.add(ifindex)
        return reason

    async def send_segments(self, segments: Sequence[Segment]) -> int:
        """Append to ``segments``."""
        self.segments += segments
        return len(segments)

    async def close(self) -> None:
        """Note that it was called."""
        self.is_closed = True

    def _require(self, ifindex: int) -> None:
        if ifindex not in self.links:
            raise NetworkError(f"no interface has index {ifindex}", hint="it was removed meanwhile; see: ip link")

    def _resolve(self, ifindex: int, address: Address) -> Neighbour:
        mac = self.macs.get(address)
        state = "reachable" if mac else "failed"
        return Neighbour(ifindex=ifindex, address=address, mac=mac, usable=mac is not None, state=state)

    def _store(self, entry: Neighbour) -> None:
        if entry.state == "deleted":
            self.entries.pop((entry.ifindex, entry.address), None)
        else:
            self.entries[entry.ifindex, entry.address] = entry
