"""Twins in Python of the program's pure functions, and of its decision about IPv4: written from its description, to disagree
with it where either is wrong. Time is left out: no half-open entry expires, no flow ends."""

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
from lbctl.dataplane.layout import HALF_OPENS, FlowState, Reason
from lbctl.dataplane.rows import filter_bit

_MASK = (1 << 64) - 1
FIRST_DROP = Reason.NO_SERVICE
TRANSPORT_BYTES = {6: 20, 17: 8, 1: 8}
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10


def hash_flow(client: IPv4Address, vip: IPv4Address, client_port: int, vip_port: int, *, seed: int = 0) -> int:
    """``hash_flow`` of ``ebpf/hash.h``: the words as a little-endian machine loads them from the packet."""
    h = (int.from_bytes(client.packed, "little") << 32 | int.from_bytes(vip.packed, "little")) ^ seed
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & _MASK
    h ^= h >> 33
    h = h + (_swapped(client_port) << 16 | _swapped(vip_port)) & _MASK
    h = h * 0xC4CEB9FE1A85EC53 & _MASK
    h ^= h >> 33
    h = h * 0xFF51AFD7ED558CCD & _MASK
    return h ^ h >> 33


def slot_of(flow_hash: int, size: int) -> int:
    """Which of a pool's slots a flow falls into."""
    return (flow_hash >> 32) * size >> 32


def _swapped(port: int) -> int:
    return int.from_bytes(port.to_bytes(2, "big"), "little")


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
class Oracle:
    """The program's memory: flows, and half-open entries (tag, reference) by row."""

    tables: Tables
    ifindex: int = 1
    flows: dict[FlowKey, Flow] = field(default_factory=dict)
    half_opens: dict[int, tuple[int, int]] = field(default_factory=dict)

    def decide(self, frame: bytes) -> Decision:
        """What becomes of a frame. Whatever is not IPv4 to an address that the filter lets through passes."""
        vip = IPv4Address(frame[30:34]) if len(frame) >= 34 and frame[12:14] == b"\x08\x00" else None
        if vip is None or filter_bit(vip) not in map(filter_bit, self.tables.vips):
            return Decision(Reason.NOT_VIP)
        decision = self._admitted(frame) or self._balanced(frame, vip)
        return decision if decision.reason < FIRST_DROP or vip in self.tables.vips else Decision(Reason.NOT_VIP)

    def _admitted(self, frame: bytes) -> Decision | None:
        own = self.tables.interfaces.get(self.ifindex)
        if own is None:
            return Decision(Reason.OTHER_MAC)
        if frame[6:12] == own.mac or frame[26:30] == own.address.packed:
            return Decision(Reason.LOOP_OWN)
        if frame[:6] != own.mac:
            return Decision(Reason.OTHER_MAC)
        header, total = (frame[14] & 0xF) * 4, int.from_bytes(frame[16:18], "big")
        if frame[14] >> 4 != 4 or header < 20 or total < header:
            return Decision(Reason.MALFORMED)
        if int.from_bytes(frame[20:22], "big") & 0x3FFF:
            return Decision(Reason.FRAGMENT)
        needed = TRANSPORT_BYTES.get(frame[23], 0)
        return Decision(Reason.MALFORMED) if min(total, len(frame) - 14) < header + needed else None

    def _balanced(self, frame: bytes, vip: IPv4Address) -> Decision:
        transport = frame[14 + (frame[14] & 0xF) * 4 :]
        if frame[23] == 1:
            answered = transport[0] == 8 and self.tables.vips.get(vip) == self.ifindex
            return Decision(Reason.PING_REPLY if answered else Reason.ICMP_OTHER)
        if frame[23] not in (6, 17):
            return Decision(Reason.NO_SERVICE)
        protocol = Protocol.TCP if frame[23] == 6 else Protocol.UDP
        ports = int.from_bytes(transport[:2], "big"), int.from_bytes(transport[2:4], "big")
        key = FlowKey(protocol, IPv4Address(frame[26:30]), vip, *ports)
        chosen = self._udp(key) if protocol is Protocol.UDP else self._tcp(key, transport[13])
        return self._sent(chosen, frame[6:12])

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
        self.flows[key] = Flow(backend, service.id, _state_after(FlowState.OPEN, flags))
        if not half_open:
            return Decision(Reason.PICKED_UP, backend)
        del self.half_opens[key.hash % HALF_OPENS]
        return Decision(Reason.FIRST_ACK, backend)

    def _syn(self, key: FlowKey, service: ServiceRow, half_open: int) -> Decision:
        row = self._row(half_open)
        if row is not None and row.state is BackendState.UP and key not in self.flows:
            return Decision(Reason.SYN, half_open)
        backend = self._slot(key, service)
        if not backend:
            return Decision(Reason.NO_BACKEND)
        self.half_opens[key.hash % HALF_OPENS] = key.hash >> 32, backend
        if key not in self.flows:
            return Decision(Reason.SYN, backend)
        self.flows[key] = Flow(backend, service.id)
        return Decision(Reason.REUSED_PORT, backend)

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

    def _sent(self, decision: Decision, source: bytes) -> Decision:
        """The last word: no frame to a MAC that is not known, none back to where it came from."""
        row = self._row(decision.backend)
        if row is None:
            return decision
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
        """An entry holds only the low 8 bits of the generation."""
        tag, ref = self.half_opens.get(key.hash % HALF_OPENS, (-1, NOBODY))
        row = self.tables.backends.get(id_of(ref))
        if tag != key.hash >> 32 or row is None or row.generation & 0xFF != ref >> 16 & 0xFF:
            return NOBODY
        return reference(id_of(ref), row.generation)


def _state_after(state: FlowState, flags: int) -> FlowState:
    if flags & RST:
        return FlowState.RESET
    if flags & FIN:
        return FlowState.CLOSING
    return FlowState.OPEN if state is FlowState.RESET else state
