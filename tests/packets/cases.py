"""What a row of the table of packets is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from lbctl.core.model import OnEmpty, Protocol
from lbctl.core.tables import BackendRow, BackendState, Slots, Tables, reference
from lbctl.dataplane.layout import FlowState, Reason
from tests.packets.frames import CLIENT, CLIENT_PORT, DICOM, FAR_VIP, SYSLOG, forwarded
from tests.packets.hashes import hash_flow, slot_of
from tests.packets.refusals import answer_to
from tests.packets.rig import BUDGET, HANDSHAKES, LOOPBACK, SIZE, VIP, backend_row, tables

GENERATION = 7
"""Of every backend of the rig."""


class Verdict(IntEnum):
    """``enum xdp_action``."""

    DROP = 1
    PASS = 2
    TX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The flow from `CLIENT`'s usual port, as it stands in the table of its protocol."""

    backend: int
    protocol: Protocol = Protocol.TCP
    state: FlowState = FlowState.OPEN
    generation: int = GENERATION


def backends(
    state: BackendState = BackendState.UP, *, number: int = 0, mac: bytes | None = None
) -> dict[int, BackendRow]:
    """Backends 1 to 3, up; but for ``number``, which is absent if its state is."""
    rows = {i: backend_row(i, state=state, mac=mac) if i == number else backend_row(i) for i in (1, 2, 3)}
    return {i: row for i, row in rows.items() if row.state is not BackendState.ABSENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """Whatever is not as usual before the packet comes."""

    backends: Mapping[int, BackendRow] = field(default_factory=backends)
    slots: Slots | None = None
    has_interface: bool = True
    flow: Entry | None = None
    earlier: tuple[bytes, ...] = ()
    """Frames that came by before."""
    tokens: int = BUDGET
    """In every bucket but those for handshakes."""
    handshakes: int = HANDSHAKES
    """In those."""
    on_empty: OnEmpty = OnEmpty.RESET
    drops_wrong_ports: bool = False

    @property
    def tables(self) -> Tables:
        """What the kernel holds."""
        usual = tables(dict(self.backends), self.slots, on_empty=self.on_empty)
        vips = {VIP: LOOPBACK, FAR_VIP: LOOPBACK + 1}
        usual = replace(usual, vips=vips, drops_wrong_ports=self.drops_wrong_ports)
        return usual if self.has_interface else replace(usual, interfaces={})


USUAL = Before()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row. ``after`` is the flow after the packet; the test asserts everything."""

    name: str
    frame: bytes
    verdict: Verdict
    reason: Reason
    out: bytes
    before: Before = USUAL
    after: Entry | None = None


def all_slots(number: int, generation: int = GENERATION) -> Slots:
    """Every slot refers to one backend."""
    return np.full(SIZE, reference(number, generation), np.uint32)


def owner(protocol: Protocol = Protocol.TCP, *, up: tuple[int, ...] = (1, 2, 3)) -> int:
    """The backend to which the usual flow hashes: in the rig, slots go round those that are up."""
    port = DICOM if protocol is Protocol.TCP else SYSLOG
    return up[slot_of(hash_flow(CLIENT, VIP, CLIENT_PORT, port), SIZE) % len(up)]


def passes(name: str, frame: bytes, reason: Reason = Reason.NOT_VIP, before: Before = USUAL) -> Case:
    """Left to the kernel, unaltered."""
    return Case(
        name=name, frame=frame, verdict=Verdict.PASS, reason=reason, out=frame, before=before, after=before.flow
    )


def drops(
    name: str,
    frame: bytes,
    reason: Reason,
    before: Before = USUAL,
    *,
    after: Entry | None = None,
    ends_flow: bool = False,
) -> Case:
    """Dropped. The flow is as before, or as given, or no more."""
    after = None if ends_flow else after or before.flow
    return Case(name=name, frame=frame, verdict=Verdict.DROP, reason=reason, out=frame, before=before, after=after)


def answers(name: str, frame: bytes, out: bytes, reason: Reason, before: Before = USUAL) -> Case:
    """Answered by the program itself."""
    return Case(name=name, frame=frame, verdict=Verdict.TX, reason=reason, out=out, before=before, after=before.flow)


def refuses(name: str, frame: bytes, reason: Reason, before: Before = USUAL, *, ends_flow: bool = False) -> Case:
    """Answered by a reset or port unreachable. The flow is as before, or no more."""
    out, after = answer_to(frame), None if ends_flow else before.flow
    assert out is not None, name
    return Case(name=name, frame=frame, verdict=Verdict.TX, reason=reason, out=out, before=before, after=after)


def sends(
    name: str, frame: bytes, backend: int, reason: Reason, before: Before = USUAL, *, after: Entry | None = None
) -> Case:
    """Sent to a backend with nothing but its MACs changed; ``after`` is the whole truth, ``None`` means no flow."""
    out = forwarded(frame, backend)
    return Case(name=name, frame=frame, verdict=Verdict.TX, reason=reason, out=out, before=before, after=after)
