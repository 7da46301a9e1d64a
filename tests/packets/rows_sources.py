"""Rows: who may come, and which class of connections he belongs to. Asked of what has no flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

from lbctl.core.model import Network, Protocol
from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, Entry, answers, backends, drops, of_both, owner, refuses, sends
from tests.packets.families import Family
from tests.packets.frames import UNSERVED
from tests.packets.world import SYSLOG

OWNER, UDP_OWNER = owner(), owner(Protocol.UDP)
OLD, UDP_OLD = OWNER % 3 + 1, UDP_OWNER % 3 + 1
CLASSED = OLD
"""The only backend of the class."""
CLASS, EMPTY_CLASS = 2, 3
"""Pool rows."""
CLASSES: Mapping[int, int] = {CLASS: CLASSED, EMPTY_CLASS: 0}


def network(ip: Family, length: int) -> Network:
    """The prefix of that length of the client's address."""
    return ip_network((ip.client, length), strict=False)


def others_of(ip: Family) -> Network:
    """Where the client is not."""
    return ip_network((ip.foreign, 16 if ip.version == 4 else 48), strict=False)


def only(*prefixes: Network, row: int = 0) -> Before:
    """These may come, and nobody else."""
    return Before(sources=dict.fromkeys(prefixes, row), classes=CLASSES)


def nobody() -> Before:
    return only()


def is_denied(ip: Family) -> list[Case]:
    others, flow = only(others_of(ip)), Entry(backend=OLD)
    quoted = ip.quote(ip.tcp("SA", client=ip.vip, vip=ip.client, client_port=104, port=40_000), 8)
    down = Before(
        backends=backends(BackendState.DOWN, number=UDP_OLD),
        sources={},
        flow=Entry(backend=UDP_OLD, protocol=Protocol.UDP),
    )
    return [
        *(
            drops(f"{name} of a source that may not come", frame, Reason.DENIED, others)
            for name, frame in (
                ("SYN", ip.tcp("S")),
                ("SYN with options", ip.tcp("S", ip_options=ip.options)),
                ("ACK", ip.tcp("A", ack=9)),
                ("RST", ip.tcp("R")),
                ("segment without flags", ip.tcp("")),
                ("datagram", ip.udp()),
                ("first fragment", ip.first_fragment()),
            )
        ),
        drops("SYN where nobody may come", ip.tcp("S"), Reason.DENIED, nobody()),
        drops("first ACK of a source that may not come by now", ip.tcp("A"), Reason.DENIED, nobody()),
        drops(
            "SYN of a source that may not come, nobody takes it",
            ip.tcp("S"),
            Reason.DENIED,
            replace(others, backends={}),
        ),
        drops(
            "SYN of a source that may not come, from the ports of a flow, backend down",
            ip.tcp("S"),
            Reason.DENIED,
            replace(others, backends=backends(BackendState.DOWN, number=OLD), flow=flow),
            ends_flow=True,
        ),
        drops("next datagram of a source that may not come, backend down", ip.udp(), Reason.DENIED, down),
        drops(
            "error about a handshake that was denied",
            ip.error(quoted),
            Reason.ICMP_UNKNOWN,
            replace(others, earlier=(ip.tcp("S"),)),
        ),
        drops(
            "fragment of a datagram that was denied",
            ip.fragment(3),
            Reason.LOST_FRAGMENT,
            replace(others, earlier=(ip.first_fragment(),)),
        ),
    ]


