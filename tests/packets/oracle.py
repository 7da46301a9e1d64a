"""A model of the program's decision about IPv4: written from its description, to disagree with it where either is wrong.
Time is left out: no entry expires, no flow ends, no token comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from lbctl.core.model import Protocol
from lbctl.core.tables import (
    NOBODY,
    BackendRow,
    BackendState,
    ServiceKey,
    ServiceRow,
    Tables,
    id_of,
    reference,
)
from lbctl.dataplane.layout import FRAGMENTS, HALF_OPENS, FlowState, Reason
from lbctl.dataplane.rows import filter_bit
from tests.packets.hashes import hash_datagram, hash_flow, slot_of
from tests.packets.refusals import answer_to
from tests.packets.wire import ACK, FIN, ICMP, ICMP_ERRORS, PROTOCOLS, RST, SYN, Ipv4, ipv4_in

FIRST_DROP = Reason.NO_SERVICE
ANSWERS = 0
"""The row of the tokens for refusals; the others are service ids, for connections in mid-stream."""


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


@dataclass(slots=True)
class Flow:
    """An entry of the flow table, without its time."""

    backend: int
    service: int
    state: FlowState = FlowState.OPEN


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a packet; ``backend`` is whom it is sent to, or `NOBODY`."""

    reason: Reason
    backend: int = NOBODY


@dataclass(slots=True)
class Recent:
    """A short memory: by row, (tag, reference) of what fell into it last."""

    rows: int
    entries: dict[int, tuple[int, int]] = field(default_factory=dict)

    def remember(self, hash_: int, ref: int) -> None:
        self.entries[hash_ % self.rows] = hash_ >> 32, ref

    def forget(self, hash_: int) -> None:
        del self.entries[hash_ % self.rows]

    def backend(self, hash_: int, backends: dict[int, BackendRow]) -> int:
        """An entry holds only the low 8 bits of the generation."""
        tag, ref = self.entries.get(hash_ % self.rows, (-1, NOBODY))
        row = backends.get(id_of(ref))
        if tag != hash_ >> 32 or row is None or row.generation & 0xFF != ref >> 16 & 0xFF:
            return NOBODY
        return reference(id_of(ref), row.generation)


