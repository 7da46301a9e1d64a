"""A model of the program's decisions: written from its description, to disagree with it where either is wrong. Time is left
out: no entry expires, no flow ends, no token comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

from lbctl.core.model import Address, Protocol
from lbctl.core.tables import NOBODY, ROUTED, BackendRow, BackendState, InterfaceRow, Lan, Tables
from lbctl.dataplane.layout import FRAGMENTS, HALF_OPENS, FlowState, Reason
from tests.packets.choosing import Asked, Chooser
from tests.packets.departures import FIRST_DROP, Verdict, left
from tests.packets.hashes import filter_bit
from tests.packets.memory import Flow, FlowKey, Recent, Segment, datagram_hash
from tests.packets.refusals import ANSWERS, answer_to
from tests.packets.replies import neighbour_reason
from tests.packets.wire import ACK, ECHO, FIN, ICMP_ERRORS, PROTOCOLS, RST, SYN, Datagram, Frame, frame_of
from tests.packets.world import LOOPBACK, for_handshakes, for_pick_ups


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a packet; ``backend`` is whom it is sent to, or `NOBODY`."""

    reason: Reason
    backend: int = NOBODY


@dataclass(slots=True)
class Oracle:
    """The program's memory, and what it decides by it. ``tokens`` by the row of lb_budgets."""

    chooser: Chooser
    flows: dict[FlowKey, Flow] = field(default_factory=dict)
    half_opens: Recent = field(default_factory=lambda: Recent(HALF_OPENS))
    fragments: Recent = field(default_factory=lambda: Recent(FRAGMENTS))
    tokens: dict[int, int] = field(default_factory=dict)

    @property
    def tables(self) -> Tables:
        return self.chooser.tables

    def hold(self, tables: Tables) -> None:
        """Other tables from now on."""
        self.chooser.hold(tables)

    def decide(self, data: bytes, ifindex: int = LOOPBACK) -> Decision:
        """What becomes of a frame. Whatever is not IP to an address that the filter lets through passes."""
        frame = frame_of(data)
        if frame is None:
            return Decision(Reason.NOT_VIP)
        lan, ip = Lan(ifindex, frame.vlan), frame.ip
        reason = neighbour_reason(frame, lan, self.tables)
        if reason is not None:
            return Decision(reason)
        if ip is None or filter_bit(ip.destination) not in map(filter_bit, self.tables.vips):
            return Decision(Reason.NOT_VIP)
        decision = self._admitted(frame, ip, lan) or self._sent(self._balanced(ip, lan), frame, ip, lan)
        if decision.reason < FIRST_DROP:
            return decision
        if ip.destination not in self.tables.vips:
            return Decision(Reason.NOT_VIP)
        return Decision(self._answer(decision.reason, data) or decision.reason)

    def leave(self, data: bytes, decision: Decision, ifindex: int = LOOPBACK) -> tuple[Verdict, bytes]:
        """How the frame about which that was decided leaves."""
        frame = frame_of(data)
        lan = Lan(ifindex, frame.vlan if frame else 0)
        return left(data, decision.reason, self._row(decision.backend), lan, self.tables)

    def _answer(self, reason: Reason, data: bytes) -> Reason | None:
        if reason not in ANSWERS or (reason is Reason.NO_SERVICE and self.tables.drops_wrong_ports):
            return None
        row, answer = ANSWERS[reason]
        return answer if self._has_token(row) and answer_to(data) is not None else None

    def _admitted(self, frame: Frame, ip: Datagram, lan: Lan) -> Decision | None:
        own = self.tables.interfaces.get(lan)
        if own is None:
            return Decision(Reason.OTHER_LAN)
        if frame.source == own.mac or ip.source == _own_address(own, ip.version):
            return Decision(Reason.LOOP_OWN)
        if frame.destination != own.mac:
            return Decision(Reason.OTHER_MAC)
        is_sane = ip.has_sane_header and (ip.is_later_fragment or ip.has_whole_transport_header)
        return None if is_sane else Decision(Reason.MALFORMED)

    def _balanced(self, ip: Datagram, lan: Lan) -> Decision:
        if ip.is_later_fragment:
            backend = self.fragments.backend(datagram_hash(ip), self.tables.backends)
            return Decision(Reason.FRAGMENT, backend) if backend else Decision(Reason.LOST_FRAGMENT)
        if ip.is_icmp:
            return self._icmp(ip, lan)
        if ip.protocol not in PROTOCOLS:
            return Decision(Reason.NO_SERVICE)
        key = FlowKey(PROTOCOLS[ip.protocol], ip.source, ip.destination, *ip.ports)
        return self._udp(key) if key.protocol is Protocol.UDP else self._tcp(key, Segment.of(ip))

    # ICMP ------------------------------------------------------------------------------------------------------------

    def _icmp(self, ip: Datagram, lan: Lan) -> Decision:
        if ip.transport[0] in ICMP_ERRORS[ip.version]:
            return self._error(ip)
        is_answered = ip.transport[0] == ECHO[ip.version] and self.tables.vips.get(ip.destination) in (lan, ROUTED)
        return Decision(Reason.PING_REPLY if is_answered and not ip.is_first_fragment else Reason.ICMP_UNKNOWN)

    def _error(self, ip: Datagram) -> Decision:
        """It goes to the backend whose packet it quotes: one from the VIP to the client."""
        quoted = ip.quoted
        if quoted is None or quoted.source != ip.destination or quoted.protocol not in PROTOCOLS:
            return Decision(Reason.ICMP_UNKNOWN)
        protocol, (vip_port, client_port) = PROTOCOLS[quoted.protocol], quoted.ports
        key = FlowKey(protocol, quoted.destination, quoted.source, client_port, vip_port)
        flow = self.flows.get(key)
        if flow is not None and self._row(flow.backend) is not None:
            return Decision(Reason.ICMP_ERROR, flow.backend)
        is_connecting = protocol is Protocol.TCP and self.chooser.service(key) is not None
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
            is_denied = self.chooser.asked(key) is Reason.DENIED
            return Decision(Reason.DENIED) if is_denied else Decision(Reason.REUSED_PORT, flow.backend)
        if is_open:
            self.chooser.places_of(flow.backend).leave()
        del self.flows[key]
        return self._new_tcp(key, segment)

    def _established(self, flow: Flow, row: BackendRow, segment: Segment) -> Decision:
        if segment.is_cut_at(row.state):
            return Decision(Reason.DEAD)
        was_open = flow.state is FlowState.OPEN
        flow.note(segment)
        if was_open and flow.state is not FlowState.OPEN:
            self.chooser.places_of(flow.backend).leave()
        elif flow.state is FlowState.OPEN and not was_open:
            self.chooser.places_of(flow.backend).join()
        return Decision(Reason.ESTABLISHED, flow.backend)

    def _new_tcp(self, key: FlowKey, segment: Segment) -> Decision:
        asked = self.chooser.asked(key)
        if isinstance(asked, Reason):
            return Decision(asked)
        half_open = self._half_open(key)
        if segment.flags & SYN:
            return self._syn(asked, half_open)
        backend = half_open or self.chooser.in_mid_stream(asked)
        row = self._row(backend)
        if row is None:
            return Decision(Reason.NO_BACKEND)
        if segment.is_cut_at(row.state):
            return Decision(Reason.DEAD)
        if segment.flags & RST:
            return Decision(Reason.UNTRACKED, backend)
        if not segment.flags & ACK:
            return Decision(Reason.MALFORMED)
        flow = Flow.by(segment, backend, asked.service)
        return self._completed(asked, flow) if half_open else self._picked_up(asked, flow)

    def _syn(self, asked: Asked, half_open: int) -> Decision:
        if self.chooser.room(half_open):
            return Decision(Reason.SYN, half_open)
        backend = self.chooser.for_new(asked)
        if not backend:
            return Decision(self.chooser.nobody(asked))
        self.chooser.places_of(backend).reserve()
        self.half_opens.remember(asked.key.hash, backend)
        return Decision(Reason.SYN, backend)

    def _completed(self, asked: Asked, flow: Flow) -> Decision:
        places, holder = self.chooser.places_of(flow.backend), self.chooser.holder(asked)
        if holder not in (NOBODY, flow.backend):
            return Decision(self.chooser.nobody(asked))
        if not self._has_token(for_handshakes(asked.service)):
            return Decision(Reason.OVER_BUDGET, flow.backend)
        if flow.state is FlowState.OPEN and not places.join(must_fit=True):
            return Decision(self.chooser.nobody(asked))
        if self.chooser.pool(asked).is_private and not holder:
            self.chooser.assignments[asked.key.client, asked.pool] = flow.backend
        self.flows[asked.key] = flow
        self.half_opens.forget(asked.key.hash)
        places.redeem()
        return Decision(Reason.FIRST_ACK, flow.backend)

    def _picked_up(self, asked: Asked, flow: Flow) -> Decision:
        if not self._has_token(for_pick_ups(asked.service)):
            return Decision(Reason.OVER_BUDGET, flow.backend)
        if flow.state is FlowState.OPEN:
            self.chooser.places_of(flow.backend).join()
        self.flows[asked.key] = flow
        return Decision(Reason.PICKED_UP, flow.backend)

    # UDP -------------------------------------------------------------------------------------------------------------

    def _udp(self, key: FlowKey) -> Decision:
        flow = self.flows.get(key)
        row = self._row(flow.backend) if flow else None
        if flow is not None and row is not None and row.state in (BackendState.UP, BackendState.DRAINING):
            flow.is_unproven = False
            return Decision(Reason.UDP_ESTABLISHED, flow.backend)
        asked = self.chooser.asked(key)
        if isinstance(asked, Reason):
            return Decision(asked)
        backend = self.chooser.holder(asked) or self.chooser.owner(asked)
        if not self.chooser.is_taker(backend):
            return Decision(self.chooser.nobody(asked))
        self.flows[key] = Flow(backend, asked.service)
        return Decision(Reason.UDP_NEW, backend)

    # What all of them need -------------------------------------------------------------------------------------------

    def _sent(self, decision: Decision, frame: Frame, ip: Datagram, lan: Lan) -> Decision:
        """The last word: no frame to a MAC that is not known or where we have no interface, none back to where it came from."""
        row = self._row(decision.backend)
        if row is None:
            return decision
        if ip.is_first_fragment:
            self.fragments.remember(datagram_hash(ip), decision.backend)
        if row.mac is None or (row.lan != lan and row.lan not in self.tables.interfaces):
            return Decision(Reason.UNRESOLVED)
        return Decision(Reason.LOOP_BACKEND) if row.mac == frame.source else decision

    def _row(self, ref: int) -> BackendRow | None:
        return self.chooser.row(ref)

    def _half_open(self, key: FlowKey) -> int:
        return self.half_opens.backend(key.hash, self.tables.backends)

    def _has_token(self, row: int) -> bool:
        """Takes it."""
        left = self.tokens.get(row, 0)
        self.tokens[row] = max(0, left - 1)
        return left > 0


def _own_address(own: InterfaceRow, version: int) -> Address | None:
    return own.address if version == 4 else own.address6
