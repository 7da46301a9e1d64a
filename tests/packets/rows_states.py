"""Rows: what each state of a backend means for the packets of a flow to it."""

from __future__ import annotations

from dataclasses import replace

from lbctl.core.model import Protocol
from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import FlowState, Reason
from tests.packets.cases import Before, Case, Entry, backends, drops, owner, refuses, sends
from tests.packets.frames import CLIENT_PORT, tcp, udp

UP, DRAINING, DOWN, ABSENT = BackendState.UP, BackendState.DRAINING, BackendState.DOWN, BackendState.ABSENT
DEAD, HALTED = BackendState.DEAD, BackendState.HALTED
CLOSING, RESET = FlowState.CLOSING, FlowState.RESET

OLD = owner() % 3 + 1
HEIR = owner(up=tuple(number for number in (1, 2, 3) if number != OLD))
OLD_UDP = owner(Protocol.UDP) % 3 + 1
HEIR_UDP = owner(Protocol.UDP, up=tuple(number for number in (1, 2, 3) if number != OLD_UDP))
FLOW, TO_HEIR = Entry(backend=OLD), Entry(backend=HEIR)
FLOW_UDP = Entry(backend=OLD_UDP, protocol=Protocol.UDP)

DATA, FIN, RST, RST_ACK = tcp("PA", ack=9, data=b"x"), tcp("FA", ack=9), tcp("R"), tcp("RA", ack=9)
SPENT = 0
"""No token is left."""


def before(state: BackendState, *, tokens: int = 1000) -> Before:
    """A flow to `OLD`, which is in that state."""
    return Before(backends=backends(state, number=OLD), flow=FLOW, tokens=tokens)


def goes_on(state: BackendState) -> list[Case]:
    """Live connections go on."""
    named, given = f"backend {state.name.lower()}", before(state)
    return [
        sends(f"data of a live connection, {named}", DATA, OLD, Reason.ESTABLISHED, given, after=FLOW),
        sends(
            f"FIN of a live connection, {named}",
            FIN,
            OLD,
            Reason.ESTABLISHED,
            given,
            after=replace(FLOW, state=CLOSING),
        ),
        sends(
            f"RST of a live connection, {named}", RST, OLD, Reason.ESTABLISHED, given, after=replace(FLOW, state=RESET)
        ),
    ]


def is_cut(state: BackendState) -> list[Case]:
    """Their clients are told by a reset, in so far as there are not too many."""
    named, given = f"backend {state.name.lower()}", before(state)
    return [
        refuses(f"data of a live connection, {named}", DATA, Reason.RESET, given),
        refuses(f"FIN of a live connection, {named}", FIN, Reason.RESET, given),
        drops(f"data of a live connection, {named}, too many before", DATA, Reason.DEAD, before(state, tokens=SPENT)),
    ]


UDP = [
    sends(
        f"datagram of a live flow, backend {state.name.lower()}", udp(), OLD_UDP, Reason.UDP_ESTABLISHED,
        Before(backends=backends(state, number=OLD_UDP), flow=FLOW_UDP), after=FLOW_UDP,
    )
    for state in (UP, DRAINING)
] + [
    sends(
        f"datagram of a live flow, backend {state.name.lower()}", udp(), HEIR_UDP, Reason.UDP_NEW,
        Before(backends=backends(state, number=OLD_UDP), flow=FLOW_UDP), after=replace(FLOW_UDP, backend=HEIR_UDP),
    )
    for state in (DOWN, DEAD, HALTED, ABSENT)
]  # fmt: skip

RESETS = [
    drops("RST of a live connection, backend dead", RST, Reason.DEAD, before(DEAD)),
    drops("RST and ACK of a live connection, backend dead", RST_ACK, Reason.DEAD, before(DEAD)),
    *(
        sends(
            f"{name} of a live connection, backend halted", frame, OLD, Reason.ESTABLISHED, before(HALTED, tokens=SPENT),
            after=replace(FLOW, state=RESET),
        )
        for name, frame in (("RST", RST), ("RST and ACK", RST_ACK))
    ),
    sends(
        "RST once more, backend halted", RST, OLD, Reason.ESTABLISHED,
        replace(before(HALTED), flow=replace(FLOW, state=RESET)), after=replace(FLOW, state=RESET),
    ),
    sends("RST of a connection that nobody knows", tcp("R", client_port=CLIENT_PORT), owner(), Reason.UNTRACKED),
]  # fmt: skip

GONE = [
    sends("data of a live connection, backend gone", DATA, HEIR, Reason.PICKED_UP, before(ABSENT), after=TO_HEIR),
    sends(
        "FIN of a live connection, backend gone", FIN, HEIR, Reason.PICKED_UP, before(ABSENT),
        after=replace(TO_HEIR, state=CLOSING),
    ),
    sends("RST of a live connection, backend gone", RST, HEIR, Reason.UNTRACKED, before(ABSENT)),
    sends(
        "data of a live connection, backend gone, too many before", DATA, HEIR, Reason.OVER_BUDGET,
        before(ABSENT, tokens=SPENT),
    ),
]  # fmt: skip

ROWS: list[Case] = [
    *(case for state in (UP, DRAINING, DOWN) for case in goes_on(state)),
    *(case for state in (DEAD, HALTED) for case in is_cut(state)),
    *UDP,
    *RESETS,
    *GONE,
]
