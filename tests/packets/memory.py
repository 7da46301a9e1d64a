"""What the program remembers, as the oracle keeps it: flows, short memories, places at backends. Without time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from lbctl.core.model import Protocol
from lbctl.core.tables import NOBODY, BackendRow, BackendState, id_of, reference
from lbctl.dataplane.layout import FlowState
from tests.packets.hashes import hash_flow
from tests.packets.wire import ACK, FIN, RST, SYN, Ipv4

LARGEST_WINDOW = 1 << 24
"""More than anybody has under way."""
NUMBERS = 1 << 32
"""Sequence numbers there are."""


@dataclass(frozen=True, slots=True)
class FlowKey:
    """Whose flow it is."""

    protocol: Protocol
    client: IPv4Address
    vip: IPv4Address
    client_port: int
    vip_port: int

    @property
    def hash(self) -> int:
        """With the seed of a data plane that nobody seeded."""
        return hash_flow(self.client, self.vip, self.client_port, self.vip_port)


@dataclass(frozen=True, slots=True)
class Segment:
    """What a TCP segment says."""

    flags: int
    seq: int
    acked: int
    next: int

    @classmethod
    def of(cls, ip: Ipv4) -> Segment:
        """``next`` is the number behind it (RFC 9293 section 3.4): SYN and FIN count one each."""
        header, flags = ip.transport, ip.transport[13]
        length = ip.total_bytes - ip.header_bytes - (header[12] >> 4) * 4 + bool(flags & SYN) + bool(flags & FIN)
        sequence, acked = int.from_bytes(header[4:8], "big"), int.from_bytes(header[8:12], "big")
        return cls(flags, sequence, acked, (sequence + length) % NUMBERS)

    def is_cut_at(self, state: BackendState) -> bool:
        """Whether a backend in that state is not to get it. One that is halted lives: what ends a connection gets there."""
        return state is BackendState.DEAD or (state is BackendState.HALTED and not self.flags & RST)


@dataclass(slots=True)
class Flow:
    """An entry of the flow table, without its time."""

    backend: int
    service: int
    state: FlowState = FlowState.OPEN
    acked: int = 0
    next: int = 0
    is_unproven: bool = True

    @classmethod
    def by(cls, segment: Segment, backend: int, service: int) -> Flow:
        """What a segment enters."""
        return cls(backend, service, state_after(FlowState.OPEN, segment.flags), segment.acked, segment.next)

    def note(self, segment: Segment) -> None:
        """A segment that is a little behind is an old one sent again; an end that is far from the others is not believed."""
        away = (segment.seq - self.next + LARGEST_WINDOW) % NUMBERS
        if segment.flags & (FIN | RST) and away > 2 * LARGEST_WINDOW:
            return
        self.state, self.is_unproven = state_after(self.state, segment.flags), False
        behind = (self.next - segment.next) % NUMBERS
        if not 1 <= behind <= LARGEST_WINDOW:
            self.next = segment.next
        if segment.flags & ACK:
            self.acked = segment.acked


def state_after(state: FlowState, flags: int) -> FlowState:
    """FIN and RST shorten what is left; traffic after a RST shows that the client did not mean it."""
    if flags & RST:
        return FlowState.RESET
    if flags & FIN:
        return FlowState.CLOSING
    return FlowState.OPEN if state is FlowState.RESET else state


@dataclass(slots=True)
class Recent:
    """A short memory: by row, (tag, reference) of what fell into it last."""

    rows: int
    entries: dict[int, tuple[int, int]] = field(default_factory=dict)

    def remember(self, hash_: int, ref: int) -> None:
        self.entries[hash_ % self.rows] = hash_ >> 32, ref

    def forget(self, hash_: int) -> None:
        del self.entries[hash_ % self.rows]

    def backend(self, hash_: int, backends: Mapping[int, BackendRow]) -> int:
        """An entry holds only the low 8 bits of the generation."""
        tag, ref = self.entries.get(hash_ % self.rows, (-1, NOBODY))
        row = backends.get(id_of(ref))
        if tag != hash_ >> 32 or row is None or row.generation & 0xFF != ref >> 16 & 0xFF:
            return NOBODY
        return reference(id_of(ref), row.generation)


@dataclass(slots=True)
class Places:
    """A backend's TCP connections, and those on their way. ``limit`` 0 is none."""

    live: int = 0
    reserved: int = 0
    is_full: bool = False
    limit: int = 0
    resume: int = 0

    def hold(self, row: BackendRow, *, is_new: bool) -> None:
        """The row was written: for another server, or with another limit, or neither."""
        if is_new:
            self.live, self.reserved, self.is_full = 0, 0, False
        if (self.limit, self.resume) != (row.limit, row.resume):
            self.limit, self.resume = row.limit, row.resume
            self.is_full = 0 < row.limit <= self.live

    @property
    def room(self) -> int:
        """0: no place. 1: one that others have reserved. 2: one that nobody has."""
        if self.limit == 0:
            return 2
        untaken = 0 if self.is_full and self.live > self.resume else self.limit - self.live
        return (untaken > 0) + (untaken > self.reserved)

    def join(self, *, must_fit: bool = False) -> bool:
        """One more, if it fits or need not."""
        if must_fit and self.limit and self.live >= self.limit:
            self.is_full = True
            return False
        self.live += 1
        self.is_full |= 0 < self.limit <= self.live
        return True

    def leave(self) -> None:
        """One less."""
        self.live -= 1
        if self.live <= self.resume:
            self.is_full = False

    def reserve(self) -> None:
        """A SYN was sent there."""
        self.reserved += bool(self.limit)

    def redeem(self) -> None:
        """A handshake ended there."""
        self.reserved -= bool(self.limit and self.reserved)
