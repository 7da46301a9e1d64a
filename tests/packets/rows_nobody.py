"""Rows: nobody takes new connections. They are refused, or dropped where the pool says so; in mid-stream nothing is said."""

from __future__ import annotations

from dataclasses import replace

from lbctl.core.model import OnEmpty, Protocol
from lbctl.core.tables import BackendState, Slots
from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, Entry, all_slots, backends, drops, of_both, refuses, sends
from tests.packets.families import Family
from tests.packets.frames import TCP_OPTIONS, UNSERVED, padded

ALONE = 2
"""The only backend that slots refer to."""


def alone(state: BackendState, slots: Slots | None = None) -> Before:
    """Every slot refers to one backend, and the others take nobody either."""
    rows = {ALONE: backends(state, number=ALONE).get(ALONE)}
    found = {number: row for number, row in rows.items() if row is not None}
    return Before(backends=found, slots=all_slots(ALONE) if slots is None else slots)


NOBODY = {
    "empty pool": Before(backends={}, slots=all_slots(0, 0)),
    "slots of a backend that drains": alone(BackendState.DRAINING),
    "slots of a backend that is down": alone(BackendState.DOWN),
    "slots of a backend that is dead": alone(BackendState.DEAD),
    "slots of a backend that is halted": alone(BackendState.HALTED),
    "slots of a backend that is absent": alone(BackendState.ABSENT),
}
STALE = {
    "slot of nobody": alone(BackendState.UP, all_slots(0, 0)),
    "slot of an earlier generation": alone(BackendState.UP, all_slots(ALONE, 6)),
    "slot of a later generation": alone(BackendState.UP, all_slots(ALONE, 8)),
    "slot of an id beyond the table": alone(BackendState.UP, all_slots(60_000)),
}
"""Somebody is up, but the slot does not say so."""
EMPTY = NOBODY["empty pool"]
DROPPING, SPENT = replace(EMPTY, on_empty=OnEmpty.DROP), replace(EMPTY, tokens=0)


def syn(ip: Family) -> bytes:
    return ip.tcp("S", seq=7)


def answerable(ip: Family) -> dict[str, bytes]:
    """What opens a connection, and gets an answer if nobody takes it. (A datagram with extension headers gets none.)"""
    found = {
        "SYN": syn(ip),
        "SYN padded": padded(syn(ip)),
        "SYN with data": ip.tcp("S", seq=7, data=b"fast open"),
        "SYN with options": ip.tcp("S", options=TCP_OPTIONS, ip_options=ip.options),
        "datagram": ip.udp(),
    }
    return found | ({"first fragment": ip.first_fragment()} if ip.version == 4 else {})


def opening(ip: Family) -> dict[str, bytes]:
    """What opens a connection."""
    options = {"datagram with IP options": ip.udp(ip_options=ip.options), "first fragment": ip.first_fragment()}
    return answerable(ip) | options


def mid_stream(ip: Family) -> dict[str, bytes]:
    """What does not."""
    return {"ACK": ip.tcp("A", ack=9), "FIN": ip.tcp("FA", ack=9), "no flags": ip.tcp(""), "RST": ip.tcp("R")}


def refused(ip: Family) -> list[Case]:
    return [
        *(
            refuses(f"{name}, {why}", frame, Reason.TURNED_AWAY, given)
            for why, given in NOBODY.items()
            for name, frame in (("SYN", syn(ip)), ("datagram", ip.udp()))
        ),
        *(
            refuses(f"{name}, nobody takes it", frame, Reason.TURNED_AWAY, EMPTY)
            for name, frame in answerable(ip).items()
        ),
        *(
            refuses(
                f"{name}, nobody takes it, wrong ports are dropped",
                frame,
                Reason.TURNED_AWAY,
                replace(EMPTY, drops_wrong_ports=True),
            )
            for name, frame in answerable(ip).items()
        ),
    ]


def amiss(ip: Family) -> list[Case]:
    return [
        *(sends(f"SYN, {why}, somebody up", syn(ip), ALONE, Reason.SYN, given) for why, given in STALE.items()),
        *(refuses(f"datagram, {why}", ip.udp(), Reason.TURNED_AWAY, given) for why, given in STALE.items()),
        *(
            drops(f"{name} in mid-stream, {why}", frame, Reason.NO_BACKEND, given)
            for why, given in STALE.items()
            for name, frame in mid_stream(ip).items()
        ),
    ]


def silent(ip: Family) -> list[Case]:
    return [
        *(
            drops(f"{name}, nobody takes it, to be dropped", frame, Reason.NO_BACKEND, DROPPING)
            for name, frame in opening(ip).items()
        ),
        *(
            drops(f"{name}, nobody takes it, too many before", frame, Reason.EMPTY, SPENT)
            for name, frame in opening(ip).items()
        ),
        *(
            drops(f"{name} in mid-stream, {why}", frame, Reason.NO_BACKEND, given)
            for why, given in NOBODY.items()
            for name, frame in mid_stream(ip).items()
        ),
        *(
            drops(f"{name} in mid-stream, nobody takes it, to be dropped", frame, Reason.NO_BACKEND, DROPPING)
            for name, frame in mid_stream(ip).items()
        ),
        *(
            drops(f"{name}, nobody takes it", frame, Reason.EMPTY, EMPTY)
            for name, frame in opening(ip).items()
            if name not in answerable(ip)
        ),
    ]


def last(ip: Family) -> list[Case]:
    return [
        refuses(
            f"SYN from the ports of a flow, backend {state.name.lower()}, nobody else up",
            syn(ip),
            Reason.TURNED_AWAY,
            replace(alone(state), flow=Entry(backend=ALONE)),
            ends_flow=True,
        )
        for state in (BackendState.DOWN, BackendState.DEAD, BackendState.HALTED)
    ] + [
        drops(
            "SYN from the ports of a flow, backend down, nobody else up, to be dropped",
            syn(ip),
            Reason.NO_BACKEND,
            replace(alone(BackendState.DOWN), flow=Entry(backend=ALONE), on_empty=OnEmpty.DROP),
            ends_flow=True,
        ),
        refuses(
            "next datagram, backend down, nobody else up",
            ip.udp(),
            Reason.TURNED_AWAY,
            replace(alone(BackendState.DOWN), flow=Entry(backend=ALONE, protocol=Protocol.UDP)),
        ),
    ]


def dropped_ports(ip: Family) -> list[Case]:
    return [
        drops(f"{name} to a wrong port that is to be dropped", frame, Reason.NO_SERVICE, Before(drops_wrong_ports=True))
        for name, frame in (
            ("SYN", ip.tcp("S", UNSERVED)),
            ("ACK", ip.tcp("A", UNSERVED, ack=9)),
            ("RST", ip.tcp("R", UNSERVED)),
            ("datagram", ip.udp(UNSERVED)),
        )
    ]


ROWS: list[Case] = of_both(refused, amiss, silent, last, dropped_ports)
