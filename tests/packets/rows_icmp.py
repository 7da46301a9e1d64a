"""Rows: ping, and what else comes by ICMP but errors."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import ICMP
from scapy.packet import Raw

from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, answers, drops, in_ipv6, of_both
from tests.packets.families import IPV4, IPV6, Family
from tests.packets.frames import cut, padded, patched
from tests.packets.wire import ECHO, ECHO_REPLY

SIZES = (0, 1, 17, 56, 57, 1_451, 1_452)
ROUTED = Before(is_routed=True)


def answered(ip: Family) -> list[Case]:
    options = {"ip_options": ip.options}
    return [
        *(
            answers(
                f"ping of {size} bytes",
                padded(ip.ping(data=b"\xa5" * size)),
                padded(ip.pong(data=b"\xa5" * size)),
                Reason.PING_REPLY,
            )
            for size in SIZES
        ),
        answers("ping with IP options", ip.ping(**options), ip.pong(**options), Reason.PING_REPLY),
        answers("ping to a VIP that is routed to us", ip.ping(), ip.pong(), Reason.PING_REPLY, ROUTED),
    ]


def dropped(ip: Family) -> list[Case]:
    return [
        drops("ping to a VIP of another interface", ip.ping(vip=ip.far_vip), Reason.ICMP_UNKNOWN),
        drops(
            "echo reply to a VIP", patched(ip.ping(), ip.at(0), bytes((ECHO_REPLY[ip.version],))), Reason.ICMP_UNKNOWN
        ),
        drops("ping cut to 7 bytes", cut(ip.ping(), 7, honest=True), Reason.MALFORMED),
        drops("ping cut to 7 bytes, total length untrue", cut(ip.ping(), 7, honest=False), Reason.MALFORMED),
        drops("ping without a header", cut(ip.ping(), 0, honest=True), Reason.MALFORMED),
        drops("ping by the other family's ICMP", other_family(ip), Reason.NO_SERVICE),
    ]


def other_family(ip: Family) -> bytes:
    """ICMP in IPv6, or ICMPv6 in IPv4."""
    other = IPV6 if ip is IPV4 else IPV4
    return ip.packet(Raw(bytes((ECHO[other.version],)) + bytes(7)), protocol=other.icmp)


def only_ipv4() -> list[Case]:
    ip = IPV4
    fields: dict[str, dict[str, Any]] = {
        "with a class of service": {"tos": 0xB8},
        "that must not be fragmented": {"flags": "DF", "id": 0xFFFF},
        "without an IP identification": {"id": 0},
    }
    return [
        *(answers(f"ping with a TTL of {ttl}", ip.ping(ttl=ttl), ip.pong(), Reason.PING_REPLY) for ttl in (1, 64, 255)),
        *(
            answers(f"ping {name}", ip.ping(**given), ip.pong(**given), Reason.PING_REPLY)
            for name, given in fields.items()
        ),
        drops("redirect", ip.packet(ICMP(type=5) / Raw(ip.quote(ip.tcp(), 8))), Reason.ICMP_UNKNOWN),
        drops("timestamp request", ip.packet(ICMP(type=13)), Reason.ICMP_UNKNOWN),
    ]


def only_ipv6() -> list[Case]:
    ip = IPV6
    label: dict[str, Any] = {"tc": 0xB8, "fl": 0x12345}
    names = {130: "multicast listener query", 133: "router solicitation", 134: "router advertisement", 137: "redirect"}
    return [
        *(
            answers(f"ping with a hop limit of {hops}", ip.ping(hlim=hops), ip.pong(), Reason.PING_REPLY)
            for hops in (1, 64, 255)
        ),
        answers("ping with a class and a flow label", ip.ping(**label), ip.pong(**label), Reason.PING_REPLY),
        *(drops(name, ip.packet(ip.message(type_)), Reason.ICMP_UNKNOWN) for type_, name in names.items()),
        drops("error of a type to come", ip.packet(ip.message(5)), Reason.ICMP_UNKNOWN),
    ]


ROWS: list[Case] = [*of_both(answered, dropped), *only_ipv4(), *in_ipv6(only_ipv6())]
