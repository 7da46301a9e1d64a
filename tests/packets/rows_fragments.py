"""Rows: fragments (RFC 791, RFC 8200 section 4.5) follow the first one of their datagram, which alone has the ports."""

from __future__ import annotations

from scapy.layers.inet import TCP
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.packet import Raw

from lbctl.core.model import Protocol
from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, Entry, all_slots, backends, drops, in_ipv6, of_both, owner, passes, sends
from tests.packets.families import IPV4, IPV6, Family
from tests.packets.frames import CLIENT_PORT, DATAGRAM, EXTENSIONS, UNSERVED, cut, padded
from tests.packets.wire import ECHO
from tests.packets.world import DICOM, backend_mac

OWNER, TCP_OWNER = owner(Protocol.UDP), owner()
OLD = OWNER % 3 + 1
TCP_OLD = TCP_OWNER % 3 + 1
ENTERED = Entry(backend=OWNER, protocol=Protocol.UDP)
KEPT = Entry(backend=OLD, protocol=Protocol.UDP)
TCP_ENTERED = Entry(backend=TCP_OWNER)


def first_segment(ip: Family, flags: str = "A") -> bytes:
    """The first fragment of a segment."""
    return ip.first(TCP(sport=CLIENT_PORT, dport=DICOM, flags=flags) / Raw(bytes(8)))


def after_first(ip: Family) -> Before:
    """The first fragment came by."""
    return Before(earlier=(ip.first_fragment(),))


def firsts(ip: Family) -> list[Case]:
    return [
        sends("first fragment of a datagram", ip.first_fragment(), OWNER, Reason.UDP_NEW, after=ENTERED),
        sends(
            "first fragment of a datagram on a flow",
            ip.first_fragment(),
            OLD,
            Reason.UDP_ESTABLISHED,
            Before(flow=KEPT),
            after=KEPT,
        ),
        sends("first fragment of a segment", first_segment(ip), TCP_OWNER, Reason.PICKED_UP, after=TCP_ENTERED),
        sends("first fragment of a SYN", first_segment(ip, "S"), TCP_OWNER, Reason.SYN),
        sends(
            "first fragment of a segment on a flow",
            first_segment(ip),
            TCP_OLD,
            Reason.ESTABLISHED,
            Before(flow=Entry(backend=TCP_OLD)),
            after=Entry(backend=TCP_OLD),
        ),
        drops("first fragment that ends in the TCP header", cut(first_segment(ip), 16, honest=True), Reason.MALFORMED),
        drops("first fragment without a UDP header", cut(ip.first_fragment(), 0, honest=True), Reason.MALFORMED),
        drops("first fragment of a ping", ip.first(ip.message(ECHO[ip.version]) / Raw(bytes(16))), Reason.ICMP_UNKNOWN),
        drops("first fragment of GRE", ip.first(Raw(bytes(16)), protocol=47), Reason.NO_SERVICE),
    ]


def following(ip: Family) -> list[Case]:
    return [
        sends(f"{name}, first one came by", frame, OWNER, Reason.FRAGMENT, after_first(ip), after=ENTERED)
        for name, frame in (
            ("second fragment", ip.fragment(3)),
            ("last fragment", ip.fragment(6, more=False)),
            ("last fragment of one byte, padded", padded(ip.fragment(6, more=False, data=b"x"))),
            ("last fragment without a byte", ip.fragment(6, more=False, data=b"")),
            ("fragment at the end of the largest datagram", ip.fragment(8191, more=False, data=b"x")),
            ("fragment with IP options", ip.fragment(3, ip_options=ip.options)),
            ("fragment of 1,480 bytes", ip.fragment(3, data=bytes(1480))),
        )
    ]


def after_others(ip: Family) -> list[Case]:
    """What came before is not as usual, or where it goes to."""
    return [
        sends(
            "fragment after fragments",
            ip.fragment(9, more=False),
            OWNER,
            Reason.FRAGMENT,
            Before(earlier=(ip.first_fragment(), ip.fragment(3), ip.fragment(6))),
            after=ENTERED,
        ),
        sends(
            "fragment a second time",
            ip.fragment(3),
            OWNER,
            Reason.FRAGMENT,
            Before(earlier=(ip.first_fragment(), ip.fragment(3))),
            after=ENTERED,
        ),
        sends(
            "fragment of a segment",
            ip.fragment(4, protocol=6),
            TCP_OWNER,
            Reason.FRAGMENT,
            Before(earlier=(first_segment(ip),)),
            after=TCP_ENTERED,
        ),
        sends(
            "fragment after a first one that was not entered",
            ip.fragment(4, protocol=6),
            TCP_OWNER,
            Reason.FRAGMENT,
            Before(earlier=(first_segment(ip),), tokens=0),
        ),
        *(
            sends(
                f"fragment to a backend that is {state.name.lower()}",
                ip.fragment(4, protocol=6),
                TCP_OLD,
                Reason.FRAGMENT,
                Before(
                    backends=backends(state, number=TCP_OLD), flow=Entry(backend=TCP_OLD), earlier=(first_segment(ip),)
                ),
                after=Entry(backend=TCP_OLD),
            )
            for state in (BackendState.DRAINING, BackendState.DOWN)
        ),
    ]


