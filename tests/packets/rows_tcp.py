"""Rows: TCP, by flags, by the flow's state and by the backend's."""

from __future__ import annotations

from scapy.layers.inet import TCP
from scapy.packet import Raw

from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import FlowState, Reason
from tests.packets.cases import Before, Case, Entry, backends, drops, owner, sends
from tests.packets.frames import (
    CLIENT_PORT,
    DICOM,
    IP_OPTIONS,
    TCP_OPTIONS,
    cut,
    ipv4,
    padded,
    patched,
    tcp,
)

OPEN, CLOSING, RESET = FlowState.OPEN, FlowState.CLOSING, FlowState.RESET
UP, DRAINING, DOWN, ABSENT = BackendState.UP, BackendState.DRAINING, BackendState.DOWN, BackendState.ABSENT
DEAD, HALTED = BackendState.DEAD, BackendState.HALTED

OWNER = owner()
OLD = OWNER % 3 + 1
"""The backend of a flow that was there before: another than the slot's owner."""
NEW_OWNER = owner(up=tuple(number for number in (1, 2, 3) if number != OLD))
"""Who owns the slot once `OLD` is not up."""


def with_ip_options(flags: str) -> bytes:
    """A segment behind a longer IP header, with TCP options and data of its own."""
    segment = TCP(sport=CLIENT_PORT, dport=DICOM, flags=flags, options=list(TCP_OPTIONS)) / Raw(b"A-ASSOCIATE-RQ")
    return ipv4(segment, options=list(IP_OPTIONS))


def with_flow(state: FlowState = OPEN, backend: BackendState = UP, generation: int = 7) -> Before:
    """A flow to `OLD`, which is in a state of its own."""
    return Before(backends=backends(backend, number=OLD), flow=Entry(backend=OLD, state=state, generation=generation))


SPENT = Before(tokens=0)
"""Nothing more may be entered in mid-stream for now, and nothing refused."""

NEW = [
    sends("SYN", tcp("S"), OWNER, Reason.SYN),
    sends("SYN padded", padded(tcp("S")), OWNER, Reason.SYN),
    sends("SYN with TCP options", tcp("S", options=TCP_OPTIONS), OWNER, Reason.SYN),
    sends("SYN with IP options", with_ip_options("S"), OWNER, Reason.SYN),
    sends("SYN with data", tcp("S", data=b"fast open"), OWNER, Reason.SYN),
    sends("SYN that offers congestion notification", tcp("SEC"), OWNER, Reason.SYN),
    sends("ACK in mid-stream", tcp("A"), OWNER, Reason.PICKED_UP, after=Entry(backend=OWNER)),
    sends("data in mid-stream", tcp("PA", data=bytes(1460)), OWNER, Reason.PICKED_UP, after=Entry(backend=OWNER)),
    sends("FIN in mid-stream", tcp("FA"), OWNER, Reason.PICKED_UP, after=Entry(backend=OWNER, state=CLOSING)),
    drops("no flags in mid-stream", tcp(""), Reason.MALFORMED),
    drops("FIN without ACK in mid-stream", tcp("F"), Reason.MALFORMED),
    sends("RST in mid-stream", tcp("R"), OWNER, Reason.UNTRACKED),
    sends("RST and ACK in mid-stream", tcp("RA"), OWNER, Reason.UNTRACKED),
    sends("ACK in mid-stream, too many before", tcp("A"), OWNER, Reason.OVER_BUDGET, SPENT),
    sends("RST in mid-stream, too many before", tcp("R"), OWNER, Reason.UNTRACKED, SPENT),
    sends("SYN, too many in mid-stream before", tcp("S"), OWNER, Reason.SYN, SPENT),
    sends(
        "first ACK, too many in mid-stream before", tcp("A"), OWNER, Reason.FIRST_ACK,
        Before(tokens=0, earlier=(tcp("S"),)), after=Entry(backend=OWNER),
    ),
    sends(
        "first ACK, too many handshakes before", tcp("A"), OWNER, Reason.OVER_BUDGET,
        Before(handshakes=0, earlier=(tcp("S"),)),
    ),
    sends("ACK in mid-stream, too many handshakes before", tcp("A"), OWNER, Reason.PICKED_UP, Before(handshakes=0),
          after=Entry(backend=OWNER)),
    drops("SYN and ACK", tcp("SA"), Reason.MALFORMED),
    drops("SYN and FIN", tcp("SF"), Reason.MALFORMED),
    drops("SYN and RST", tcp("SR"), Reason.MALFORMED),
    drops("all flags", tcp("FSRPAUEC"), Reason.MALFORMED),
    drops("SYN and ACK on a flow", tcp("SA"), Reason.MALFORMED, with_flow()),
]  # fmt: skip

