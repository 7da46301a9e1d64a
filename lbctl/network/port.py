"""What the controller needs of the kernel's network side. `lbctl.network.kernel` is the real one, `fake` its twin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface
from typing import Protocol

from lbctl.core.model import Address
from lbctl.errors import LbctlError
from lbctl.network.tcp import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network interface as the kernel has it. Of a VLAN sub-interface ``device`` is the index of the interface at the bottom,
    whose frames carry the tags, and ``vlan`` says which: the id of one tag, or of two the outer id times 4,096 plus the inner
    one."""

    ifindex: int
    name: str
    mac: bytes
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    is_up: bool
    mtu: int
    device: int = 0
    """0: it is its own."""
    vlan: int = 0

    @property
    def attach_index(self) -> int:
        """The interface that a program has to be on to see its frames."""
        return self.device or self.ifindex


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A neighbour entry as the kernel tells it. ``mac`` is the link-layer address (6 bytes), ``None`` while resolving
    and once failed: who needs the last one keeps it. ``usable`` is true for REACHABLE, STALE, DELAY, PROBE and
    PERMANENT; ``state`` is the kernel's name for it, in lower case."""

    ifindex: int
    address: Address
    mac: bytes | None
    usable: bool
    state: str


def is_other_station(mac: bytes, *, own: bytes) -> bool:
    """Whether frames may be sent there: not broadcast, multicast, zero, or our own."""
    return not mac[0] & 1 and any(mac) and mac != own


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourChanged:
    """A neighbour entry was created, changed or deleted (then ``mac`` is ``None`` and ``state`` is ``"deleted"``)."""

    neighbour: Neighbour


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChanged:
    """An interface went up or down, changed its MAC or its addresses, or vanished (``link`` is ``None``)."""

    ifindex: int
    link: Link | None


@dataclass(frozen=True, slots=True)
class PathsTouched:
    """A rule or a route of lbctl's was deleted, by lbctl itself or by somebody else (``ip rule flush``, a network manager that
    starts): of the path with this mark, or (``None``) perhaps of all."""

    mark: int | None = None


NetworkEvent = NeighbourChanged | LinkChanged | PathsTouched


MARK_BASE = 0x6C62_0000
MARKS = range(MARK_BASE + 1, MARK_BASE + 0x1_0000)
"""Those of lbctl's own packets (SO_MARK), one to a backend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePath:
    """The policy route by which the director's own probe reaches a VIP *on one backend*: packets that carry ``mark``, one
    of `MARKS`, and go to one of ``vips`` leave by ``ifindex`` via the backend's real address."""

    mark: int
    vips: frozenset[Address]
    via: Address
    ifindex: int


class Network(Protocol):
    """The network side of the kernel, in the namespace the process is in. Methods raise `NetworkError`."""

    async def link(self, name: str) -> Link:
        """The interface of that name; `NetworkError` (naming it, and the ones that exist) if there is none."""
        ...

    def events(self) -> AsyncIterator[NetworkEvent]:
        """Changes from now on, the current neighbours first (of any address, managed or not). Survives a netlink
        overrun (ENOBUFS) by dumping anew."""
        ...

    async def neighbours(self, ifindex: int) -> tuple[Neighbour, ...]:
        """The neighbour entries of an interface, of both families."""
        ...

    async def manage_neighbours(self, ifindex: int, addresses: Sequence[Address]) -> None:
        """Install ``managed extern_learn``: the kernel resolves them at once and keeps them fresh, a silent change of MAC
        is found within a second, and an entry returns after the link was down. An operator's permanent entry is left
        alone. Idempotent. The error names the first that was refused; it keeps back none of the others."""
        ...

    async def release_neighbours(self, ifindex: int, addresses: Sequence[Address]) -> None:
        """Delete managed entries. Idempotent."""
        ...

    async def owned_neighbours(self, ifindex: int) -> frozenset[Address]:
        """The addresses that `manage_neighbours` was called for on this interface, in this run or an earlier one."""
        ...

    async def set_probe_paths(self, paths: frozenset[ProbePath]) -> Mapping[int, LbctlError]:
        """Make the policy rules and routes that lbctl owns exactly these: add what is missing, remove what is left over
        (also from an earlier run), touch nothing else. Idempotent. To be repeated when a link came up: the kernel drops
        the routes of one that goes down (its paths are unreachable meanwhile). Tells the marks of paths that were refused,
        and why; they keep back none of the others."""
        ...

    async def has_probe_paths(self, paths: frozenset[ProbePath], *, up: Collection[int]) -> bool:
        """Whether the rules and routes of these are there, but for what a link that is not ``up`` (by index) takes along."""
        ...

    async def require_way(
        self, vip: Address, *, via: Address, interface: str, mark: int, source: Address | None
    ) -> None:
        """`NetworkError` if a probe with that mark, from that source, does not go to the VIP via a backend that is on that
        interface: somebody's address, rule or route leads it elsewhere, or lbctl's are gone."""
        ...

    async def change_probe_paths(
        self, *, before: frozenset[ProbePath], after: frozenset[ProbePath], kept: Collection[int]
    ) -> Mapping[int, LbctlError]:
        """Put other paths in the place of some that were set, which is cheap where there are thousands. ``kept`` are the marks
        of the rest. Tells what was refused as `set_probe_paths` does."""
        ...

    async def announce(self, link: Link, vip: Address) -> None:
        """Send one gratuitous ARP, or unsolicited neighbour advertisement (RFC 4861 section 7.2.6), for the VIP with the
        link's MAC; with the tags of its VLAN if it has one, by way of the kernel's sub-interface."""
        ...

    async def find_duplicate(self, link: Link, vip: Address) -> bytes | None:
        """RFC 5227 ARP probe, or duplicate address detection (RFC 4862 section 5.4): the MAC of a station that already
        answers for the VIP, or ``None`` after the wait."""
        ...

    async def listen_for(self, ifindex: int, vips: frozenset[IPv6Address]) -> None:
        """Be a member of the solicited-node groups (RFC 4291 section 2.7.1) of exactly these VIPs on an interface, among those
        that lbctl joined: else NICs and snooping switches keep solicitations away. Idempotent."""
        ...

    async def untag(self, ifindex: int) -> str:
        """See to it that VLAN tags stay in the frames of an interface: NICs that take them out on receiving (RX VLAN
        off-load) hide them from XDP, and are told not to. Returns "" when it is so, else why it cannot be had. It is so
        for every interface that has no such off-load."""
        ...

    async def send_segments(self, segments: Sequence[Segment]) -> int:
        """Send these to clients and servers; returns how many left."""
        ...

    async def close(self) -> None:
        """Release sockets. Leaves neighbours and routes in place."""
        ...
