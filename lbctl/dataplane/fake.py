"""The dict-backed twin of `kernel.KernelDataplane`, for tests of everything above it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from lbctl.core.features import Features
from lbctl.core.model import Address, AttachMode
from lbctl.core.model import Protocol as Transport
from lbctl.core.plan import (
    SetBackend,
    SetInterface,
    SetMembers,
    SetPool,
    SetService,
    SetSlots,
    SetSources,
    SetVip,
    SetWrongPorts,
    Step,
)
from lbctl.core.tables import (
    BackendRow,
    InterfaceRow,
    Lan,
    Members,
    PoolRow,
    ServiceKey,
    ServiceRow,
    Sources,
    Tables,
)
from lbctl.dataplane.layout import SLOTS
from lbctl.dataplane.port import (
    Assigned,
    AttachedMode,
    Attachment,
    Claim,
    Connected,
    Counters,
    Event,
    FlowEntry,
    IdleLimits,
    Sweep,
    Traffic,
    Waiting,
)
from lbctl.errors import KernelError

_Key = TypeVar("_Key")
_Row = TypeVar("_Row")


class FakeDataplane:
    """Tables in dictionaries, one flat slot array, flows that a test puts there. ``fail_after`` steps writing fails."""

    def __init__(self) -> None:
        self.interfaces: dict[Lan, InterfaceRow] = {}
        self.vips: dict[Address, Lan] = {}
        self.services: dict[ServiceKey, ServiceRow] = {}
        self.sources: dict[int, Sources] = {}
        self.pools: dict[int, PoolRow] = {}
        self.backends: dict[int, BackendRow] = {}
        self.freed: dict[int, int] = {}
        self.slots = np.zeros(SLOTS, np.uint32)
        self.drops_wrong_ports = False
        self.members: dict[int, Members] = {}
        self.live_flows: list[FlowEntry] = []
        self.connected: dict[int, Connected] = {}
        self.handshaking: dict[int, int] = {}
        self.assigned: dict[Assigned, int] = {}
        self.claimed: dict[Address, Claim] = {}
        self.watched: frozenset[str] = frozenset()
        self.told: list[Event] = []
        self.features = Features()
        self.specialised: list[Features] = []
        self.attachments: dict[int, Attachment] = {}
        self.sealed = 0
        self.written: list[Step] = []
        self.fail_after: int | None = None

    def read(self) -> Tables:
        """What was written."""
        return Tables(
            interfaces=dict(self.interfaces),
            vips=dict(self.vips),
            services=dict(self.services),
            sources=dict(self.sources),
            pools=dict(self.pools),
            backends=dict(self.backends),
            slots={i: self.slots[pool.base : pool.base + pool.size].copy() for i, pool in self.pools.items()},
            freed=dict(self.freed),
            members={i: self.members.get(i, Members()) for i in self.pools},
            drops_wrong_ports=self.drops_wrong_ports,
        )

    def write(self, step: Step) -> None:
        """Carry out one step of a plan."""
        if self.fail_after is not None and len(self.written) >= self.fail_after:
            raise KernelError("writing a map entry: as the test wants it")
        self.written.append(step)
        match step:
            case SetInterface():
                _set(self.interfaces, step.lan, step.after)
            case SetVip():
                _set(self.vips, step.vip, step.after)
                if step.after is None:
                    self.claimed.pop(step.vip, None)
            case SetService():
                _set(self.services, step.key, step.after)
            case SetSources():
                _set(self.sources, step.number, step.after)
            case SetPool():
                _set(self.pools, step.pool_id, step.after)
                if step.after is None:
                    self.members.pop(step.pool_id, None)
            case SetBackend():
                self._set_backend(step)
            case SetSlots():
                self.slots[step.base + step.at] = step.after
            case SetMembers():
                self.members[step.pool_id] = step.after
            case SetWrongPorts():
                self.drops_wrong_ports = step.after

    def _set_backend(self, step: SetBackend) -> None:
        _set(self.backends, step.backend_id, step.after)
        if step.after is None:
            self.freed[step.backend_id] = step.before.generation if step.before else 0
        else:
            self.freed.pop(step.backend_id, None)

    def generation(self) -> int:
        """How often `seal` was called."""
        return self.sealed

    def seal(self) -> int:
        """Count one complete write."""
        self.sealed += 1
        return self.sealed

    def counters(self, *, services: Sequence[int], backends: Sequence[int]) -> Counters:
        """Zeros: nothing is forwarded here."""
        return Counters(
            reasons={}, services=dict.fromkeys(services, Traffic()), backends=dict.fromkeys(backends, Traffic())
        )

    def sweep(self, limits: IdleLimits) -> Sweep:
        """Delete flows that are idle for longer than the default limit."""
        kept = [flow for flow in self.live_flows if flow.idle_s <= limits.default_s]
        expired, self.live_flows = len(self.live_flows) - len(kept), kept
        flows: dict[int, int] = {}
        vips: dict[Address, int] = {}
        udp = Counter(flow.backend for flow in kept if flow.protocol is Transport.UDP)
        for flow in kept:
            flows[flow.backend] = flows.get(flow.backend, 0) + 1
            vips[flow.vip] = vips.get(flow.vip, 0) + 1
        return Sweep(
            flows=flows,
            services={},
            vips=vips,
            datagrams=udp,
            open={},
            ended={},
            expired=expired,
            capacity=1 << 16,
        )

    def set_clock(self) -> None:
        """There is no program here."""

    def flows(self, *, limit: int, references: Sequence[int] | None = None) -> Sequence[FlowEntry]:
        """The flows that the test put there."""
        return [flow for flow in self.live_flows if references is None or flow.backend in references][:limit]

    def quiet(self, references: Sequence[int], *, idle_s: float, limit: int) -> Sequence[Waiting]:
        """Those that the test put there."""
        flows = [flow for flow in self.live_flows if flow.backend in references and flow.idle_s > idle_s]
        return [_waiting(flow) for flow in flows if flow.protocol is Transport.TCP and flow.state == "open"][:limit]

    def give_up(self, references: Sequence[int]) -> Sequence[Waiting]:
        """The open TCP flows that the test put there; what they acknowledged is 1, what they send next 2."""
        given_up = [
            flow
            for flow in self.live_flows
            if flow.backend in references and flow.protocol is Transport.TCP and flow.state == "open"
        ]
        self.live_flows = [replace(flow, state="reset") if flow in given_up else flow for flow in self.live_flows]
        return [_waiting(flow) for flow in given_up]

    def connections(self) -> Mapping[int, Connected]:
        """What the test put there."""
        return {number: self.connected.get(number, Connected()) for number in self.backends}

    def half_open(self) -> Mapping[int, int]:
        """What the test put there."""
        return dict(self.handshaking)

    def assignments(self) -> Mapping[Assigned, int]:
        """What the test put there."""
        return dict(self.assigned)

    def assign(self, changes: Mapping[Assigned, int | None]) -> None:
        """Remember them."""
        for key, ref in changes.items():
            _set(self.assigned, key, ref)

    def claims(self) -> Mapping[Address, Claim]:
        """What the test put there. A VIP that goes takes its claims with it."""
        return dict(self.claimed)

    def watch(self, *, flows: bool, drops: bool) -> None:
        """Remember what is watched; what was told is forgotten."""
        self.watched = frozenset(name for name, wanted in (("flows", flows), ("drops", drops)) if wanted)
        self.told.clear()

    def events(self) -> Sequence[Event]:
        """What the test put there since the last call."""
        told, self.told = self.told, []
        return told

    def specialise(self, features: Features) -> None:
        """Remember the features, if they are others."""
        if features != self.features:
            self.features = features
            self.specialised.append(features)

    def attach(self, ifindex: int, mode: AttachMode) -> Attachment:
        """Remember the interface."""
        attached = AttachedMode.GENERIC if mode is AttachMode.GENERIC else AttachedMode.NATIVE
        self.attachments[ifindex] = Attachment(ifindex=ifindex, mode=attached)
        return self.attachments[ifindex]

    def keep_pins(self) -> bool:
        """Nobody removes any."""
        return False

    def is_attached(self, ifindex: int) -> bool:
        """As remembered."""
        return ifindex in self.attachments

    def detach_others(self, keep: frozenset[int]) -> None:
        """Forget the interfaces that are not to be kept."""
        self.attachments = {index: found for index, found in self.attachments.items() if index in keep}

    def memory_bytes(self) -> int:
        """None."""
        return 0


def _waiting(flow: FlowEntry) -> Waiting:
    return Waiting(
        backend=flow.backend,
        client=flow.client,
        client_port=flow.client_port,
        vip=flow.vip,
        vip_port=flow.vip_port,
        acked=1,
        next=2,
        was_open=True,
    )


def _set(table: dict[_Key, _Row], key: _Key, row: _Row | None) -> None:
    if row is None:
        table.pop(key, None)
    else:
        table[key] = row