def not_sent(ip: Family) -> list[Case]:
    return [
        drops(
            "fragment to an unresolved backend",
            ip.fragment(3),
            Reason.UNRESOLVED,
            Before(backends=backends(number=OWNER, mac=b""), earlier=(ip.first_fragment(),)),
            after=ENTERED,
        ),
        drops(
            "fragment that its backend sent back",
            ip.fragment(3, source=backend_mac(OWNER)),
            Reason.LOOP_BACKEND,
            after_first(ip),
            after=ENTERED,
        ),
    ]


def lost(ip: Family) -> list[Case]:
    return [
        drops("fragment, first one is yet to come", ip.fragment(3), Reason.LOST_FRAGMENT),
        drops(
            "last fragment of one byte, first one is yet to come",
            ip.fragment(3, more=False, data=b"x"),
            Reason.LOST_FRAGMENT,
        ),
        drops("fragment without a byte", ip.fragment(3, data=b""), Reason.LOST_FRAGMENT),
        drops("fragment of a ping", ip.fragment(3, protocol=ip.icmp), Reason.LOST_FRAGMENT),
        *(
            drops(f"fragment {name}", frame, Reason.LOST_FRAGMENT, after_first(ip), after=ENTERED)
            for name, frame in (
                ("of another datagram", ip.fragment(3, id=0x1235)),
                ("of another client", ip.fragment(3, client=ip.foreign)),
                ("to another VIP", ip.fragment(3, vip=ip.far_vip)),
            )
        ),
        drops(
            "fragment, first one found no backend",
            ip.fragment(3),
            Reason.LOST_FRAGMENT,
            Before(backends={}, slots=all_slots(0, 0), earlier=(ip.first_fragment(),)),
        ),
        drops(
            "fragment, first one was refused",
            ip.fragment(3),
            Reason.LOST_FRAGMENT,
            Before(earlier=(ip.first_fragment(UNSERVED),)),
        ),
    ]


def foreigners(ip: Family) -> list[Case]:
    return [
        passes("fragment to a foreign address", ip.fragment(6, vip=ip.foreign)),
        passes("first fragment to a foreign address with the VIP's filter bit", ip.first_fragment(vip=ip.colliding)),
        passes("fragment to a foreign address with the VIP's filter bit", ip.fragment(3, vip=ip.colliding)),
    ]


def only_ipv4() -> list[Case]:
    ip = IPV4
    odd = ip.packet(Raw(bytes(16)), protocol=17, frag=3, flags="DF", id=DATAGRAM)
    return [
        sends("fragment that must not be fragmented", odd, OWNER, Reason.FRAGMENT, after_first(ip), after=ENTERED),
        drops(
            "fragment of another protocol",
            ip.fragment(3, protocol=6),
            Reason.LOST_FRAGMENT,
            after_first(ip),
            after=ENTERED,
        ),
    ]


def only_ipv6() -> list[Case]:
    ip, atomic, option = IPV6, IPv6ExtHdrFragment(id=DATAGRAM), EXTENSIONS[1:]
    longest = 0xFFFF1234
    return [
        sends("atomic fragment of a SYN (RFC 6946)", ip.tcp("S", ip_options=[atomic]), TCP_OWNER, Reason.SYN),
        sends("atomic fragment of a datagram", ip.udp(ip_options=[atomic]), OWNER, Reason.UDP_NEW, after=ENTERED),
        drops(
            "fragment after an atomic one",
            ip.fragment(3),
            Reason.LOST_FRAGMENT,
            Before(earlier=(ip.udp(ip_options=[atomic]),)),
            after=ENTERED,
        ),
        sends(
            "fragment whose identification takes 32 bits",
            ip.fragment(3, id=longest),
            OWNER,
            Reason.FRAGMENT,
            Before(earlier=(ip.first_fragment(id=longest),)),
            after=ENTERED,
        ),
        drops(
            "fragment whose identification has the same low half",
            ip.fragment(3, id=longest),
            Reason.LOST_FRAGMENT,
            after_first(ip),
            after=ENTERED,
        ),
        sends(
            "fragment that names another protocol",
            ip.fragment(3, protocol=6),
            OWNER,
            Reason.FRAGMENT,
            after_first(ip),
            after=ENTERED,
        ),
        sends(
            "fragment whose payload begins as an extension header",
            ip.fragment(3, protocol=60, data=b"\xff" * 16),
            OWNER,
            Reason.FRAGMENT,
            after_first(ip),
            after=ENTERED,
        ),
        sends(
            "fragment behind extension headers",
            ip.fragment(3, ip_options=option * 5),
            OWNER,
            Reason.FRAGMENT,
            after_first(ip),
            after=ENTERED,
        ),
        drops(
            "fragment behind more extension headers than are followed",
            ip.fragment(3, ip_options=option * 6),
            Reason.MALFORMED,
        ),
        drops("fragment header cut off", cut(ip.fragment(3), 0, honest=False)[:-1], Reason.MALFORMED),
    ]


ROWS: list[Case] = [
    *of_both(firsts, following, after_others, not_sent, lost, foreigners),
    *only_ipv4(),
    *in_ipv6(only_ipv6()),
]
