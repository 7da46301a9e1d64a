"""`Network` in memory: a test sets what the kernel would hold, pushes events, and reads what was done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from lbctl.errors import NetworkError, NoSuchInterfaceError
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

    ``macs`` says who would answer ARP: managing an address resolves it from there, or fails it. ``duplicates`` says
    which station claims a VIP.
    """

    def __init__(self, links: Iterable[Link] = (), *, macs: dict[IPv4Address, bytes] | None = None) -> None:
        self.links = {link.ifindex: link for link in links}
        self.macs = dict(macs or {})
        self.duplicates: dict[IPv4Address, bytes] = {}
        self.entries: dict[tuple[int, IPv4Address], Neighbour] = {}
        self.managed: set[tuple[int, IPv4Address]] = set()
        self.paths: frozenset[ProbePath] = frozenset()
        self.announcements: list[tuple[str, IPv4Address]] = []
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

    def move_neighbour(self, ifindex: int, address: IPv4Address, mac: bytes | None) -> None:
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

    async def owned_neighbours(self, ifindex: int) -> frozenset[IPv4Address]:
        """Those that were managed."""
        return frozenset(address for index, address in self.managed if index == ifindex)

    async def manage_neighbour(self, ifindex: int, address: IPv4Address) -> None:
        """Resolve from ``macs``."""
        if ifindex not in self.links:
            raise NetworkError(f"no interface has index {ifindex}", hint="it was removed meanwhile; see: ip link")
        entry = self.entries.get((ifindex, address))
        if entry is not None and entry.state == "permanent":
            return
        self.managed.add((ifindex, address))
        resolved = self._resolve(ifindex, address)
        if resolved != entry:
            self.push(NeighbourChanged(neighbour=resolved))

    async def release_neighbour(self, ifindex: int, address: IPv4Address) -> None:
        """Delete a managed entry."""
        if (ifindex, address) not in self.managed:
            return
        self.managed.discard((ifindex, address))
        gone = replace(self.entries[ifindex, address], mac=None, usable=False, state="deleted")
        self.push(NeighbourChanged(neighbour=gone))

    async def set_probe_paths(self, paths: frozenset[ProbePath]) -> None:
        """Replace ``paths``."""
        self.paths = paths

    async def announce(self, link: Link, vip: IPv4Address) -> None:
        """Append to ``announcements``."""
        self.announcements.append((link.name, vip))

    async def find_duplicate(self, link: Link, vip: IPv4Address) -> bytes | None:
        """Look up ``duplicates``."""
        return self.duplicates.get(vip)

    async def send_segments(self, segments: Sequence[Segment]) -> int:
        """Append to ``segments``."""
        self.segments += segments
        return len(segments)

    async def close(self) -> None:
        """Note that it was called."""
        self.is_closed = True

    def _resolve(self, ifindex: int, address: IPv4Address) -> Neighbour:
        mac = self.macs.get(address)
        state = "reachable" if mac else "failed"
        return Neighbour(ifindex=ifindex, address=address, mac=mac, usable=mac is not None, state=state)

    def _store(self, entry: Neighbour) -> None:
        if entry.state == "deleted":
            self.entries.pop((entry.ifindex, entry.address), None)
        else:
            self.entries[entry.ifindex, entry.address] = entry