UNRESOLVED = [
    drops("SYN to an unresolved backend", tcp("S"), Reason.UNRESOLVED, Before(backends=backends(number=OWNER, mac=b""))),
    drops(
        "established, backend lost its MAC", tcp("A"), Reason.UNRESOLVED,
        Before(backends=backends(number=OLD, mac=b""), flow=Entry(backend=OLD)),
    ),
    drops(
        "ACK to an unresolved backend", tcp("A"), Reason.UNRESOLVED, Before(backends=backends(number=OWNER, mac=b"")),
        after=Entry(backend=OWNER),
    ),
]  # fmt: skip

ESTABLISHED = [
    *(
        sends(
            f"established, backend {backend.name.lower()}", tcp("A"), OLD, Reason.ESTABLISHED, with_flow(backend=backend),
            after=Entry(backend=OLD),
        )
        for backend in (UP, DRAINING, DOWN)
    ),
    *(
        sends(
            f"established, backend {name}", tcp("A"), new, Reason.PICKED_UP, before, after=Entry(backend=new)
        )
        for name, new, before in (
            ("gone", NEW_OWNER, with_flow(backend=ABSENT)),
            ("of a later generation", OWNER, with_flow(generation=6)),
            ("of an earlier generation", OWNER, with_flow(generation=8)),
        )
    ),
    *(
        sends(f"{name} on a flow", frame, OLD, Reason.ESTABLISHED, with_flow(), after=Entry(backend=OLD))
        for name, frame in (
            ("data", tcp("PA", data=bytes(1460))),
            ("padding", padded(tcp("A"))),
            ("TCP options", tcp("A", options=TCP_OPTIONS)),
            ("IP options", with_ip_options("A")),
            ("no flags", tcp("")),
            ("URG", tcp("UA")),
        )
    ),
    *(
        sends(
            f"{name} after {was.name}", tcp(flags), OLD, Reason.ESTABLISHED, with_flow(was),
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
]  # fmt: skip

REUSED = [
    sends(
        f"SYN from the ports of a flow that is {state.name.lower()}, backend {backend.name.lower()}",
        tcp("S"), OLD, Reason.REUSED_PORT, with_flow(state, backend), after=Entry(backend=OLD),
    )
    for state, backend in ((OPEN, UP), (OPEN, DRAINING))
] + [
    sends(
        f"SYN from the ports of a flow that is {state.name.lower()}, backend {backend.name.lower()}",
        tcp("S"), OWNER if backend is UP else NEW_OWNER, Reason.SYN, with_flow(state, backend),
    )
    for state in FlowState
    for backend in (UP, DRAINING, DOWN, DEAD, HALTED, ABSENT)
    if state is not OPEN or backend not in (UP, DRAINING)
] + [
    sends("SYN from the ports of a flow of an earlier generation", tcp("S"), OWNER, Reason.SYN, with_flow(generation=6)),
]  # fmt: skip

TRUNCATED = [
    drops(
        f"TCP header of {size} bytes, total length {'true' if honest else 'untrue'}", cut(tcp("S"), size, honest=honest),
        Reason.MALFORMED,
    )
    for size in (0, 1, 2, 3, 4, 8, 12, 13, 14, 16, 18, 19)
    for honest in (True, False)
]  # fmt: skip

ODD = [
    sends("wrong TCP checksum, for its receiver to judge", patched(tcp("S"), 50, b"\xde\xad"), OWNER, Reason.SYN),
    sends("data offset of nought, for its receiver to judge", patched(tcp("S"), 46, b"\x00"), OWNER, Reason.SYN),
]

ROWS: list[Case] = NEW + UNRESOLVED + ESTABLISHED + REUSED + TRUNCATED + ODD
