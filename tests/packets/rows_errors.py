"""Rows: ICMP errors (RFC 792) go to the backend whose packet they quote, or nowhere."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Raw

from lbctl.core.model import Protocol
from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import FlowState, Reason
from tests.packets.cases import Before, Case, Entry, backends, drops, owner, passes, sends
from tests.packets.frames import (
    CLIENT,
    CLIENT_PORT,
    COLLIDING,
    DICOM,
    FAR_VIP,
    FOREIGN,
    IP_OPTIONS,
    SYSLOG,
    UNSERVED,
    cut,
    fragment,
    ipv4,
    padded,
    patched,
    tcp,
    udp,
)
from tests.packets.rig import OWN_MAC, VIP, backend_mac

ROUTER = IPv4Address("198.51.100.1")
"""Whoever could not forward a backend's packet."""
CODES = {3: range(16), 4: range(1), 11: range(2), 12: range(3)}
SENT = TCP(sport=DICOM, dport=CLIENT_PORT, flags="A", seq=1) / Raw(bytes(1460))
SENT_BY_UDP = UDP(sport=SYSLOG, dport=CLIENT_PORT) / Raw(bytes(1400))
SMALLEST_QUOTE = 20 + 8

OWNER = owner()
OLD = OWNER % 3 + 1
KEPT = Entry(backend=OLD)
KEPT_BY_UDP = Entry(backend=OLD, protocol=Protocol.UDP)
ON_A_FLOW = Before(flow=KEPT)


def quote(
    payload: Any = SENT, *, size: int = 8, source: IPv4Address = VIP, to: IPv4Address = CLIENT, **fields: Any
) -> bytes:
    """A packet that a backend sent: its header and ``size`` bytes behind it; ``fields`` are scapy's of the IP header."""
    header_bytes = len(bytes(IP(src=str(source), dst=str(to), **fields)))
    return bytes(IP(src=str(source), dst=str(to), **fields) / payload)[: header_bytes + size]


def error(quoted: bytes, *, type_: int = 3, code: int = 4, **rest: Any) -> bytes:
    """What a router on the way says about it; ``rest`` goes to `ipv4`."""
    message = ICMP(type=type_, code=code) / Raw(quoted)
    if (type_, code) == (3, 4):
        message.nexthopmtu = 1000
    return ipv4(message, **({"client": ROUTER} | rest))


def with_flow(state: BackendState) -> Before:
    """A flow to `OLD`, which is in that state."""
    return Before(backends=backends(state, number=OLD), flow=KEPT)


def follows(name: str, frame: bytes, before: Before = ON_A_FLOW, reason: Reason = Reason.ICMP_ERROR) -> Case:
    """Sent to `OLD`, whose flow stays as it was: an error is no sign of life."""
    return sends(name, frame, OLD, reason, before, after=before.flow)


FOLLOWED = [
    *(
        follows(f"error {type_}/{code} that quotes {size} bytes", error(quote(size=size), type_=type_, code=code))
        for type_, codes in CODES.items()
        for code in codes
        for size in (8, 20)
    ),
    *(
        follows(f"error {name}", frame)
        for name, frame in (
            ("that quotes 548 bytes", error(quote(size=528))),
            ("with IP options", error(quote(), options=list(IP_OPTIONS))),
            ("that quotes IP options", error(quote(options=list(IP_OPTIONS)))),
            ("with IP options that quotes IP options", error(quote(options=list(IP_OPTIONS)), options=list(IP_OPTIONS))),
            ("that quotes the longest header", error(quote(options=[*IP_OPTIONS * 3, *IP_OPTIONS[1:] * 4]))),
            ("that quotes a first fragment", error(quote(flags="MF"))),
            ("that quotes a packet not to be fragmented", error(quote(flags="DF"))),
            ("padded", padded(error(quote()), 100)),
            ("by the client", error(quote(), client=CLIENT, code=3)),
            ("in a first fragment", error(quote(), flags="MF")),
        )
    ),
    *(
        follows(
            f"error about a flow that is {state.name.lower()}", error(quote()), Before(flow=Entry(backend=OLD, state=state))
        )
        for state in (FlowState.CLOSING, FlowState.RESET)
    ),
    *(
        follows(f"error about a backend that is {state.name.lower()}", error(quote()), with_flow(state))
        for state in (BackendState.DRAINING, BackendState.DOWN)
    ),
    sends(
        "error about a handshake", error(quote(TCP(sport=DICOM, dport=CLIENT_PORT, flags="SA"))), OWNER, Reason.ICMP_ERROR,
        Before(earlier=(tcp("S"),)),
    ),
    follows("error about a datagram", error(quote(SENT_BY_UDP)), Before(flow=KEPT_BY_UDP)),
    follows(
        "port unreachable by a client that has gone", error(quote(SENT_BY_UDP), client=CLIENT, code=3),
        Before(flow=KEPT_BY_UDP),
    ),
    follows(
        "rest of an error in fragments", fragment(8, protocol=1, client=ROUTER),
        Before(flow=KEPT, earlier=(error(quote(), flags="MF", id=0x1234),)), Reason.FRAGMENT,
    ),
]  # fmt: skip

