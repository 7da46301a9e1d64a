"""Rows: what each state of a backend means for the packets of a flow to it."""

from __future__ import annotations

from dataclasses import replace

from lbctl.core.model import Protocol
from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import FlowState, Reason
from tests.packets.cases import Before, Case, Entry, backends, drops, of_both, owner, refuses, sends
from tests.packets.families import Family

UP, DRAINING, DOWN, ABSENT = BackendState.UP, BackendState.DRAINING, BackendState.DOWN, BackendState.ABSENT
DEAD, HALTED = BackendState.DEAD, BackendState.HALTED
CLOSING, RESET = FlowState.CLOSING, FlowState.RESET

OLD = owner() % 3 + 1
HEIR = owner(up=tuple(number for number in (1, 2, 3) if number != OLD))
OLD_UDP = owner(Protocol.UDP) % 3 + 1
HEIR_UDP = owner(Protocol.UDP, up=tuple(number for number in (1, 2, 3) if number != OLD_UDP))
FLOW, TO_HEIR = Entry(backend=OLD), Entry(backend=HEIR)
FLOW_UDP = Entry(backend=OLD_UDP, protocol=Protocol.UDP)

SPENT = 0
"""No token is left."""


def before(state: BackendState, *, tokens: int = 1000) -> Before:
    """A flow to `OLD`, which is in that state."""
    return Before(backends=backends(state, number=OLD), flow=FLOW, tokens=tokens)


def goes_on(ip: Family) -> list[Case]:
    """Live connections go on."""
    return [case for state in (UP, DRAINING, DOWN) for case in goes_on_at(ip, state)]


def goes_on_at(ip: Family, state: BackendState) -> list[Case]:
    named, given = f"backend {state.name.lower()}", before(state)
    data = ip.tcp("PA", ack=9, data=b"x")
    return [
        sends(f"data of a live connection, {named}", data, OLD, Reason.ESTABLISHED, given, after=FLOW),
        sends(
            f"FIN of a live connection, {named}",
            ip.tcp("FA", ack=9),
            OLD,
            Reason.ESTABLISHED,
            given,
            after=replace(FLOW, state=CLOSING),
        ),
        sends(
            f"RST of a live connection, {named}",
            ip.tcp("R"),
            OLD,
            Reason.ESTABLISHED,
            given,
            after=replace(FLOW, state=RESET),
        ),
    ]


def is_cut(ip: Family) -> list[Case]:
    """Their clients are told by a reset, in so far as there are not too many."""
    return [case for state in (DEAD, HALTED) for case in is_cut_at(ip, state)]


def is_cut_at(ip: Family, state: BackendState) -> list[Case]:
    named, given = f"backend {state.name.lower()}", before(state)
    data = ip.tcp("PA", ack=9, data=b"x")
    return [
        refuses(f"data of a live connection, {named}", data, Reason.RESET, given),
        refuses(f"FIN of a live connection, {named}", ip.tcp("FA", ack=9), Reason.RESET, given),
        drops(f"data of a live connection, {named}, too many before", data, Reason.DEAD, before(state, tokens=SPENT)),
    ]


def datagrams(ip: Family) -> list[Case]:
    return [
        sends(
            f"datagram of a live flow, backend {state.name.lower()}", ip.udp(), OLD_UDP, Reason.UDP_ESTABLISHED,
            Before(backends=backends(state, number=OLD_UDP), flow=FLOW_UDP), after=FLOW_UDP,
        )
        for state in (UP, DRAINING)
    ] + [
        sends(
            f"datagram of a live flow, backend {state.name.lower()}", ip.udp(), HEIR_UDP, Reason.UDP_NEW,
            Before(backends=backends(state, number=OLD_UDP), flow=FLOW_UDP), after=replace(FLOW_UDP, backend=HEIR_UDP),
        )
        for state in (DOWN, DEAD, HALTED, ABSENT)
    ]  # fmt: skip


def resets(ip: Family) -> list[Case]:
    return [
        drops("RST of a live connection, backend dead", ip.tcp("R"), Reason.DEAD, before(DEAD)),
        drops("RST and ACK of a live connection, backend dead", ip.tcp("RA", ack=9), Reason.DEAD, before(DEAD)),
        *(
            sends(
                f"{name} of a live connection, backend halted", frame, OLD, Reason.ESTABLISHED, before(HALTED, tokens=SPENT),
                after=replace(FLOW, state=RESET),
            )
            for name, frame in (("RST", ip.tcp("R")), ("RST and ACK", ip.tcp("RA", ack=9)))
        ),
        sends(
            "RST once more, backend halted", ip.tcp("R"), OLD, Reason.ESTABLISHED,
            replace(before(HALTED), flow=replace(FLOW, state=RESET)), after=replace(FLOW, state=RESET),
        ),
        sends("RST of a connection that nobody knows", ip.tcp("R"), owner(), Reason.UNTRACKED),
    ]  # fmt: skip


def gone(ip: Family) -> list[Case]:
    data = ip.tcp("PA", ack=9, data=b"x")
    return [
        sends("data of a live connection, backend gone", data, HEIR, Reason.PICKED_UP, before(ABSENT), after=TO_HEIR),
        sends(
            "FIN of a live connection, backend gone", ip.tcp("FA", ack=9), HEIR, Reason.PICKED_UP, before(ABSENT),
            after=replace(TO_HEIR, state=CLOSING),
        ),
        sends("RST of a live connection, backend gone", ip.tcp("R"), HEIR, Reason.UNTRACKED, before(ABSENT)),
        sends(
            "data of a live connection, backend gone, too many before", data, HEIR, Reason.OVER_BUDGET,
            before(ABSENT, tokens=SPENT),
        ),
    ]  # fmt: skip


ROWS: list[Case] = of_both(goes_on, is_cut, datagrams, resets, gone)
