"""Rows: a port of a VIP without a service is refused (RFC 9293 section 3.5.2, RFC 1122 section 3.2.2, RFC 4443 section 3.1), or
nothing is said."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from scapy.layers.inet import TCP
from scapy.packet import Raw

from lbctl.core.model import Address
from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, answers, drops, in_ipv6, of_both, passes
from tests.packets.families import IPV4, IPV6, Family
from tests.packets.frames import CLIENT_PORT, TCP_OPTIONS, UNSERVED, first_fragment, padded, patched
from tests.packets.world import DICOM, SYSLOG

SPENT = Before(tokens=0)
LAST = 0xFFFFFFFF
NOT_ONE_HOST = {
    4: ("0.0.0.0", "0.0.0.9", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    6: ("::", "::1", "ff02::1", "ff0e::7"),
}


def reset(ip: Family, flags: str, *, seq: int = 0, ack: int = 0, port: int = UNSERVED, **rest: Any) -> bytes:
    """The whole frame of a reset, sequence numbers as given."""
    return ip.by_vip(TCP(sport=port, dport=CLIENT_PORT, flags=flags, seq=seq, ack=ack, window=0), **rest)


def unreachable(ip: Family, frame: bytes, **rest: Any) -> bytes:
    """The whole frame that says that the port of that frame is unreachable."""
    return ip.by_vip(ip.message(*ip.port_unreachable) / Raw(ip.quote(frame, 8)), **rest)


def not_one_host(ip: Family) -> list[Address]:
    """Sources that an answer must not go to."""
    return [ip_address(text) for text in NOT_ONE_HOST[ip.version]]


def resets(ip: Family) -> list[Case]:
    return [
        answers(f"{name}, no service on the port", frame, out, Reason.WRONG_PORT)
        for name, frame, out in (
            ("SYN", ip.tcp("S", UNSERVED, seq=7), reset(ip, "RA", ack=8)),
            ("SYN of the last number", ip.tcp("S", UNSERVED, seq=LAST), reset(ip, "RA", ack=0)),
            ("SYN with data", ip.tcp("S", UNSERVED, seq=7, data=b"fast open"), reset(ip, "RA", ack=17)),
            ("SYN padded", padded(ip.tcp("S", UNSERVED, seq=7)), reset(ip, "RA", ack=8)),
            ("SYN with TCP options", ip.tcp("S", UNSERVED, seq=7, options=TCP_OPTIONS), reset(ip, "RA", ack=8)),
            ("SYN with IP options", ip.tcp("S", UNSERVED, seq=7, ip_options=ip.options), reset(ip, "RA", ack=8)),
            ("SYN that offers congestion notification", ip.tcp("SEC", UNSERVED, seq=7), reset(ip, "RA", ack=8)),
            ("ACK", ip.tcp("A", UNSERVED, seq=7, ack=9), reset(ip, "R", seq=9)),
            ("ACK of the last number", ip.tcp("A", UNSERVED, ack=LAST), reset(ip, "R", seq=LAST)),
            ("FIN and ACK", ip.tcp("FA", UNSERVED, seq=7, ack=9), reset(ip, "R", seq=9)),
            ("FIN", ip.tcp("F", UNSERVED, seq=7), reset(ip, "RA", ack=8)),
            ("FIN with data", ip.tcp("F", UNSERVED, seq=LAST, data=bytes(4)), reset(ip, "RA", ack=4)),
            ("no flags", ip.tcp("", UNSERVED, seq=7), reset(ip, "RA", ack=7)),
            ("data without an ACK", ip.tcp("P", UNSERVED, seq=7, data=bytes(100)), reset(ip, "RA", ack=107)),
            (
                "data with both kinds of options",
                ip.tcp("P", UNSERVED, seq=7, data=bytes(100), options=TCP_OPTIONS, ip_options=ip.options),
                reset(ip, "RA", ack=107),
            ),
            *(
                (f"{size} bytes of data", ip.tcp("PA", UNSERVED, ack=9, data=b"\xa5" * size), reset(ip, "R", seq=9))
                for size in (1, 5, 6, 7, 1_399, 1_400)
            ),
        )
    ] + [
        answers("SYN to a UDP service", ip.tcp("S", SYSLOG), reset(ip, "RA", ack=2, port=SYSLOG), Reason.WRONG_PORT),
        answers("SYN to port 0", ip.tcp("S", 0), reset(ip, "RA", ack=2, port=0), Reason.WRONG_PORT),
        answers(
            "SYN to a VIP without services",
            ip.tcp("S", vip=ip.far_vip),
            reset(ip, "RA", ack=2, port=DICOM, client=ip.far_vip),
            Reason.WRONG_PORT,
        ),
    ]


def unreachables(ip: Family) -> list[Case]:
    return [
        answers(f"datagram {name}, no service on the port", frame, unreachable(ip, frame), Reason.WRONG_PORT)
        for name, frame in (
            *(
                (f"of {size} bytes", ip.udp(UNSERVED, data=b"\xa5" * size))
                for size in (0, 1, 17, 18, 19, 1_400, 1_451, 1_452)
            ),
            ("padded", padded(ip.udp(UNSERVED))),
            ("padded, empty", padded(ip.udp(UNSERVED, data=b""))),
            ("without a checksum", patched(ip.udp(UNSERVED), ip.at(6), b"\0\0")),
        )
    ] + [
        answers("datagram to a TCP service", ip.udp(DICOM), unreachable(ip, ip.udp(DICOM)), Reason.WRONG_PORT),
        answers(
            "datagram to a VIP without services",
            ip.udp(vip=ip.far_vip),
            unreachable(ip, ip.udp(vip=ip.far_vip), client=ip.far_vip),
            Reason.WRONG_PORT,
        ),
    ]


def silent(ip: Family) -> list[Case]:
    return [
        *(
            drops(f"{name}, no service on the port", frame, Reason.NO_SERVICE)
            for name, frame in (
                ("RST", ip.tcp("R", UNSERVED)),
                ("RST and ACK", ip.tcp("RA", UNSERVED, ack=9)),
                ("RST with data", ip.tcp("R", UNSERVED, data=bytes(100))),
                ("datagram with IP options", ip.udp(UNSERVED, ip_options=ip.options)),
            )
        ),
        *(
            drops(
                f"data offset of {words}, no service on the port",
                patched(ip.tcp("S", UNSERVED), ip.at(12), bytes((words << 4,))),
                Reason.MALFORMED,
            )
            for words in (0, 1, 4, 6, 15)
        ),
        *(
            drops(f"SYN from {source}, no service on the port", ip.tcp("S", UNSERVED, client=source), Reason.NO_SERVICE)
            for source in not_one_host(ip)
        ),
        *(
            drops(f"datagram from {source}, no service on the port", ip.udp(UNSERVED, client=source), Reason.NO_SERVICE)
            for source in not_one_host(ip)
        ),
        drops("SYN, no service on the port, too many before", ip.tcp("S", UNSERVED), Reason.NO_SERVICE, SPENT),
        drops("datagram, no service on the port, too many before", ip.udp(UNSERVED), Reason.NO_SERVICE, SPENT),
        drops("SYN and ACK, no service on the port", ip.tcp("SA", UNSERVED), Reason.MALFORMED),
        passes("SYN to a foreign address with the VIP's filter bit", ip.tcp("S", UNSERVED, vip=ip.colliding)),
        passes("datagram to a foreign address with the VIP's filter bit", ip.udp(UNSERVED, vip=ip.colliding)),
    ]


def only_ipv4() -> list[Case]:
    ip = IPV4
    odd = {
        "not to be fragmented": ip.udp(UNSERVED, flags="DF", id=LAST >> 16, tos=0xB8, ttl=1),
        "in a first fragment": first_fragment(UNSERVED),
    }
    return [
        answers(f"datagram {name}, no service on the port", frame, unreachable(ip, frame), Reason.WRONG_PORT)
        for name, frame in odd.items()
    ]


def only_ipv6() -> list[Case]:
    ip = IPV6
    marked = ip.udp(UNSERVED, tc=0xB8, fl=0x12345, hlim=1)
    return [
        answers(
            "datagram with a class and a flow label, no service", marked, unreachable(ip, marked), Reason.WRONG_PORT
        ),
        answers(
            "SYN with a class and a flow label, no service",
            ip.tcp("S", UNSERVED, seq=7, tc=0xB8, fl=0x12345),
            reset(ip, "RA", ack=8),
            Reason.WRONG_PORT,
        ),
        drops("datagram in a first fragment, no service on the port", ip.first_fragment(UNSERVED), Reason.NO_SERVICE),
    ]


ROWS: list[Case] = [*of_both(resets, unreachables, silent), *only_ipv4(), *in_ipv6(only_ipv6())]
