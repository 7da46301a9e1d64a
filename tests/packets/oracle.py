"""A model of the program's decision about IPv4: written from its description, to disagree with it where either is wrong.
Time is left out: no entry expires, no flow ends, no token comes back."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from lbctl.core.model import OnEmpty, Protocol
from lbctl.core.tables import NOBODY, BackendRow, BackendState, PoolRow, ServiceKey, ServiceRow, Tables, id_of
from lbctl.dataplane.layout import FRAGMENTS, HALF_OPENS, FlowState, Reason
from lbctl.dataplane.rows import filter_bit
from tests.packets.hashes import hash_datagram, hash_source, slot_of
from tests.packets.memory import Flow, FlowKey, Places, Recent, Segment
from tests.packets.refusals import ANSWERS, answer_to
from tests.packets.rig import for_handshakes, for_pick_ups
from tests.packets.wire import ACK, FIN, ICMP, ICMP_ERRORS, PROTOCOLS, RST, SYN, Ipv4, ipv4_in

FIRST_DROP = Reason.NO_SERVICE
PROBES, OWN_PROBES = 32, 24
"""So many members are asked for room; so many of them the pool's own, if there are others."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a packet; ``backend`` is whom it is sent to, or `NOBODY`."""

    reason: Reason
    backend: int = NOBODY


