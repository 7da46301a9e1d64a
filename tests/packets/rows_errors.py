"""Rows: ICMP errors (RFC 792, RFC 4443) go to the backend whose packet they quote, or nowhere."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import TCP, UDP
from scapy.packet import Raw

from lbctl.core.model import Protocol
from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import FlowState, Reason
from tests.packets.cases import Before, Case, Entry, backends, drops, in_ipv6, of_both, owner, passes, sends
from tests.packets.families import IPV4, IPV6, Family
from tests.packets.frames import CLIENT_PORT, EXTENSIONS, IP_OPTIONS, UNSERVED, cut, padded, patched
from tests.packets.wire import ECHO, MOST_EXTENSIONS
from tests.packets.world import DICOM, DICOM_TOO, OWN_MAC, SYSLOG, backend_mac

SENT = TCP(sport=DICOM, dport=CLIENT_PORT, flags="A", seq=1) / Raw(bytes(1200))
SENT_BY_UDP = UDP(sport=SYSLOG, dport=CLIENT_PORT) / Raw(bytes(1200))

OWNER = owner()
OLD = OWNER % 3 + 1
KEPT = Entry(backend=OLD)
KEPT_BY_UDP = Entry(backend=OLD, protocol=Protocol.UDP)
ON_A_FLOW = Before(flow=KEPT)


def quote(ip: Family, payload: Any = SENT, *, size: int = 8, **rest: Any) -> bytes:
    """A packet that a backend sent to the client, as errors quote it."""
    return ip.quote(ip.packet(payload, **({"client": ip.vip, "vip": ip.client} | rest)), size)


def in_first_fragment(ip: Family) -> bytes:
    """An error so long that it comes in fragments."""
    return ip.first(ip.message(*ip.too_big) / Raw(quote(ip)), client=ip.foreign)


def quoted_fragment(ip: Family, offset: int, *, more: bool = True) -> bytes:
    """A later fragment of what a backend sent."""
    return ip.quote(ip.fragment(offset, more=more, protocol=6, client=ip.vip, vip=ip.client), 8)


def with_flow(state: BackendState) -> Before:
    """A flow to `OLD`, which is in that state."""
    return Before(backends=backends(state, number=OLD), flow=KEPT)


def follows(name: str, frame: bytes, before: Before = ON_A_FLOW, reason: Reason = Reason.ICMP_ERROR) -> Case:
    """Sent to `OLD`, whose flow stays as it was: an error is no sign of life."""
    return sends(name, frame, OLD, reason, before, after=before.flow)


def followed(ip: Family) -> list[Case]:
    return [
        *(
            follows(
                f"error {type_}/{code} that quotes {size} bytes", ip.error(quote(ip, size=size), type_=type_, code=code)
            )
            for type_, codes in ip.error_codes.items()
            for code in codes
            for size in (8, 20)
        ),
        *(
            follows(f"error {name}", frame)
            for name, frame in (
                ("that quotes 548 bytes", ip.error(quote(ip, size=528))),
                ("with IP options", ip.error(quote(ip), ip_options=ip.options)),
                ("that quotes IP options", ip.error(quote(ip, ip_options=ip.options))),
                (
                    "with IP options that quotes IP options",
                    ip.error(quote(ip, ip_options=ip.options), ip_options=ip.options),
                ),
                ("that quotes a first fragment", ip.error(ip.quote(ip.first(SENT, client=ip.vip, vip=ip.client), 8))),
                ("padded", padded(ip.error(quote(ip)), 100)),
                (
                    "by the client",
                    ip.error(quote(ip), type_=ip.port_unreachable[0], code=ip.port_unreachable[1], client=ip.client),
                ),
                ("in a first fragment", in_first_fragment(ip)),
            )
        ),
    ]


def followed_to(ip: Family) -> list[Case]:
    """Whatever it is about."""
    return [
        *(
            follows(
                f"error about a flow that is {state.name.lower()}",
                ip.error(quote(ip)),
                Before(flow=Entry(backend=OLD, state=state)),
            )
            for state in (FlowState.CLOSING, FlowState.RESET)
        ),
        *(
            follows(f"error about a backend that is {state.name.lower()}", ip.error(quote(ip)), with_flow(state))
            for state in (BackendState.DRAINING, BackendState.DOWN)
        ),
        sends(
            "error about a handshake",
            ip.error(quote(ip, TCP(sport=DICOM, dport=CLIENT_PORT, flags="SA"))),
            OWNER,
            Reason.ICMP_ERROR,
            Before(earlier=(ip.tcp("S"),)),
        ),
        follows("error about a datagram", ip.error(quote(ip, SENT_BY_UDP)), Before(flow=KEPT_BY_UDP)),
        follows(
            "port unreachable by a client that has gone",
            ip.error(
                quote(ip, SENT_BY_UDP), type_=ip.port_unreachable[0], code=ip.port_unreachable[1], client=ip.client
            ),
            Before(flow=KEPT_BY_UDP),
        ),
        follows(
            "rest of an error in fragments",
            ip.fragment(8, protocol=ip.icmp, client=ip.foreign),
            Before(flow=KEPT, earlier=(in_first_fragment(ip),)),
            Reason.FRAGMENT,
        ),
    ]


def unknown(ip: Family) -> list[Case]:
    return [
        *(
            drops(f"error, no flow, that quotes {name}", ip.error(quoted), Reason.ICMP_UNKNOWN)
            for name, quoted in (
                ("TCP", quote(ip)),
                ("UDP", quote(ip, SENT_BY_UDP)),
                ("a port without a service", quote(ip, TCP(sport=UNSERVED, dport=CLIENT_PORT))),
            )
        ),
        *(
            drops(f"error that quotes {name}", frame, Reason.ICMP_UNKNOWN, ON_A_FLOW)
            for name, frame in (
                ("nothing", ip.error(b"")),
                ("another VIP than it is sent to", ip.error(quote(ip, client=ip.far_vip))),
                ("the VIP, sent to another", ip.error(quote(ip), vip=ip.far_vip)),
                ("a foreign address", ip.error(quote(ip, client=ip.foreign))),
                ("another client", ip.error(quote(ip, vip=ip.foreign))),
                ("another port of the client", ip.error(quote(ip, TCP(sport=DICOM, dport=CLIENT_PORT + 1)))),
                ("another service", ip.error(quote(ip, TCP(sport=DICOM_TOO, dport=CLIENT_PORT)))),
                ("the flow's ports by UDP", ip.error(quote(ip, UDP(sport=DICOM, dport=CLIENT_PORT)))),
                (
                    "the client's packet",
                    ip.error(quote(ip, TCP(sport=CLIENT_PORT, dport=DICOM), client=ip.client, vip=ip.vip)),
                ),
                ("a ping", ip.error(quote(ip, ip.message(ECHO[ip.version])))),
                ("GRE", ip.error(quote(ip, Raw(bytes(8)), protocol=47))),
                ("a later fragment", ip.error(quoted_fragment(ip, 3))),
                ("a last fragment", ip.error(quoted_fragment(ip, 8191, more=False))),
                (
                    "version 6 or 4, as it is not",
                    ip.error(patched(quote(ip), 0, b"\x65" if ip.version == 4 else b"\x45")),
                ),
            )
        ),
        drops("error, backend gone", ip.error(quote(ip)), Reason.ICMP_UNKNOWN, with_flow(BackendState.ABSENT)),
        drops(
            "error, backend of a later generation",
            ip.error(quote(ip)),
            Reason.ICMP_UNKNOWN,
            Before(flow=Entry(backend=OLD, generation=6)),
        ),
        drops(
            "error about a handshake, another port of the client",
            ip.error(quote(ip, TCP(sport=DICOM, dport=CLIENT_PORT + 1))),
            Reason.ICMP_UNKNOWN,
            Before(earlier=(ip.tcp("S"),)),
        ),
        drops(
            "error that quotes TCP, flow is of UDP",
            ip.error(quote(ip, TCP(sport=SYSLOG, dport=CLIENT_PORT))),
            Reason.ICMP_UNKNOWN,
            Before(earlier=(ip.udp(),)),
            after=Entry(backend=owner(Protocol.UDP), protocol=Protocol.UDP),
        ),
    ]


def not_sent(ip: Family) -> list[Case]:
    return [
        drops(
            "error about an unresolved backend",
            ip.error(quote(ip)),
            Reason.UNRESOLVED,
            Before(backends=backends(number=OLD, mac=b""), flow=KEPT),
        ),
        drops(
            "error that its backend sent back",
            ip.error(quote(ip), source=backend_mac(OLD)),
            Reason.LOOP_BACKEND,
            ON_A_FLOW,
        ),
        drops("error that we sent", ip.error(quote(ip), source=OWN_MAC), Reason.LOOP_OWN, ON_A_FLOW),
        passes("error to a foreign address", ip.error(quote(ip, client=ip.foreign), vip=ip.foreign)),
        passes(
            "error to a foreign address with the VIP's filter bit",
            ip.error(quote(ip, client=ip.colliding), vip=ip.colliding),
            before=ON_A_FLOW,
        ),
    ]


def truncated(ip: Family) -> list[Case]:
    return [
        drops(
            f"error of {size} bytes, total length {'true' if honest else 'untrue'}",
            cut(ip.error(quote(ip, size=20)), size, honest=honest),
            Reason.MALFORMED if size < 8 else Reason.ICMP_UNKNOWN,
            ON_A_FLOW,
        )
        for size in range(8 + ip.header_bytes + 8)
        for honest in (True, False)
    ] + [
        drops(
            f"error that quotes IP options, {missing} of its bytes missing",
            ip.error(quote(ip, ip_options=ip.options))[:-missing],
            Reason.ICMP_UNKNOWN,
            ON_A_FLOW,
        )
        for missing in (1, 4, 8, 9, 12, 20)
    ]


def only_ipv4() -> list[Case]:
    ip, longest = IPV4, [*IP_OPTIONS * 3, *IP_OPTIONS[1:] * 4]
    return [
        follows("error that quotes the longest header", ip.error(quote(ip, ip_options=longest))),
        follows("error that quotes a packet not to be fragmented", ip.error(quote(ip, flags="DF"))),
        *(
            drops(
                f"error that quotes a header {name}",
                ip.error(patched(quote(ip), 0, byte)),
                Reason.ICMP_UNKNOWN,
                ON_A_FLOW,
            )
            for name, byte in (("of 16 bytes", b"\x44"), ("of nought", b"\x40"), ("longer than the frame", b"\x4f"))
        ),
    ]


def only_ipv6() -> list[Case]:
    ip, option = IPV6, EXTENSIONS[1:]
    most = option * MOST_EXTENSIONS
    return [
        follows("error that quotes as many extension headers as are followed", ip.error(quote(ip, ip_options=most))),
        *(
            drops(f"error that quotes {name}", ip.error(quoted), Reason.ICMP_UNKNOWN, ON_A_FLOW)
            for name, quoted in (
                ("more extension headers than are followed", quote(ip, ip_options=most + option)),
                ("extension headers that are cut off", quote(ip, ip_options=most, size=0)[:-9]),
                ("no next header", quote(ip, Raw(b""), protocol=59)),
                ("the longest extension header", patched(quote(ip, ip_options=option), ip.header_bytes + 1, b"\xff")),
            )
        ),
    ]


ROWS: list[Case] = [*of_both(followed, followed_to, unknown, not_sent, truncated), *only_ipv4(), *in_ipv6(only_ipv6())]
