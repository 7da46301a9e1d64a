"""Rows: ping, and what else comes by ICMP but errors."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP

from lbctl.dataplane.layout import Reason
from tests.packets.cases import Case, answers, drops
from tests.packets.frames import FAR_VIP, IP_OPTIONS, cut, ipv4, padded, patched, ping, pong
from tests.packets.rig import VIP

QUOTED = IP(src=str(VIP), dst="10.0.0.1") / TCP(sport=104, dport=40_000)

PINGS = [
    answers(
        f"ping of {size} bytes",
        padded(ping(data=b"\xa5" * size)),
        padded(pong(data=b"\xa5" * size)),
        Reason.PING_REPLY,
    )
    for size in (0, 1, 17, 56, 57, 1471, 1472)
]

ANSWERED = [
    *PINGS,
    answers("ping with a TTL of 1", ping(ttl=1), pong(), Reason.PING_REPLY),
    answers("ping with a TTL of 64", ping(ttl=64), pong(), Reason.PING_REPLY),
    answers("ping with a TTL of 255", ping(ttl=255), pong(), Reason.PING_REPLY),
    answers("ping with IP options", ping(options=list(IP_OPTIONS)), pong(options=list(IP_OPTIONS)), Reason.PING_REPLY),
    answers("ping with a class of service", ping(tos=0xB8), pong(tos=0xB8), Reason.PING_REPLY),
    answers(
        "ping that must not be fragmented", ping(flags="DF", id=0xFFFF), pong(flags="DF", id=0xFFFF), Reason.PING_REPLY
    ),
    answers("ping without an IP identification", ping(id=0), pong(id=0), Reason.PING_REPLY),
]

DROPPED = [
    drops("ping to a VIP of another interface", ping(vip=FAR_VIP), Reason.ICMP_UNKNOWN),
    drops("echo reply to a VIP", patched(ping(), 34, b"\x00"), Reason.ICMP_UNKNOWN),
    drops("redirect", ipv4(ICMP(type=5) / QUOTED), Reason.ICMP_UNKNOWN),
    drops("timestamp request", ipv4(ICMP(type=13)), Reason.ICMP_UNKNOWN),
    drops("ping cut to 7 bytes", cut(ping(), 7, honest=True), Reason.MALFORMED),
    drops("ping cut to 7 bytes, total length untrue", cut(ping(), 7, honest=False), Reason.MALFORMED),
    drops("ping without a header", cut(ping(), 0, honest=True), Reason.MALFORMED),
]

ROWS: list[Case] = ANSWERED + DROPPED
