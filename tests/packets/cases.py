"""What a row of the table of packets is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lbctl.core.model import Network, OnEmpty, Protocol
from lbctl.core.tables import ROUTED, BackendRow, BackendState, Lan, Members, PoolRow, Slots, Tables, reference
from lbctl.dataplane.layout import FlowState, Reason
from tests.packets.departures import Verdict
from tests.packets.families import IPV4, IPV6, Family
from tests.packets.frames import CLIENT, CLIENT_PORT, PRIORITY_TAG, Tagging, forwarded, tagged
from tests.packets.hashes import hash_flow, slot_of
from tests.packets.refusals import answer_to
from tests.packets.rig import BUDGET, HANDSHAKES
from tests.packets.world import (
    DICOM,
    FAR,
    FAR_VIP,
    FAR_VIP6,
    GENERATION,
    HERE,
    SIZE,
    SYSLOG,
    VIP,
    VIP6,
    backend_row,
    interface_row,
    tables,
)


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
    lan: Lan = HERE
    """Where everything is, if there are no further segments."""
    has_interface: bool = True
    lans: Mapping[Lan, bytes] = field(default_factory=dict)
    """Our MACs on further segments."""
    is_routed: bool = False
    """The VIPs are announced nowhere."""
    sources: Mapping[Network, int] | None = None
    """Who may come to any service, each with the pool row of its class."""
    classes: Mapping[int, int] = field(default_factory=dict)
    """The only backend of each class, by the class's pool row; 0 is nobody."""
    holder: int | None = None
    """Storage is private, and this backend holds what the client sent; 0: nobody does yet."""
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
        is_moved = not self.lans
        rows = {i: replace(row, lan=self.lan) if is_moved else row for i, row in self.backends.items()}
        usual = tables(rows, self.slots, on_empty=self.on_empty, is_private=self.holder is not None)
        here = ROUTED if self.is_routed else self.lan
        ours = {self.lan: interface_row()} if self.has_interface else {}
        return self._with_sources(
            replace(
                usual,
                interfaces=ours | {lan: interface_row(mac) for lan, mac in self.lans.items()},
                vips={VIP: here, VIP6: here, FAR_VIP: FAR, FAR_VIP6: FAR},
                drops_wrong_ports=self.drops_wrong_ports,
            )
        )

    def _with_sources(self, usual: Tables) -> Tables:
        """Each class has a pool row of its own, and slots behind those of the others."""
        if self.sources is None:
            return usual
        refs = {row: reference(number, GENERATION) if number else 0 for row, number in self.classes.items()}
        families = {4: 1, 6: 2}
        return replace(
            usual,
            sources={
                number: {prefix: row for prefix, row in self.sources.items() if prefix.version == version}
                for version, number in families.items()
            },
            services={key: replace(row, source_list=families[key.vip.version]) for key, row in usual.services.items()},
            pools={**usual.pools, **{row: PoolRow(identity=100 + row, base=row * SIZE, size=SIZE) for row in refs}},
            slots={**usual.slots, **{row: np.full(SIZE, ref, np.uint32) for row, ref in refs.items()}},
            members={**usual.members, **{row: Members(own=(ref,) if ref else ()) for row, ref in refs.items()}},
        )


USUAL = Before()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row. ``after`` is the flow after the packet, of the family's client; the test asserts everything."""

    name: str
    frame: bytes
    verdict: Verdict
    reason: Reason
    out: bytes
    before: Before = USUAL
    after: Entry | None = None
    family: Family = IPV4
    ifindex: int = HERE.ifindex


def of_both(*sections: Callable[[Family], list[Case]]) -> list[Case]:
    """The rows of each section, once of either family."""
    of_ipv4 = [case for section in sections for case in section(IPV4)]
    return of_ipv4 + in_ipv6([case for section in sections for case in section(IPV6)])


def in_ipv6(cases: Sequence[Case]) -> list[Case]:
    """Cases of IPv6, and called so."""
    return [replace(case, family=IPV6, name=f"{case.name} (IPv6)") for case in cases]


def in_vlan(case: Case, tags: Tagging) -> Case:
    """The case in a VLAN, where everything else is as it was: the same happens, and the tags stay."""
    vlan = 0
    for _, control in tags:
        vlan = vlan << 12 | control & 0xFFF
    earlier = tuple(tagged(frame, tags) for frame in case.before.earlier)
    kind = "a priority tag" if tags is PRIORITY_TAG else f"{len(tags)} tag{'s' * (len(tags) > 1)}"
    return replace(
        case,
        name=f"{case.name}, {kind}",
        frame=tagged(case.frame, tags),
        out=tagged(case.out, tags),
        before=replace(case.before, lan=Lan(case.before.lan.ifindex, vlan), earlier=earlier),
    )


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