UNKNOWN = [
    *(
        drops(f"error, no flow, that quotes {name}", error(quoted), Reason.ICMP_UNKNOWN)
        for name, quoted in (
            ("TCP", quote()),
            ("UDP", quote(SENT_BY_UDP)),
            ("a port without a service", quote(TCP(sport=UNSERVED, dport=CLIENT_PORT))),
        )
    ),
    *(
        drops(f"error that quotes {name}", frame, Reason.ICMP_UNKNOWN, ON_A_FLOW)
        for name, frame in (
            ("nothing", error(b"")),
            ("another VIP than it is sent to", error(quote(source=FAR_VIP))),
            ("the VIP, sent to another", error(quote(), vip=FAR_VIP)),
            ("a foreign address", error(quote(source=FOREIGN))),
            ("another client", error(quote(to=FOREIGN))),
            ("another port of the client", error(quote(TCP(sport=DICOM, dport=CLIENT_PORT + 1)))),
            ("another service", error(quote(TCP(sport=11_112, dport=CLIENT_PORT)))),
            ("the flow's ports by UDP", error(quote(UDP(sport=DICOM, dport=CLIENT_PORT)))),
            ("the client's packet", error(quote(TCP(sport=CLIENT_PORT, dport=DICOM), source=CLIENT, to=VIP))),
            ("ICMP", error(quote(ICMP()))),
            ("GRE", error(quote(Raw(bytes(8)), proto=47))),
            ("a later fragment", error(quote(frag=3))),
            ("a last fragment", error(quote(frag=8191, flags=""))),
            ("version 6", error(patched(quote(), 0, b"\x65"))),
            ("a header of 16 bytes", error(patched(quote(), 0, b"\x44"))),
            ("a header of nought", error(patched(quote(), 0, b"\x40"))),
            ("a header longer than the frame", error(patched(quote(), 0, b"\x4f"))),
        )
    ),
    drops("error, backend gone", error(quote()), Reason.ICMP_UNKNOWN, with_flow(BackendState.ABSENT)),
    drops(
        "error, backend of a later generation", error(quote()), Reason.ICMP_UNKNOWN,
        Before(flow=Entry(backend=OLD, generation=6)),
    ),
    drops(
        "error about a handshake, another port of the client", error(quote(TCP(sport=DICOM, dport=CLIENT_PORT + 1))),
        Reason.ICMP_UNKNOWN, Before(earlier=(tcp("S"),)),
    ),
    drops("error that quotes TCP, flow is of UDP", error(quote(TCP(sport=SYSLOG, dport=CLIENT_PORT))),
        Reason.ICMP_UNKNOWN, Before(earlier=(udp(),)), after=Entry(backend=owner(Protocol.UDP), protocol=Protocol.UDP),
    ),
]  # fmt: skip

NOT_SENT = [
    drops(
        "error about an unresolved backend", error(quote()), Reason.UNRESOLVED,
        Before(backends=backends(number=OLD, mac=b""), flow=KEPT),
    ),
    drops("error that its backend sent back", error(quote(), source=backend_mac(OLD)), Reason.LOOP_BACKEND, ON_A_FLOW),
    drops("error that we sent", error(quote(), source=OWN_MAC), Reason.LOOP_OWN, ON_A_FLOW),
    passes("error to a foreign address", error(quote(source=FOREIGN), vip=FOREIGN)),
    passes(
        "error to a foreign address with the VIP's filter bit", error(quote(source=COLLIDING), vip=COLLIDING),
        before=ON_A_FLOW,
    ),
]  # fmt: skip

TRUNCATED = [
    drops(
        f"error of {size} bytes, total length {'true' if honest else 'untrue'}",
        cut(error(quote(size=20)), size, honest=honest),
        Reason.MALFORMED if size < 8 else Reason.ICMP_UNKNOWN,
        ON_A_FLOW,
    )
    for size in range(8 + SMALLEST_QUOTE)
    for honest in (True, False)
] + [
    drops(
        f"error that quotes IP options, {missing} of its bytes missing",
        error(quote(options=list(IP_OPTIONS)))[:-missing], Reason.ICMP_UNKNOWN, ON_A_FLOW,
    )
    for missing in (1, 4, 8, 9, 12, 20)
]  # fmt: skip

ROWS: list[Case] = FOLLOWED + UNKNOWN + NOT_SENT + TRUNCATED