@dataclass(slots=True)
class Oracle:
    """The program's memory, and what it decides by it. ``tokens`` by the row of lb_budgets."""

    tables: Tables
    ifindex: int = 1
    flows: dict[FlowKey, Flow] = field(default_factory=dict)
    half_opens: Recent = field(default_factory=lambda: Recent(HALF_OPENS))
    fragments: Recent = field(default_factory=lambda: Recent(FRAGMENTS))
    places: defaultdict[int, Places] = field(default_factory=lambda: defaultdict(Places))
    assignments: dict[tuple[IPv4Address, int], int] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)

    def hold(self, tables: Tables) -> None:
        """Other tables from now on."""
        for number, row in tables.backends.items():
            before = self.tables.backends.get(number)
            self.places[number].hold(row, is_new=before is None or before.generation != row.generation)
        self.tables = tables

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
        return Decision(self._answer(decision.reason, frame) or decision.reason)

    def _answer(self, reason: Reason, frame: bytes) -> Reason | None:
        if reason not in ANSWERS or (reason is Reason.NO_SERVICE and self.tables.drops_wrong_ports):
            return None
        row, answer = ANSWERS[reason]
        return answer if self._has_token(row) and answer_to(frame) is not None else None

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
            backend = self.fragments.backend(_datagram(ip), self.tables.backends)
            return Decision(Reason.FRAGMENT, backend) if backend else Decision(Reason.LOST_FRAGMENT)
        if ip.protocol == ICMP:
            return self._icmp(ip)
        if ip.protocol not in PROTOCOLS:
            return Decision(Reason.NO_SERVICE)
        key = FlowKey(PROTOCOLS[ip.protocol], ip.source, ip.destination, *ip.ports)
        return self._udp(key) if key.protocol is Protocol.UDP else self._tcp(key, Segment.of(ip))

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

    def _tcp(self, key: FlowKey, segment: Segment) -> Decision:
        if segment.flags & SYN and segment.flags & (ACK | FIN | RST):
            return Decision(Reason.MALFORMED)
        flow = self.flows.get(key)
        if flow is None:
            return self._new_tcp(key, segment)
        row = self._row(flow.backend)
        if row is not None and not segment.flags & SYN:
            return self._established(flow, row, segment)
        is_open = row is not None and flow.state is FlowState.OPEN
        if row is not None and is_open and row.state in (BackendState.UP, BackendState.DRAINING):
            return Decision(Reason.REUSED_PORT, flow.backend)
        if is_open:
            self._places(flow.backend).leave()
        del self.flows[key]
        return self._new_tcp(key, segment)

    def _established(self, flow: Flow, row: BackendRow, segment: Segment) -> Decision:
        if segment.is_cut_at(row.state):
            return Decision(Reason.DEAD)
        was_open = flow.state is FlowState.OPEN
        flow.note(segment)
        if was_open and flow.state is not FlowState.OPEN:
            self._places(flow.backend).leave()
        elif flow.state is FlowState.OPEN and not was_open:
            self._places(flow.backend).join()
        return Decision(Reason.ESTABLISHED, flow.backend)

    def _new_tcp(self, key: FlowKey, segment: Segment) -> Decision:
        service = self._service(key)
        if service is None:
            return Decision(Reason.NO_SERVICE)
        half_open = self._half_open(key)
        if segment.flags & SYN:
            return self._syn(key, service, half_open)
        backend = half_open or self._in_mid_stream(key, service)
        row = self._row(backend)
        if row is None:
            return Decision(Reason.NO_BACKEND)
        if segment.is_cut_at(row.state):
            return Decision(Reason.DEAD)
        if segment.flags & RST:
            return Decision(Reason.UNTRACKED, backend)
        if not segment.flags & ACK:
            return Decision(Reason.MALFORMED)
        flow = Flow.by(segment, backend, service.id)
        return self._completed(key, service, flow) if half_open else self._picked_up(key, service, flow)

    def _syn(self, key: FlowKey, service: ServiceRow, half_open: int) -> Decision:
        if self._room(half_open):
            return Decision(Reason.SYN, half_open)
        backend = self._for_new(key, service)
        if not backend:
            return self._nobody(service)
        self._places(backend).reserve()
        self.half_opens.remember(key.hash, backend)
        return Decision(Reason.SYN, backend)

    def _completed(self, key: FlowKey, service: ServiceRow, flow: Flow) -> Decision:
        if self._holder(key, service) not in (NOBODY, flow.backend):
            return self._nobody(service)
        if not self._has_token(for_handshakes(service.id)):
            return Decision(Reason.OVER_BUDGET, flow.backend)
        if flow.state is FlowState.OPEN and not self._places(flow.backend).join(must_fit=True):
            return self._nobody(service)
        if self._pool(service).is_private and not self._holder(key, service):
            self.assignments[key.client, service.pool_id] = flow.backend
        self.flows[key] = flow
        self.half_opens.forget(key.hash)
        self._places(flow.backend).redeem()
        return Decision(Reason.FIRST_ACK, flow.backend)

    def _picked_up(self, key: FlowKey, service: ServiceRow, flow: Flow) -> Decision:
        if not self._has_token(for_pick_ups(service.id)):
            return Decision(Reason.OVER_BUDGET, flow.backend)
        if flow.state is FlowState.OPEN:
            self._places(flow.backend).join()
        self.flows[key] = flow
        return Decision(Reason.PICKED_UP, flow.backend)

    # UDP -------------------------------------------------------------------------------------------------------------

    def _udp(self, key: FlowKey) -> Decision:
        flow = self.flows.get(key)
        row = self._row(flow.backend) if flow else None
        if flow is not None and row is not None and row.state in (BackendState.UP, BackendState.DRAINING):
            flow.is_unproven = False
            return Decision(Reason.UDP_ESTABLISHED, flow.backend)
        service = self._service(key)
        if service is None:
            return Decision(Reason.NO_SERVICE)
        backend = self._holder(key, service) or self._owner(key, service)
        if not self._is_taker(backend):
            return self._nobody(service)
        self.flows[key] = Flow(backend, service.id)
        return Decision(Reason.UDP_NEW, backend)

    # Who takes it ----------------------------------------------------------------------------------------------------

    def _for_new(self, key: FlowKey, service: ServiceRow) -> int:
        """Who holds what the source sent, and nobody else; or the slot's owner, or else who has more room."""
        holder = self._holder(key, service)
        asked = [holder] if holder else [self._owner(key, service), *self._members(key, service)]
        best = max(asked, key=self._room)  # the first of equals
        return best if self._room(best) else NOBODY

    def _members(self, key: FlowKey, service: ServiceRow) -> list[int]:
        """In the order in which they are asked."""
        members, at = self.tables.members[service.pool_id], key.hash % (1 << 32)
        own, others = members.own, members.fallbacks
        asked_own = min(len(own), OWN_PROBES) if others else len(own)
        refs = [own[(at + i) % (1 << 32) % len(own)] for i in range(asked_own)]
        refs += [others[(at + i) % (1 << 32) % len(others)] for i in range(asked_own, len(own) + len(others)) if others]
        return refs[:PROBES]

    def _room(self, ref: int) -> int:
        return self._places(ref).room if self._is_taker(ref) else 0

    def _in_mid_stream(self, key: FlowKey, service: ServiceRow) -> int:
        """The holder is right whatever its state."""
        owner = self._owner(key, service)
        return self._holder(key, service) or (owner if self._is_taker(owner) else NOBODY)

    def _holder(self, key: FlowKey, service: ServiceRow) -> int:
        ref = self.assignments.get((key.client, service.pool_id), NOBODY)
        return ref if self._pool(service).is_private and self._row(ref) is not None else NOBODY

    def _owner(self, key: FlowKey, service: ServiceRow) -> int:
        slots = self.tables.slots[service.pool_id]
        by_source = hash_source(key.client) * len(slots) >> 32
        return int(slots[by_source if self._pool(service).is_private else slot_of(key.hash, len(slots))])

    def _nobody(self, service: ServiceRow) -> Decision:
        return Decision(Reason.NO_BACKEND if self._pool(service).on_empty is OnEmpty.DROP else Reason.EMPTY)

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

    def _pool(self, service: ServiceRow) -> PoolRow:
        return self.tables.pools[service.pool_id]

    def _row(self, ref: int) -> BackendRow | None:
        row = self.tables.backends.get(id_of(ref))
        return row if row is not None and row.generation == ref >> 16 else None

    def _is_taker(self, ref: int) -> bool:
        row = self._row(ref)
        return row is not None and row.state is BackendState.UP

    def _places(self, ref: int) -> Places:
        return self.places[id_of(ref)]

    def _half_open(self, key: FlowKey) -> int:
        return self.half_opens.backend(key.hash, self.tables.backends)

    def _has_token(self, row: int) -> bool:
        """Takes it."""
        left = self.tokens.get(row, 0)
        self.tokens[row] = max(0, left - 1)
        return left > 0


def _datagram(ip: Ipv4) -> int:
    return hash_datagram(ip.source, ip.destination, ip.identification, ip.protocol)
