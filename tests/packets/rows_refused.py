"""Rows: a port of a VIP without a service is refused (RFC 9293 section 3.5.2, RFC 1122 section 3.2.2), or nothing is said."""

from __future__ import annotations

from ipaddress import IPv4Address

from scapy.layers.inet import ICMP, IP, TCP
from scapy.packet import Raw

from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, answers, drops, passes
from tests.packets.frames import (
    CLIENT,
    CLIENT_MAC,
    CLIENT_PORT,
    COLLIDING,
    DICOM,
    FAR_VIP,
    IP_OPTIONS,
    SYSLOG,
    TCP_OPTIONS,
    UNSERVED,
    ether,
    first_fragment,
    padded,
    patched,
    tcp,
    udp,
)
from tests.packets.rig import OWN_MAC, VIP

SPENT = Before(tokens=0)
LAST = 0xFFFFFFFF
NOT_ONE_HOST = [
    IPv4Address(a) for a in ("0.0.0.0", "0.0.0.9", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255")
]


def reset(
    flags: str, *, seq: int = 0, ack: int = 0, port: int = UNSERVED, vip: IPv4Address = VIP, to: IPv4Address = CLIENT
) -> bytes:
    """The whole frame of a reset, sequence numbers as given."""
    header = IP(src=str(vip), dst=str(to), id=0, flags="DF", ttl=64)
    segment = TCP(sport=port, dport=CLIENT_PORT, flags=flags, seq=seq, ack=ack, window=0)
    return ether(header / segment, source=OWN_MAC, destination=CLIENT_MAC)


def unreachable(frame: bytes, vip: IPv4Address = VIP) -> bytes:
    """The whole frame that says that the port of that frame is unreachable."""
    header = IP(src=str(vip), dst=str(CLIENT), id=0, flags="DF", ttl=64)
    return ether(header / ICMP(type=3, code=3) / Raw(frame[14:42]), source=OWN_MAC, destination=CLIENT_MAC)


RESETS = [
    answers(f"{name}, no service on the port", frame, out, Reason.WRONG_PORT)
    for name, frame, out in (
        ("SYN", tcp("S", UNSERVED, seq=7), reset("RA", ack=8)),
        ("SYN of the last number", tcp("S", UNSERVED, seq=LAST), reset("RA", ack=0)),
        ("SYN with data", tcp("S", UNSERVED, seq=7, data=b"fast open"), reset("RA", ack=17)),
        ("SYN padded", padded(tcp("S", UNSERVED, seq=7)), reset("RA", ack=8)),
        ("SYN with TCP options", tcp("S", UNSERVED, seq=7, options=TCP_OPTIONS), reset("RA", ack=8)),
        ("SYN with IP options", tcp("S", UNSERVED, seq=7, ip_options=IP_OPTIONS), reset("RA", ack=8)),
        ("SYN that offers congestion notification", tcp("SEC", UNSERVED, seq=7), reset("RA", ack=8)),
        ("ACK", tcp("A", UNSERVED, seq=7, ack=9), reset("R", seq=9)),
        ("ACK of the last number", tcp("A", UNSERVED, ack=LAST), reset("R", seq=LAST)),
        ("FIN and ACK", tcp("FA", UNSERVED, seq=7, ack=9), reset("R", seq=9)),
        ("FIN", tcp("F", UNSERVED, seq=7), reset("RA", ack=8)),
        ("FIN with data", tcp("F", UNSERVED, seq=LAST, data=bytes(4)), reset("RA", ack=4)),
        ("no flags", tcp("", UNSERVED, seq=7), reset("RA", ack=7)),
        ("data without an ACK", tcp("P", UNSERVED, seq=7, data=bytes(100)), reset("RA", ack=107)),
        ("data with both kinds of options", tcp(
            "P", UNSERVED, seq=7, data=bytes(100), options=TCP_OPTIONS, ip_options=IP_OPTIONS
        ), reset("RA", ack=107)),
        *(
            (f"{size} bytes of data", tcp("PA", UNSERVED, ack=9, data=b"\xa5" * size), reset("R", seq=9))
            for size in (1, 5, 6, 7, 1459, 1460)
        ),
    )
] + [
    answers("SYN to a UDP service", tcp("S", SYSLOG), reset("RA", ack=2, port=SYSLOG), Reason.WRONG_PORT),
    answers("SYN to port 0", tcp("S", 0), reset("RA", ack=2, port=0), Reason.WRONG_PORT),
    answers(
        "SYN to a VIP without services", tcp("S", vip=FAR_VIP), reset("RA", ack=2, port=DICOM, vip=FAR_VIP),
        Reason.WRONG_PORT,
    ),
]  # fmt: skip

UNREACHABLES = [
    answers(f"datagram {name}, no service on the port", frame, unreachable(frame), Reason.WRONG_PORT)
    for name, frame in (
        *((f"of {size} bytes", udp(UNSERVED, data=b"\xa5" * size)) for size in (0, 1, 17, 18, 19, 1400, 1471, 1472)),
        ("padded", padded(udp(UNSERVED))),
        ("padded, empty", padded(udp(UNSERVED, data=b""))),
        ("without a checksum", patched(udp(UNSERVED), 40, b"\0\0")),
        ("not to be fragmented", udp(UNSERVED, flags="DF", id=LAST >> 16, tos=0xB8, ttl=1)),
        ("in a first fragment", first_fragment(UNSERVED)),
    )
] + [
    answers("datagram to a TCP service", udp(DICOM), unreachable(udp(DICOM)), Reason.WRONG_PORT),
    answers(
        "datagram to a VIP without services", udp(vip=FAR_VIP), unreachable(udp(vip=FAR_VIP), FAR_VIP), Reason.WRONG_PORT
    ),
]  # fmt: skip

SILENT = [
    *(
        drops(f"{name}, no service on the port", frame, Reason.NO_SERVICE)
        for name, frame in (
            ("RST", tcp("R", UNSERVED)),
            ("RST and ACK", tcp("RA", UNSERVED, ack=9)),
            ("RST with data", tcp("R", UNSERVED, data=bytes(100))),
            ("datagram with IP options", udp(UNSERVED, options=list(IP_OPTIONS))),
            *(
                (f"data offset of {words}", patched(tcp("S", UNSERVED), 46, bytes((words << 4,))))
                for words in (0, 1, 4, 6, 15)
            ),
        )
    ),
    *(drops(f"SYN from {source}, no service on the port", tcp("S", UNSERVED, client=source), Reason.NO_SERVICE)
      for source in NOT_ONE_HOST),
    *(drops(f"datagram from {source}, no service on the port", udp(UNSERVED, client=source), Reason.NO_SERVICE)
      for source in NOT_ONE_HOST),
    drops("SYN, no service on the port, too many before", tcp("S", UNSERVED), Reason.NO_SERVICE, SPENT),
    drops("datagram, no service on the port, too many before", udp(UNSERVED), Reason.NO_SERVICE, SPENT),
    drops("SYN and ACK, no service on the port", tcp("SA", UNSERVED), Reason.MALFORMED),
    passes("SYN to a foreign address with the VIP's filter bit", tcp("S", UNSERVED, vip=COLLIDING)),
    passes("datagram to a foreign address with the VIP's filter bit", udp(UNSERVED, vip=COLLIDING)),
]  # fmt: skip

ROWS: list[Case] = RESETS + UNREACHABLES + SILENT
