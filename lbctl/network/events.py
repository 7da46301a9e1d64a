"""The stream of changes of neighbours and links, and of lbctl's rules and routes, from a netlink socket of its own.

The socket's receive buffer is the only queue, so that a flood costs no memory: when it overruns (ENOBUFS), the stream
subscribes anew, dumps, and reports the differences from what it reported before. What is pending is reduced to the last
state of each entry. (pyroute2's own subscription queues without bound and does not survive an overrun.)
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import socket
import struct
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from lbctl.core.model import Address
from lbctl.network.links import is_up, read_link, read_links
from lbctl.network.neighbours import decode, read_neighbours
from lbctl.network.netlink import Netlink
from lbctl.network.policy import decode_route, decode_rule
from lbctl.network.port import Link, LinkChanged, Neighbour, NeighbourChanged, NetworkEvent, PathsTouched
from lbctl.network.refusals import explained
from lbctl.network.rtnetlink import PROTOCOL, messages
from lbctl.network.surprises import left_out

_log = logging.getLogger(__name__)

_RTMGRP_LINK = 0x1
_RTMGRP_NEIGH = 0x4
_RTMGRP_IPV4_IFADDR = 0x10
_RTMGRP_IPV6_IFADDR = 0x100
_RTMGRP_PATHS = 0x40 | 0x80 | 0x400 | 1 << 18
"""IPv4 routes and rules, IPv6 routes and rules."""
_GROUPS = _RTMGRP_LINK | _RTMGRP_NEIGH | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR | _RTMGRP_PATHS
_SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 33, 26

_RTM_NEWLINK, _RTM_DELADDR = 16, 21
_LINK_MESSAGES = frozenset({_RTM_NEWLINK, 17, 20, _RTM_DELADDR})
"""The others are RTM_DELLINK and RTM_NEWADDR."""
_RTM_NEWNEIGH = 28
_RTM_DELNEIGH = 29
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_RTM_NEWRULE, _RTM_DELRULE = 32, 33
_PATH_DELETIONS = {_RTM_DELROUTE: decode_route, _RTM_DELRULE: decode_rule}

_INTERFACE = struct.Struct("=B3xi")
"""Family and index, at the same place in ifinfomsg and ifaddrmsg."""
_FLAGS = struct.Struct("=8xI")
"""Of ifinfomsg."""
_BATCH = 256
_READ_SIZE = 65_536

_Key = tuple[int, Address]


class Touched(NamedTuple):
    """A link that is to be read anew, for something of it changed. If it ``lost_routes``, it was down or had no IPv4 address at
    that moment: then the kernel deleted its routes, however it is now."""

    ifindex: int
    lost_routes: bool


class EventStream:
    """One subscription. Created subscribed; `events` then yields without end, until closed."""

    def __init__(self, netlink: Netlink, *, links: dict[int, Link], receive_buffer_bytes: int) -> None:
        self._netlink = netlink
        self._links = links
        """The links as last reported; shared with the owner, who adds those it has shown otherwise."""
        self._neighbours: dict[_Key, Neighbour] = {}
        self._receive_buffer_bytes = receive_buffer_bytes
        self._socket = self._subscribe()
        self.overruns = 0

    async def events(self) -> AsyncGenerator[NetworkEvent, None]:
        """The current neighbours, then every change."""
        try:
            for ifindex, link in (await read_links(self._netlink)).items():
                self._links.setdefault(ifindex, link)
            pending = await self._differences()
            while True:
                for event in pending:
                    yield event
                pending = await self._next_batch()
        finally:
            self.close()

    def close(self) -> None:
        """Unsubscribe."""
        self._socket.close()

    def _subscribe(self) -> socket.socket:
        with explained("subscribe to network events"):
            opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, self._receive_buffer_bytes)
            _attach_filter(opened)
            opened.bind((0, _GROUPS))
        return opened

    async def _next_batch(self) -> list[NetworkEvent]:
        try:
            messages = await self._receive()
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return await self._recover()
        return await self._digest(messages)

    async def _receive(self) -> list[bytes]:
        """At least one message, and those that wait behind it, up to a batch."""
        # Reading never suspends while messages wait; without this a flood would starve the rest of the daemon.
        await asyncio.sleep(0)
        messages = [await asyncio.get_running_loop().sock_recv(self._socket, _READ_SIZE)]
        while len(messages) < _BATCH:
            try:
                messages.append(self._socket.recv(_READ_SIZE))
            except BlockingIOError:
                break
        return messages

    async def _recover(self) -> list[NetworkEvent]:
        """After an overrun: what still waits in the socket is stale, so it goes with the socket."""
        self.overruns += 1
        _log.warning("network events overran the socket buffer; reading the kernel's tables anew")
        self._socket.close()
        self._socket = self._subscribe()
        return [*await self._differences(losers=frozenset(self._links)), PathsTouched()]

    async def _differences(self, *, losers: frozenset[int] = frozenset()) -> list[NetworkEvent]:
        """What a dump shows against what was reported. ``losers`` are the links that may have lost their routes meanwhile."""
        with explained("read neighbours and links"):
            links = await read_links(self._netlink)
            neighbours = {(entry.ifindex, entry.address): entry for entry in await read_neighbours(self._netlink)}
        gone = [_deleted(entry) for key, entry in self._neighbours.items() if key not in neighbours]
        told = list(self._tell_neighbours([*gone, *neighbours.values()]))
        changed = self._tell_links({index: links.get(index) for index in {*self._links, *links}}, losers=losers)
        return [*told, *changed]

    async def _digest(self, messages: list[bytes]) -> list[NetworkEvent]:
        neighbours: dict[_Key, Neighbour] = {}
        touched: list[Touched] = []
        paths: set[PathsTouched] = set()
        for message in messages:
            with left_out("a change"):
                found = read_change(message)
                if isinstance(found, Neighbour):
                    neighbours[found.ifindex, found.address] = found
                elif isinstance(found, PathsTouched):
                    paths.add(found)
                elif found is not None:
                    touched.append(found)
        with explained("read links"):
            links = {ifindex: await read_link(self._netlink, ifindex) for ifindex in {link.ifindex for link in touched}}
        losers = frozenset(link.ifindex for link in touched if link.lost_routes)
        return [*self._tell_neighbours(neighbours.values()), *self._tell_links(links, losers=losers), *paths]

    def _tell_neighbours(self, entries: Iterable[Neighbour]) -> Iterator[NeighbourChanged]:
        for entry in entries:
            key = (entry.ifindex, entry.address)
            before = self._neighbours.pop(key, None)
            if entry.state != "deleted":
                self._neighbours[key] = entry
            if entry != before:
                yield NeighbourChanged(neighbour=entry)

    def _tell_links(
        self, links: dict[int, Link | None], *, losers: frozenset[int] = frozenset()
    ) -> Iterator[LinkChanged]:
        for ifindex, link in links.items():
            before = self._links.pop(ifindex, None)
            if link is not None:
                self._links[ifindex] = link
            if link != before:
                yield LinkChanged(ifindex=ifindex, link=link)
            elif link is not None and link.is_up and ifindex in losers:  # it went and came back before anybody looked
                yield LinkChanged(ifindex=ifindex, link=replace(link, is_up=False))
                yield LinkChanged(ifindex=ifindex, link=link)


def _attach_filter(opened: socket.socket) -> None:
    """That routes and rules were added is nobody's concern, and there are 30,000 for 10,000 backends; nor are the routes that a
    routing daemon takes back, which may be a million: the kernel keeps these to itself. Classic BPF: a step is what to do, by
    how many steps to go on if it holds and if not, and with what."""
    load_half, load_byte, is_equal, end = 0x28, 0x30, 0x15, 0x06
    kind_at, protocol_at = 4, 21  # of nlmsghdr; of rtmsg behind it
    steps = (
        (load_half, 0, 0, kind_at),
        (is_equal, 4, 0, socket.htons(_RTM_NEWROUTE)),
        (is_equal, 3, 0, socket.htons(_RTM_NEWRULE)),
        (is_equal, 0, 3, socket.htons(_RTM_DELROUTE)),
        (load_byte, 0, 0, protocol_at),
        (is_equal, 1, 0, PROTOCOL),
        (end, 0, 0, 0),  # none of it is told
        (end, 0, 0, 0xFFFF_FFFF),  # all of it is
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HP", len(steps), ctypes.addressof(code))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def read_change(message: bytes) -> Neighbour | Touched | PathsTouched | None:
    """What a message of the kernel's groups is about: a neighbour as it is now, a link, a path of ours that is gone, or nothing
    of ours. Raises `ValueError` or `struct.error` for a message that is none."""
    told, *_ = messages(message)
    if told.kind in _LINK_MESSAGES:
        family, ifindex = _INTERFACE.unpack_from(told.body)
        is_down = told.kind == _RTM_NEWLINK and not is_up(*_FLAGS.unpack_from(told.body))
        return Touched(ifindex, is_down or (told.kind == _RTM_DELADDR and family == socket.AF_INET))
    if told.kind in _PATH_DELETIONS:
        found = _PATH_DELETIONS[told.kind](told.body)
        return PathsTouched(found.table or None) if found else None
    entry = decode(told.body) if told.kind in (_RTM_NEWNEIGH, _RTM_DELNEIGH) else None
    if entry is None:
        return None
    return _deleted(entry.neighbour) if told.kind == _RTM_DELNEIGH else entry.neighbour


def _deleted(entry: Neighbour) -> Neighbour:
    return replace(entry, mac=None, usable=False, state="deleted")
