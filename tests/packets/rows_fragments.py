"""Rows: IPv4 fragments (RFC 791) follow the first one of their datagram, which alone has the ports."""

from __future__ import annotations

from ipaddress import IPv4Address

from scapy.layers.inet import ICMP, TCP
from scapy.packet import Raw

from lbctl.core.model import Protocol
from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, Entry, all_slots, backends, drops, owner, passes, sends
from tests.packets.frames import (
    CLIENT_PORT,
    COLLIDING,
    DATAGRAM,
    DICOM,
    FAR_VIP,
    FOREIGN,
    IP_OPTIONS,
    UNSERVED,
    cut,
    first_fragment,
    fragment,
    ipv4,
    padded,
)
from tests.packets.rig import backend_mac

OTHER_CLIENT = IPv4Address("10.0.0.2")
OWNER, TCP_OWNER = owner(Protocol.UDP), owner()
OLD = OWNER % 3 + 1
TCP_OLD = TCP_OWNER % 3 + 1
ENTERED = Entry(backend=OWNER, protocol=Protocol.UDP)
KEPT = Entry(backend=OLD, protocol=Protocol.UDP)
TCP_ENTERED = Entry(backend=TCP_OWNER)
SEGMENT = TCP(sport=CLIENT_PORT, dport=DICOM, flags="A") / Raw(bytes(8))
FIRST = first_fragment()
FIRST_SEGMENT = ipv4(SEGMENT, flags="MF", id=DATAGRAM)
FIRST_SYN = ipv4(TCP(sport=CLIENT_PORT, dport=DICOM, flags="S") / Raw(bytes(8)), flags="MF", id=DATAGRAM)
AFTER_FIRST = Before(earlier=(FIRST,))

FIRSTS = [
    sends("first fragment of a datagram", FIRST, OWNER, Reason.UDP_NEW, after=ENTERED),
    sends(
        "first fragment of a datagram on a flow", FIRST, OLD, Reason.UDP_ESTABLISHED, Before(flow=KEPT), after=KEPT
    ),
    sends("first fragment of a segment", FIRST_SEGMENT, TCP_OWNER, Reason.PICKED_UP, after=TCP_ENTERED),
    sends("first fragment of a SYN", FIRST_SYN, TCP_OWNER, Reason.SYN),
    sends(
        "first fragment of a segment on a flow", FIRST_SEGMENT, TCP_OLD, Reason.ESTABLISHED,
        Before(flow=Entry(backend=TCP_OLD)), after=Entry(backend=TCP_OLD),
    ),
    drops("first fragment that ends in the TCP header", cut(FIRST_SEGMENT, 16, honest=True), Reason.MALFORMED),
    drops("first fragment without a UDP header", cut(FIRST, 0, honest=True), Reason.MALFORMED),
    drops("first fragment of a ping", ipv4(ICMP() / Raw(bytes(16)), flags="MF"), Reason.ICMP_UNKNOWN),
    drops("first fragment of GRE", ipv4(Raw(bytes(16)), proto=47, flags="MF"), Reason.NO_SERVICE),
]  # fmt: skip

FOLLOWING = [
    sends(f"{name}, first one came by", frame, OWNER, Reason.FRAGMENT, AFTER_FIRST, after=ENTERED)
    for name, frame in (
        ("second fragment", fragment(3)),
        ("last fragment", fragment(6, more=False)),
        ("last fragment of one byte, padded", padded(fragment(6, more=False, data=b"x"))),
        ("last fragment without a byte", fragment(6, more=False, data=b"")),
        ("fragment at the end of the largest datagram", fragment(8191, more=False, data=b"x")),
        ("fragment with IP options", fragment(3, options=list(IP_OPTIONS))),
        ("fragment of 1,480 bytes", fragment(3, data=bytes(1480))),
        ("fragment that must not be fragmented", ipv4(Raw(bytes(16)), proto=17, frag=3, flags="DF", id=DATAGRAM)),
    )
] + [
    sends(
        "fragment after fragments", fragment(9, more=False), OWNER, Reason.FRAGMENT,
        Before(earlier=(FIRST, fragment(3), fragment(6))), after=ENTERED,
    ),
    sends("fragment a second time", fragment(3), OWNER, Reason.FRAGMENT, Before(earlier=(FIRST, fragment(3))), after=ENTERED),
    sends(
        "fragment of a segment", fragment(4, protocol=6), TCP_OWNER, Reason.FRAGMENT, Before(earlier=(FIRST_SEGMENT,)),
        after=TCP_ENTERED,
    ),
    sends(
        "fragment after a first one that was not entered", fragment(4, protocol=6), TCP_OWNER, Reason.FRAGMENT,
        Before(earlier=(FIRST_SEGMENT,), tokens=0),
    ),
    *(
        sends(
            f"fragment to a backend that is {state.name.lower()}", fragment(4, protocol=6), TCP_OLD, Reason.FRAGMENT,
            Before(backends=backends(state, number=TCP_OLD), flow=Entry(backend=TCP_OLD), earlier=(FIRST_SEGMENT,)),
            after=Entry(backend=TCP_OLD),
        )
        for state in (BackendState.DRAINING, BackendState.DOWN)
    ),
    drops(
        "fragment to an unresolved backend", fragment(3), Reason.UNRESOLVED,
        Before(backends=backends(number=OWNER, mac=b""), earlier=(FIRST,)), after=ENTERED,
    ),
    drops(
        "fragment that its backend sent back", fragment(3, source=backend_mac(OWNER)), Reason.LOOP_BACKEND, AFTER_FIRST,
        after=ENTERED,
    ),
]  # fmt: skip

LOST = [
    drops("fragment, first one is yet to come", fragment(3), Reason.LOST_FRAGMENT),
    drops("last fragment of one byte, first one is yet to come", fragment(3, more=False, data=b"x"), Reason.LOST_FRAGMENT),
    drops("fragment without a byte", fragment(3, data=b""), Reason.LOST_FRAGMENT),
    drops("fragment of a ping", fragment(3, protocol=1), Reason.LOST_FRAGMENT),
    *(
        drops(f"fragment {name}", frame, Reason.LOST_FRAGMENT, AFTER_FIRST, after=ENTERED)
        for name, frame in (
            ("of another datagram", fragment(3, id=0x1235)),
            ("of another protocol", fragment(3, protocol=6)),
            ("of another client", fragment(3, client=OTHER_CLIENT)),
            ("to another VIP", fragment(3, vip=FAR_VIP)),
        )
    ),
    drops(
        "fragment, first one found no backend", fragment(3), Reason.LOST_FRAGMENT,
        Before(backends={}, slots=all_slots(0, 0), earlier=(FIRST,)),
    ),
    drops(
        "fragment, first one was refused", fragment(3), Reason.LOST_FRAGMENT,
        Before(earlier=(first_fragment(UNSERVED),)),
    ),
]  # fmt: skip

FOREIGNERS = [
    passes("fragment to a foreign address", fragment(6, vip=FOREIGN)),
    passes("first fragment to a foreign address with the VIP's filter bit", first_fragment(vip=COLLIDING)),
    passes("fragment to a foreign address with the VIP's filter bit", fragment(3, vip=COLLIDING)),
]

ROWS: list[Case] = FIRSTS + FOLLOWING + LOST + FOREIGNERS