@dataclass(slots=True)
class Oracle:
    """The program's memory, and what it decides by it."""

    tables: Tables
    ifindex: int = 1
    flows: dict[FlowKey, Flow] = field(default_factory=dict)
    half_opens: Recent = field(default_factory=lambda: Recent(HALF_OPENS))
    fragments: Recent = field(default_factory=lambda: Recent(FRAGMENTS))
    tokens: dict[int, int] = field(default_factory=dict)

    def decide(self, frame: bytes) -> Decision:
        """What becomes of a frame. Whatever is not IPv4 to an address that the filter lets through passes."""
        ip = ipv4_in(frame)
        if ip is None or filter_bit(ip.destination) not in map(filter_bit, self.tables.vips):
            return Decision(Reason.NOT_VIP)
        decision = self._admitted(frame, ip) or self._sent(self._balanced(ip), ip, frame[6:12])
        if decision.reason < FIRST_DROP:
            return decision
        if ip.destination not in self.tables.vips:
            return Decision(Reason.NOT_VIP)
        is_refused = decision.reason is Reason.NO_SERVICE and self._has_token(ANSWERS) and answer_to(frame) is not None
        return Decision(Reason.WRONG_PORT) if is_refused else decision

    def _admitted(self, frame: bytes, ip: Ipv4) -> Decision | None:
        own = self.tables.interfaces.get(self.ifindex)
        if own is None:
            return Decision(Reason.OTHER_MAC)
        if frame[6:12] == own.mac or ip.source == own.address:
            return Decision(Reason.LOOP_OWN)
        if frame[:6] != own.mac:
            return Decision(Reason.OTHER_MAC)
        is_sane = ip.has_sane_header and (ip.is_later_fragment or ip.has_whole_transport_header)
        return None if is_sane else Decision(Reason.MALFORMED)

    def _balanced(self, ip: Ipv4) -> Decision:
        if ip.is_later_fragment:
            backend = self.fragments.backend(_datagram(ip), dict(self.tables.backends))
            return Decision(Reason.FRAGMENT, backend) if backend else Decision(Reason.LOST_FRAGMENT)
        if ip.protocol == ICMP:
            return self._icmp(ip)
        if ip.protocol not in PROTOCOLS:
            return Decision(Reason.NO_SERVICE)
        key = FlowKey(PROTOCOLS[ip.protocol], ip.source, ip.destination, *ip.ports)
        return self._udp(key) if key.protocol is Protocol.UDP else self._tcp(key, ip.transport[13])

    # ICMP ------------------------------------------------------------------------------------------------------------

    def _icmp(self, ip: Ipv4) -> Decision:
        if ip.transport[0] in ICMP_ERRORS:
            return self._error(ip)
        is_answered = ip.transport[0] == 8 and self.tables.vips.get(ip.destination) == self.ifindex
        return Decision(Reason.PING_REPLY if is_answered and not ip.is_first_fragment else Reason.ICMP_UNKNOWN)

    def _error(self, ip: Ipv4) -> Decision:
        """It goes to the backend whose packet it quotes: one from the VIP to the client."""
        quoted = ip.quoted
        if quoted is None or quoted.source != ip.destination or quoted.protocol not in PROTOCOLS:
            return Decision(Reason.ICMP_UNKNOWN)
        protocol, (vip_port, client_port) = PROTOCOLS[quoted.protocol], quoted.ports
        key = FlowKey(protocol, quoted.destination, quoted.source, client_port, vip_port)
        flow = self.flows.get(key)
        if flow is not None and self._row(flow.backend) is not None:
            return Decision(Reason.ICMP_ERROR, flow.backend)
        is_connecting = protocol is Protocol.TCP and self._service(key) is not None
        backend = self._half_open(key) if is_connecting else NOBODY
        return Decision(Reason.ICMP_ERROR, backend) if backend else Decision(Reason.ICMP_UNKNOWN)

    # TCP -------------------------------------------------------------------------------------------------------------

    def _tcp(self, key: FlowKey, flags: int) -> Decision:
        if flags & SYN and flags & (ACK | FIN | RST):
            return Decision(Reason.MALFORMED)
        flow = self.flows.get(key)
        backend = self._row(flow.backend) if flow else None
        if flow is None or backend is None:
            return self._new_tcp(key, flags)
        if not flags & SYN:
            flow.state = _state_after(flow.state, flags)
            return Decision(Reason.ESTABLISHED, flow.backend)
        is_kept = backend.state is BackendState.DRAINING and flow.state is FlowState.OPEN
        if backend.state is not BackendState.UP and not is_kept:
            return self._new_tcp(key, flags)
        flow.state = FlowState.OPEN
        return Decision(Reason.REUSED_PORT, flow.backend)

    def _new_tcp(self, key: FlowKey, flags: int) -> Decision:
        service = self._service(key)
        if service is None:
            return Decision(Reason.NO_SERVICE)
        half_open = self._half_open(key)
        if flags & SYN:
            return self._syn(key, service, half_open)
        backend = half_open or self._slot(key, service)
        if not backend:
            return Decision(Reason.NO_BACKEND)
        if flags & RST:
            return Decision(Reason.UNTRACKED, backend)
        if not half_open and not self._has_token(service.id):
            return Decision(Reason.OVER_BUDGET, backend)
        self.flows[key] = Flow(backend, service.id, _state_after(FlowState.OPEN, flags))
        if not half_open:
            return Decision(Reason.PICKED_UP, backend)
        self.half_opens.forget(key.hash)
        return Decision(Reason.FIRST_ACK, backend)

    def _syn(self, key: FlowKey, service: ServiceRow, half_open: int) -> Decision:
        row = self._row(half_open)
        if row is not None and row.state is BackendState.UP and key not in self.flows:
            return Decision(Reason.SYN, half_open)
        backend = self._slot(key, service)
        if not backend:
            return Decision(Reason.NO_BACKEND)
        self.half_opens.remember(key.hash, backend)
        if key not in self.flows:
            return Decision(Reason.SYN, backend)
        self.flows[key] = Flow(backend, service.id)
        return Decision(Reason.REUSED_PORT, backend)

    # UDP -------------------------------------------------------------------------------------------------------------

    def _udp(self, key: FlowKey) -> Decision:
        flow = self.flows.get(key)
        row = self._row(flow.backend) if flow else None
        if flow is not None and row is not None and row.state is not BackendState.DOWN:
            return Decision(Reason.UDP_ESTABLISHED, flow.backend)
        service = self._service(key)
        if service is None:
            return Decision(Reason.NO_SERVICE)
        backend = self._slot(key, service)
        if not backend:
            return Decision(Reason.NO_BACKEND)
        self.flows[key] = Flow(backend, service.id)
        return Decision(Reason.UDP_NEW, backend)

    # What all of them need -------------------------------------------------------------------------------------------

    def _sent(self, decision: Decision, ip: Ipv4, source: bytes) -> Decision:
        """The last word: no frame to a MAC that is not known, none back to where it came from."""
        row = self._row(decision.backend)
        if row is None:
            return decision
        if ip.is_first_fragment:
            self.fragments.remember(_datagram(ip), decision.backend)
        if row.mac is None:
            return Decision(Reason.UNRESOLVED)
        return Decision(Reason.LOOP_BACKEND) if row.mac == source else decision

    def _service(self, key: FlowKey) -> ServiceRow | None:
        return self.tables.services.get(ServiceKey(vip=key.vip, port=key.vip_port, protocol=key.protocol))

    def _row(self, ref: int) -> BackendRow | None:
        row = self.tables.backends.get(id_of(ref))
        return row if row is not None and row.generation == ref >> 16 else None

    def _slot(self, key: FlowKey, service: ServiceRow) -> int:
        slots = self.tables.slots[service.pool_id]
        ref = int(slots[slot_of(key.hash, len(slots))])
        row = self._row(ref)
        return ref if row is not None and row.state is BackendState.UP else NOBODY

    def _half_open(self, key: FlowKey) -> int:
        return self.half_opens.backend(key.hash, dict(self.tables.backends))

    def _has_token(self, row: int) -> bool:
        """Takes it."""
        left = self.tokens.get(row, 0)
        self.tokens[row] = max(0, left - 1)
        return left > 0


def _datagram(ip: Ipv4) -> int:
    return hash_datagram(ip.source, ip.destination, ip.identification, ip.protocol)


def _state_after(state: FlowState, flags: int) -> FlowState:
    if flags & RST:
        return FlowState.RESET
    if flags & FIN:
        return FlowState.CLOSING
    return FlowState.OPEN if state is FlowState.RESET else state