def is_not_asked(ip: Family) -> list[Case]:
    """What has a flow goes on, and what no list is about is as it was."""
    flow, datagrams = Entry(backend=OLD), Entry(backend=OLD, protocol=Protocol.UDP)
    given = replace(nobody(), flow=flow)
    quoted = ip.quote(ip.tcp(client=ip.vip, vip=ip.client, client_port=104, port=40_000), 8)
    wrong = ip.tcp("S", UNSERVED, seq=7)
    return [
        sends(
            "data on a flow of a source that may not come by now",
            ip.tcp("PA"),
            OLD,
            Reason.ESTABLISHED,
            given,
            after=flow,
        ),
        drops(
            "SYN on a flow of a source that may not come by now",
            ip.tcp("S"),
            Reason.DENIED,
            given,
            after=flow,
        ),
        sends(
            "datagram on a flow of a source that may not come by now",
            ip.udp(),
            OLD,
            Reason.UDP_ESTABLISHED,
            replace(nobody(), flow=datagrams),
            after=datagrams,
        ),
        sends("error about a flow where nobody may come", ip.error(quoted), OLD, Reason.ICMP_ERROR, given, after=flow),
        answers("ping of a source that may not come", ip.ping(), ip.pong(), Reason.PING_REPLY, nobody()),
        refuses("SYN to a wrong port by a source that may not come", wrong, Reason.WRONG_PORT, nobody()),
        refuses("SYN to a UDP port by a source that may not come", ip.tcp("S", SYSLOG), Reason.WRONG_PORT, nobody()),
    ]


def may_come(ip: Family) -> list[Case]:
    bits = ip.client.max_prefixlen
    entered, allowed = Entry(backend=UDP_OWNER, protocol=Protocol.UDP), only(network(ip, 24))
    return [
        *(
            sends(
                f"SYN, a prefix of {length} bits lets it come",
                ip.tcp("S"),
                OWNER,
                Reason.SYN,
                only(network(ip, length)),
            )
            for length in (0, 1, bits // 2, bits - 1, bits)
        ),
        sends(
            "ACK of a source that may come", ip.tcp("A"), OWNER, Reason.PICKED_UP, allowed, after=Entry(backend=OWNER)
        ),
        sends("datagram of a source that may come", ip.udp(), UDP_OWNER, Reason.UDP_NEW, allowed, after=entered),
        sends(
            "first ACK of a source that may come",
            ip.tcp("A"),
            OWNER,
            Reason.FIRST_ACK,
            replace(allowed, earlier=(ip.tcp("S"),)),
            after=Entry(backend=OWNER),
        ),
    ]


def classes(ip: Family) -> list[Case]:
    bits = ip.client.max_prefixlen
    classed = only(network(ip, bits), row=CLASS)
    longest = Before(
        sources={network(ip, 0): 0, network(ip, 8): EMPTY_CLASS, network(ip, bits): CLASS}, classes=CLASSES
    )
    shorter = Before(sources={network(ip, 8): CLASS, others_of(ip): 0}, classes=CLASSES)
    empty = only(network(ip, 0), row=EMPTY_CLASS)
    in_class, datagrams = Entry(backend=CLASSED), Entry(backend=CLASSED, protocol=Protocol.UDP)
    kept = Entry(backend=OWNER)
    return [
        sends("SYN of a class", ip.tcp("S"), CLASSED, Reason.SYN, classed),
        sends("ACK of a class", ip.tcp("A"), CLASSED, Reason.PICKED_UP, classed, after=in_class),
        sends("datagram of a class", ip.udp(), CLASSED, Reason.UDP_NEW, classed, after=datagrams),
        sends(
            "first ACK of a class",
            ip.tcp("A"),
            CLASSED,
            Reason.FIRST_ACK,
            replace(classed, earlier=(ip.tcp("S"),)),
            after=in_class,
        ),
        sends(
            "data on a flow that is elsewhere than its class",
            ip.tcp("PA"),
            OWNER,
            Reason.ESTABLISHED,
            replace(classed, flow=kept),
            after=kept,
        ),
        sends("SYN, the longest prefix names its class", ip.tcp("S"), CLASSED, Reason.SYN, longest),
        sends("SYN, a shorter prefix names its class", ip.tcp("S"), CLASSED, Reason.SYN, shorter),
        refuses("SYN of a class that nobody takes", ip.tcp("S"), Reason.TURNED_AWAY, empty),
        refuses("datagram of a class that nobody takes", ip.udp(), Reason.TURNED_AWAY, empty),
        drops("ACK of a class that nobody takes", ip.tcp("A"), Reason.NO_BACKEND, empty),
        refuses(
            "SYN of a class whose backend is down",
            ip.tcp("S"),
            Reason.TURNED_AWAY,
            replace(classed, backends=backends(BackendState.DOWN, number=CLASSED)),
        ),
    ]


ROWS: list[Case] = of_both(is_denied, is_not_asked, may_come, classes)
