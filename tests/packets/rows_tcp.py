"""Rows: TCP, by flags, by the flow's state and by the backend's."""

from __future__ import annotations

from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import FlowState, Reason
from tests.packets.cases import Before, Case, Entry, backends, drops, of_both, owner, sends
from tests.packets.families import Family
from tests.packets.frames import TCP_OPTIONS, cut, padded, patched

OPEN, CLOSING, RESET = FlowState.OPEN, FlowState.CLOSING, FlowState.RESET
UP, DRAINING, DOWN, ABSENT = BackendState.UP, BackendState.DRAINING, BackendState.DOWN, BackendState.ABSENT
DEAD, HALTED = BackendState.DEAD, BackendState.HALTED

OWNER = owner()
OLD = OWNER % 3 + 1
"""The backend of a flow that was there before: another than the slot's owner."""
NEW_OWNER = owner(up=tuple(number for number in (1, 2, 3) if number != OLD))
"""Who owns the slot once `OLD` is not up."""


def with_ip_options(ip: Family, flags: str) -> bytes:
    """A segment behind a longer IP header, with TCP options and data of its own."""
    return ip.tcp(flags, options=TCP_OPTIONS, ip_options=ip.options, data=b"A-ASSOCIATE-RQ")


def with_flow(state: FlowState = OPEN, backend: BackendState = UP, generation: int = 7) -> Before:
    """A flow to `OLD`, which is in a state of its own."""
    return Before(backends=backends(backend, number=OLD), flow=Entry(backend=OLD, state=state, generation=generation))


SPENT = Before(tokens=0)
"""Nothing more may be entered in mid-stream for now, and nothing refused."""


def new(ip: Family) -> list[Case]:
    return [
        sends("SYN", ip.tcp("S"), OWNER, Reason.SYN),
        sends("SYN padded", padded(ip.tcp("S")), OWNER, Reason.SYN),
        sends("SYN with TCP options", ip.tcp("S", options=TCP_OPTIONS), OWNER, Reason.SYN),
        sends("SYN with IP options", with_ip_options(ip, "S"), OWNER, Reason.SYN),
        sends("SYN with data", ip.tcp("S", data=b"fast open"), OWNER, Reason.SYN),
        sends("SYN that offers congestion notification", ip.tcp("SEC"), OWNER, Reason.SYN),
        sends("ACK in mid-stream", ip.tcp("A"), OWNER, Reason.PICKED_UP, after=Entry(backend=OWNER)),
        sends(
            "data in mid-stream", ip.tcp("PA", data=bytes(1460)), OWNER, Reason.PICKED_UP, after=Entry(backend=OWNER)
        ),
        sends("FIN in mid-stream", ip.tcp("FA"), OWNER, Reason.PICKED_UP, after=Entry(backend=OWNER, state=CLOSING)),
        drops("no flags in mid-stream", ip.tcp(""), Reason.MALFORMED),
        drops("FIN without ACK in mid-stream", ip.tcp("F"), Reason.MALFORMED),
        sends("RST in mid-stream", ip.tcp("R"), OWNER, Reason.UNTRACKED),
        sends("RST and ACK in mid-stream", ip.tcp("RA"), OWNER, Reason.UNTRACKED),
        sends("ACK in mid-stream, too many before", ip.tcp("A"), OWNER, Reason.OVER_BUDGET, SPENT),
        sends("RST in mid-stream, too many before", ip.tcp("R"), OWNER, Reason.UNTRACKED, SPENT),
        sends("SYN, too many in mid-stream before", ip.tcp("S"), OWNER, Reason.SYN, SPENT),
        sends(
            "first ACK, too many in mid-stream before",
            ip.tcp("A"),
            OWNER,
            Reason.FIRST_ACK,
            Before(tokens=0, earlier=(ip.tcp("S"),)),
            after=Entry(backend=OWNER),
        ),
        sends(
            "first ACK, too many handshakes before",
            ip.tcp("A"),
            OWNER,
            Reason.OVER_BUDGET,
            Before(handshakes=0, earlier=(ip.tcp("S"),)),
        ),
        sends(
            "ACK in mid-stream, too many handshakes before",
            ip.tcp("A"),
            OWNER,
            Reason.PICKED_UP,
            Before(handshakes=0),
            after=Entry(backend=OWNER),
        ),
        drops("SYN and ACK", ip.tcp("SA"), Reason.MALFORMED),
        drops("SYN and FIN", ip.tcp("SF"), Reason.MALFORMED),
        drops("SYN and RST", ip.tcp("SR"), Reason.MALFORMED),
        drops("all flags", ip.tcp("FSRPAUEC"), Reason.MALFORMED),
        drops("SYN and ACK on a flow", ip.tcp("SA"), Reason.MALFORMED, with_flow()),
    ]


