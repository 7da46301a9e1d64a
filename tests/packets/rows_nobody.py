"""Rows: nobody takes new connections. They are refused, or dropped where the pool says so; in mid-stream nothing is said."""

from __future__ import annotations

from dataclasses import replace

from lbctl.core.model import OnEmpty, Protocol
from lbctl.core.tables import BackendState, Slots
from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, Entry, all_slots, backends, drops, refuses, sends
from tests.packets.frames import IP_OPTIONS, TCP_OPTIONS, UNSERVED, first_fragment, padded, tcp, udp

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

NEW = {
    "SYN": tcp("S", seq=7),
    "SYN padded": padded(tcp("S", seq=7)),
    "SYN with data": tcp("S", seq=7, data=b"fast open"),
    "SYN with options": tcp("S", options=TCP_OPTIONS, ip_options=IP_OPTIONS),
    "datagram": udp(),
    "first fragment": first_fragment(),
}
MID_STREAM = {"ACK": tcp("A", ack=9), "FIN": tcp("FA", ack=9), "no flags": tcp(""), "RST": tcp("R")}

REFUSED = [
    *(refuses(f"{name}, {why}", frame, Reason.TURNED_AWAY, given)
      for why, given in NOBODY.items() for name, frame in (("SYN", NEW["SYN"]), ("datagram", NEW["datagram"]))),
    *(refuses(f"{name}, nobody takes it", frame, Reason.TURNED_AWAY, EMPTY) for name, frame in NEW.items()),
    *(refuses(f"{name}, nobody takes it, wrong ports are dropped", frame, Reason.TURNED_AWAY,
              replace(EMPTY, drops_wrong_ports=True)) for name, frame in NEW.items()),
]  # fmt: skip

AMISS = [
    *(sends(f"SYN, {why}, somebody up", NEW["SYN"], ALONE, Reason.SYN, given) for why, given in STALE.items()),
    *(refuses(f"datagram, {why}", NEW["datagram"], Reason.TURNED_AWAY, given) for why, given in STALE.items()),
    *(drops(f"{name} in mid-stream, {why}", frame, Reason.NO_BACKEND, given)
      for why, given in STALE.items() for name, frame in MID_STREAM.items()),
]  # fmt: skip

SILENT = [
    *(drops(f"{name}, nobody takes it, to be dropped", frame, Reason.NO_BACKEND, DROPPING) for name, frame in NEW.items()),
    *(drops(f"{name}, nobody takes it, too many before", frame, Reason.EMPTY, SPENT) for name, frame in NEW.items()),
    *(drops(f"{name} in mid-stream, {why}", frame, Reason.NO_BACKEND, given)
      for why, given in NOBODY.items() for name, frame in MID_STREAM.items()),
    *(drops(f"{name} in mid-stream, nobody takes it, to be dropped", frame, Reason.NO_BACKEND, DROPPING)
      for name, frame in MID_STREAM.items()),
    drops("datagram with IP options, nobody takes it", udp(options=list(IP_OPTIONS)), Reason.EMPTY, EMPTY),
]  # fmt: skip

LAST = [
    refuses(
        f"SYN from the ports of a flow, backend {state.name.lower()}, nobody else up", NEW["SYN"], Reason.TURNED_AWAY,
        replace(alone(state), flow=Entry(backend=ALONE)), ends_flow=True,
    )
    for state in (BackendState.DOWN, BackendState.DEAD, BackendState.HALTED)
] + [
    drops(
        "SYN from the ports of a flow, backend down, nobody else up, to be dropped", NEW["SYN"], Reason.NO_BACKEND,
        replace(alone(BackendState.DOWN), flow=Entry(backend=ALONE), on_empty=OnEmpty.DROP), ends_flow=True,
    ),
    refuses(
        "next datagram, backend down, nobody else up", NEW["datagram"], Reason.TURNED_AWAY,
        replace(alone(BackendState.DOWN), flow=Entry(backend=ALONE, protocol=Protocol.UDP)),
    ),
]  # fmt: skip

DROPPED_PORTS = [
    drops(f"{name} to a wrong port that is to be dropped", frame, Reason.NO_SERVICE, Before(drops_wrong_ports=True))
    for name, frame in (
        ("SYN", tcp("S", UNSERVED)),
        ("ACK", tcp("A", UNSERVED, ack=9)),
        ("RST", tcp("R", UNSERVED)),
        ("datagram", udp(UNSERVED)),
    )
]

ROWS: list[Case] = REFUSED + AMISS + SILENT + LAST + DROPPED_PORTS
