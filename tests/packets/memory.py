"""What the program remembers, as the oracle keeps it: flows, short memories, places at backends. Without time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lbctl.core.model import Address, Protocol
from lbctl.core.tables import NOBODY, BackendRow, BackendState, id_of, reference
from lbctl.dataplane.layout import FRAGMENTS, HALF_OPENS, FlowState
from tests.packets.hashes import hash_datagram, hash_flow
from tests.packets.wire import ACK, FIN, PROTOCOLS, RST, SYN, Datagram, frame_of

LARGEST_WINDOW = 1 << 24
"""More than anybody has under way."""
NUMBERS = 1 << 32
"""Sequence numbers there are."""


@dataclass(frozen=True, slots=True)
class FlowKey:
    """Whose flow it is."""

    protocol: Protocol
    client: Address
    vip: Address
    client_port: int
    vip_port: int

    @property
    def hash(self) -> int:
        """With the seed of a data plane that nobody seeded."""
        return hash_flow(self.client, self.vip, self.client_port, self.vip_port)


def datagram_hash(ip: Datagram) -> int:
    """By which the fragments of a datagram know each other."""
    return hash_datagram(ip.source, ip.destination, ip.identification, ip.protocol)


def rows_touched(data: bytes) -> list[tuple[str, int]]:
    """The rows of the short memories that a frame may be remembered in, each with its map's name."""
    frame = frame_of(data)
    ip = frame.ip if frame else None
    if ip is None or ip.is_later_fragment:
        return []
    rows = [("lb_fragments", datagram_hash(ip) % FRAGMENTS)] if ip.is_first_fragment else []
    if ip.protocol in PROTOCOLS and ip.has_whole_transport_header:
        key = FlowKey(PROTOCOLS[ip.protocol], ip.source, ip.destination, *ip.ports)
        rows.append(("lb_half_opens", key.hash % HALF_OPENS))
    return rows


@dataclass(frozen=True, slots=True)
class Segment:
    """What a TCP segment says."""

    flags: int
    seq: int
    acked: int
    next: int

    @classmethod
    def of(cls, ip: Datagram) -> Segment:
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
    """An entry of the flow table, without its time. ``returned`` and ``sent`` are bytes, by the progress of ``acked`` and
    ``next``."""

    backend: int
    service: int
    state: FlowState = FlowState.OPEN
    acked: int = 0
    next: int = 0
    returned: int = 0
    sent: int = 0
    is_unproven: bool = True

    @classmethod
    def by(cls, segment: Segment, backend: int, service: int) -> Flow:
        """What a segment enters. What it takes up is sent already."""
        state, taken_up = state_after(FlowState.OPEN, segment.flags), (segment.next - segment.seq) % NUMBERS
        return cls(backend, service, state, segment.acked, segment.next, sent=taken_up)

    def note(self, segment: Segment) -> None:
        """An end that is far from the others is not believed."""
        away = (segment.seq - self.next + LARGEST_WINDOW) % NUMBERS
        if segment.flags & (FIN | RST) and away > 2 * LARGEST_WINDOW:
            return
        self.state, self.is_unproven = state_after(self.state, segment.flags), False
        self.next, gained = advanced(self.next, segment.next)
        self.sent += gained
        if segment.flags & ACK:
            self.acked, gained = advanced(self.acked, segment.acked)
            self.returned += gained


def advanced(position: int, to: int) -> tuple[int, int]:
    """The new position, and how many bytes that is. What is a little behind is an old segment, come late or sent again; what is
    elsewhere altogether is another connection's, and nothing was transferred in between."""
    forward = (to - position) % NUMBERS
    if not forward or NUMBERS - forward <= LARGEST_WINDOW:
        return position, 0
    return to, forward if forward <= LARGEST_WINDOW else 0


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