def unresolved(ip: Family) -> list[Case]:
    return [
        drops(
            "SYN to an unresolved backend",
            ip.tcp("S"),
            Reason.UNRESOLVED,
            Before(backends=backends(number=OWNER, mac=b"")),
        ),
        drops(
            "established, backend lost its MAC",
            ip.tcp("A"),
            Reason.UNRESOLVED,
            Before(backends=backends(number=OLD, mac=b""), flow=Entry(backend=OLD)),
        ),
        drops(
            "ACK to an unresolved backend",
            ip.tcp("A"),
            Reason.UNRESOLVED,
            Before(backends=backends(number=OWNER, mac=b"")),
            after=Entry(backend=OWNER),
        ),
    ]


def established(ip: Family) -> list[Case]:
    return [
        *(
            sends(
                f"established, backend {backend.name.lower()}",
                ip.tcp("A"),
                OLD,
                Reason.ESTABLISHED,
                with_flow(backend=backend),
                after=Entry(backend=OLD),
            )
            for backend in (UP, DRAINING, DOWN)
        ),
        *(
            sends(f"established, backend {name}", ip.tcp("A"), new, Reason.PICKED_UP, before, after=Entry(backend=new))
            for name, new, before in (
                ("gone", NEW_OWNER, with_flow(backend=ABSENT)),
                ("of a later generation", OWNER, with_flow(generation=6)),
                ("of an earlier generation", OWNER, with_flow(generation=8)),
            )
        ),
        *(
            sends(f"{name} on a flow", frame, OLD, Reason.ESTABLISHED, with_flow(), after=Entry(backend=OLD))
            for name, frame in (
                ("data", ip.tcp("PA", data=bytes(1460))),
                ("padding", padded(ip.tcp("A"))),
                ("TCP options", ip.tcp("A", options=TCP_OPTIONS)),
                ("IP options", with_ip_options(ip, "A")),
                ("no flags", ip.tcp("")),
                ("URG", ip.tcp("UA")),
            )
        ),
        *(
            sends(
                f"{name} after {was.name}",
                ip.tcp(flags),
                OLD,
                Reason.ESTABLISHED,
                with_flow(was),
                after=Entry(backend=OLD, state=then),
            )
            for name, flags, was, then in (
                ("FIN", "FA", OPEN, CLOSING),
                ("RST", "R", OPEN, RESET),
                ("ACK", "A", CLOSING, CLOSING),
                ("FIN", "FA", CLOSING, CLOSING),
                ("RST", "RA", CLOSING, RESET),
                ("ACK", "A", RESET, OPEN),
                ("FIN", "FA", RESET, CLOSING),
                ("RST", "R", RESET, RESET),
                ("RST and FIN", "RF", OPEN, RESET),
            )
        ),
    ]


def reused(ip: Family) -> list[Case]:
    return (
        [
            sends(
                f"SYN from the ports of a flow that is {state.name.lower()}, backend {backend.name.lower()}",
                ip.tcp("S"),
                OLD,
                Reason.REUSED_PORT,
                with_flow(state, backend),
                after=Entry(backend=OLD),
            )
            for state, backend in ((OPEN, UP), (OPEN, DRAINING))
        ]
        + [
            sends(
                f"SYN from the ports of a flow that is {state.name.lower()}, backend {backend.name.lower()}",
                ip.tcp("S"),
                OWNER if backend is UP else NEW_OWNER,
                Reason.SYN,
                with_flow(state, backend),
            )
            for state in FlowState
            for backend in (UP, DRAINING, DOWN, DEAD, HALTED, ABSENT)
            if state is not OPEN or backend not in (UP, DRAINING)
        ]
        + [
            sends(
                "SYN from the ports of a flow of an earlier generation",
                ip.tcp("S"),
                OWNER,
                Reason.SYN,
                with_flow(generation=6),
            ),
        ]
    )


def truncated(ip: Family) -> list[Case]:
    return [
        drops(
            f"TCP header of {size} bytes, total length {'true' if honest else 'untrue'}",
            cut(ip.tcp("S"), size, honest=honest),
            Reason.MALFORMED,
        )
        for size in (0, 1, 2, 3, 4, 8, 12, 13, 14, 16, 18, 19)
        for honest in (True, False)
    ]


def odd(ip: Family) -> list[Case]:
    return [
        sends(
            "wrong TCP checksum, for its receiver to judge",
            patched(ip.tcp("S"), ip.at(16), b"\xde\xad"),
            OWNER,
            Reason.SYN,
        ),
        *(
            drops(
                f"data offset of {words}, in a segment of five words",
                patched(ip.tcp("A"), ip.at(12), bytes((words << 4,))),
                Reason.MALFORMED,
            )
            for words in (0, 4, 6, 15)
        ),
    ]


ROWS: list[Case] = of_both(new, unresolved, established, reused, truncated, odd)
