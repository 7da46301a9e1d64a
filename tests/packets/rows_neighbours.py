"""Rows: ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861) about the VIPs."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.inet6 import ICMPv6NDOptUnknown as Option
from scapy.layers.l2 import ARP
from scapy.packet import Raw

from lbctl.core.model import Address
from lbctl.dataplane.layout import Reason
from tests.packets.cases import USUAL, Before, Case, answers, drops, in_ipv6, passes
from tests.packets.frames import (
    BROADCAST,
    CLIENT,
    CLIENT6,
    CLIENT_MAC,
    COLLIDING,
    COLLIDING6,
    ETHERNET_HEADER,
    FOREIGN,
    FOREIGN6,
    OTHER_MAC,
    ether,
    padded,
    patched,
    with_length,
)
from tests.packets.replies import ALL_NODES, ALL_NODES_MAC
from tests.packets.world import DIRECTOR, DIRECTOR6, FAR_VIP, FAR_VIP6, OWN_MAC, VIP, VIP6, backend_mac

NOWHERE, NOWHERE6 = IPv4Address(0), IPv6Address(0)
ROUTED, NO_INTERFACE = Before(is_routed=True), Before(has_interface=False)


def arp(
    target: Address = VIP,
    *,
    source: bytes = CLIENT_MAC,
    destination: bytes = BROADCAST,
    sender: Address = CLIENT,
    sender_mac: bytes = CLIENT_MAC,
    **fields: Any,
) -> bytes:
    """An ARP request; ``fields`` are scapy's of the ARP header."""
    asked = {
        "op": 1,
        "hwsrc": sender_mac.hex(":"),
        "psrc": str(sender),
        "hwdst": "00:00:00:00:00:00",
        "pdst": str(target),
    }
    return ether(ARP(**(asked | fields)), source=source, destination=destination)


def arp_reply(*, to: IPv4Address = CLIENT, to_mac: bytes = CLIENT_MAC, vip: IPv4Address = VIP) -> bytes:
    """The answer that must be given for a VIP."""
    told = ARP(op=2, hwsrc=OWN_MAC.hex(":"), psrc=str(vip), hwdst=to_mac.hex(":"), pdst=str(to))
    return ether(told, source=OWN_MAC, destination=to_mac)


ASKED = [
    answers("ARP broadcast", arp(), arp_reply(), Reason.ARP_REPLY),
    answers("ARP unicast", arp(destination=OWN_MAC), arp_reply(), Reason.ARP_REPLY),
    answers("ARP padded", padded(arp()), padded(arp_reply()), Reason.ARP_REPLY),
    answers("ARP probe of RFC 5227", arp(sender=NOWHERE), arp_reply(to=NOWHERE), Reason.ARP_REPLY),
    answers(
        "ARP for a station behind a bridge that rewrites",
        arp(sender_mac=OTHER_MAC),
        arp_reply(to_mac=OTHER_MAC),
        Reason.ARP_REPLY,
    ),
    answers("ARP by a backend", arp(sender_mac=backend_mac(1)), arp_reply(to_mac=backend_mac(1)), Reason.ARP_REPLY),
    *(
        passes(name, frame, before=before)
        for name, frame, before in (
            ("ARP for a foreign address", arp(FOREIGN), USUAL),
            ("ARP for a foreign address with the VIP's filter bit", arp(COLLIDING), USUAL),
            ("ARP for the director", arp(DIRECTOR), USUAL),
            ("ARP for a VIP of another interface", arp(FAR_VIP), USUAL),
            ("ARP for a VIP that is routed to us", arp(), ROUTED),
            ("ARP to another station", arp(destination=OTHER_MAC), USUAL),
            ("ARP to a group", arp(destination=bytes.fromhex("01005e000001")), USUAL),
            ("ARP reply", arp(op=2), USUAL),
            ("reverse ARP", arp(op=3), USUAL),
            ("ARP of another hardware type", arp(hwtype=6), USUAL),
            ("ARP of another protocol", arp(ptype=0x86DD), USUAL),
            ("ARP with addresses of another hardware size", arp(hwlen=8), USUAL),
            ("ARP with addresses of another protocol size", arp(plen=16), USUAL),
            ("ARP cut by one byte", arp()[:-1], USUAL),
            ("ARP without a body", arp()[: ETHERNET_HEADER + 8], USUAL),
            ("ARP on an interface that is not ours", arp(), NO_INTERFACE),
        )
    ),
    drops("own announcement came back", arp(source=OWN_MAC, sender=VIP, sender_mac=OWN_MAC), Reason.LOOP_OWN),
    passes("own question for a server came back", arp(FOREIGN, source=OWN_MAC, sender=DIRECTOR, sender_mac=OWN_MAC)),
]

CLAIMED = [
    passes(f"ARP, a stranger {name}", frame, Reason.VIP_CLAIMED)
    for name, frame in (
        ("announces the VIP by a request", arp(sender=VIP)),
        ("announces the VIP by a reply", arp(op=2, sender=VIP, hwdst="ff:ff:ff:ff:ff:ff")),
        (
            "answers for the VIP",
            arp(CLIENT, op=2, sender=VIP, source=OTHER_MAC, sender_mac=OTHER_MAC, destination=CLIENT_MAC),
        ),
        ("asks for another from the VIP", arp(FOREIGN, sender=VIP)),
        ("that is a backend announces the VIP", arp(sender=VIP, source=backend_mac(2), sender_mac=backend_mac(2))),
    )
] + [
    passes("ARP, a stranger announces a VIP of another interface", arp(FAR_VIP, sender=FAR_VIP)),
    passes("ARP, a stranger announces a VIP that is routed to us", arp(sender=VIP), before=ROUTED),
    passes("ARP, a stranger announces a foreign address", arp(FOREIGN, sender=FOREIGN)),
]


# Neighbour discovery -------------------------------------------------------------------------------------------------


def group_of(address: Address) -> tuple[IPv6Address, bytes]:
    """The solicited-node group of an address, and its MAC."""
    low = address.packed[-3:]
    return IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + low), b"\x33\x33\xff" + low


def solicitation(
    target: Address = VIP6,
    *,
    client: Address = CLIENT6,
    source: bytes = CLIENT_MAC,
    to: Address | None = None,
    destination: bytes | None = None,
    has_option: bool = True,
    more: Any = None,
    hlim: int = 255,
    **fields: Any,
) -> bytes:
    """A neighbour solicitation, to the target's group if not said otherwise; ``fields`` are scapy's of the message."""
    group, group_mac = group_of(target)
    message = ICMPv6ND_NS(tgt=str(target), **fields)
    if has_option and not client.is_unspecified:
        message /= ICMPv6NDOptSrcLLAddr(lladdr=source.hex(":"))
    header = IPv6(src=str(client), dst=str(to or group), hlim=hlim)
    return ether(
        header / message / more if more else header / message, source=source, destination=destination or group_mac
    )


def advertisement(to: IPv6Address = CLIENT6, *, destination: bytes = CLIENT_MAC, solicited: int = 1) -> bytes:
    """The answer that must be given for a VIP."""
    return claim(source=OWN_MAC, to=to, destination=destination, solicited=solicited)


def claim(
    vip: IPv6Address = VIP6,
    *,
    source: bytes = OTHER_MAC,
    to: IPv6Address = ALL_NODES,
    destination: bytes = ALL_NODES_MAC,
    solicited: int = 0,
    has_option: bool = True,
    hlim: int = 255,
) -> bytes:
    """A neighbour advertisement."""
    message = ICMPv6ND_NA(R=0, S=solicited, O=1, tgt=str(vip))
    if has_option:
        message /= ICMPv6NDOptDstLLAddr(lladdr=source.hex(":"))
    return ether(IPv6(src=str(vip), dst=str(to), hlim=hlim) / message, source=source, destination=destination)


def is_told(name: str, frame: bytes, before: Before = USUAL) -> Case:
    """The client is."""
    return answers(name, frame, advertisement(), Reason.NEIGHBOUR_REPLY, before)


SOLICITED = [
    is_told("solicitation", solicitation()),
    is_told("solicitation without an option", solicitation(has_option=False)),
    is_told(
        "solicitation with another option", solicitation(has_option=False, more=Option(type=14, len=1, data=bytes(6)))
    ),
    is_told("solicitation with many options", solicitation(more=Option(type=14, len=20, data=bytes(158)))),
    is_told("solicitation to our own MAC", solicitation(to=VIP6, destination=OWN_MAC)),
    is_told(
        "solicitation to our own MAC, without an option", solicitation(to=VIP6, destination=OWN_MAC, has_option=False)
    ),
    is_told("solicitation by broadcast", solicitation(destination=BROADCAST)),
    is_told("solicitation padded", padded(solicitation(), 128)),
    is_told("solicitation with reserved bits", solicitation(res=0xFFFFFFFF)),
    is_told("solicitation with a wrong checksum", solicitation(cksum=0xDEAD)),
    answers(
        "solicitation by who has no address yet",
        solicitation(client=NOWHERE6),
        advertisement(ALL_NODES, destination=ALL_NODES_MAC, solicited=0),
        Reason.NEIGHBOUR_REPLY,
    ),
    answers(
        "solicitation by a backend",
        solicitation(source=backend_mac(1)),
        advertisement(destination=backend_mac(1)),
        Reason.NEIGHBOUR_REPLY,
    ),
]

NOT_SOLICITED = [
    *(
        passes(f"solicitation {name}", frame, before=before)
        for name, frame, before in (
            ("for a foreign address", solicitation(FOREIGN6), USUAL),
            ("for a foreign address with the VIP's filter bit", solicitation(COLLIDING6), USUAL),
            ("for the director", solicitation(DIRECTOR6), USUAL),
            ("for a VIP of another interface", solicitation(FAR_VIP6), USUAL),
            ("for a VIP that is routed to us", solicitation(), ROUTED),
            ("on an interface that is not ours", solicitation(), NO_INTERFACE),
            ("to another station", solicitation(destination=OTHER_MAC), USUAL),
            ("that was forwarded", solicitation(hlim=254), USUAL),
            ("of another code", solicitation(code=1), USUAL),
            ("cut by one byte", solicitation(has_option=False)[:-1], USUAL),
            ("whose length says less", with_length(solicitation(), 63), USUAL),
        )
    ),
    drops(
        "solicitation to the VIP that was forwarded",
        solicitation(to=VIP6, destination=OWN_MAC, hlim=64),
        Reason.ICMP_UNKNOWN,
    ),
    drops("own solicitation came back", solicitation(source=OWN_MAC), Reason.LOOP_OWN),
    passes("own question for a server came back", solicitation(FOREIGN6, source=OWN_MAC)),
]

ADVERTISED = [
    passes(f"advertisement, a stranger {name}", frame, Reason.VIP_CLAIMED)
    for name, frame in (
        ("announces the VIP", claim()),
        ("announces the VIP without an option", claim(has_option=False)),
        ("answers for the VIP", claim(to=CLIENT6, destination=CLIENT_MAC, solicited=1)),
        ("answers us for the VIP", claim(to=DIRECTOR6, destination=OWN_MAC, solicited=1)),
        ("that is a backend announces the VIP", claim(source=backend_mac(2))),
    )
] + [
    passes(f"advertisement, {name}", frame, before=before)
    for name, frame, before in (
        ("a stranger announces a foreign address", claim(FOREIGN6), USUAL),
        ("a stranger announces a VIP of another interface", claim(FAR_VIP6), USUAL),
        ("a stranger announces a VIP that is routed to us", claim(), ROUTED),
        ("a stranger announces the VIP from afar", claim(hlim=64), USUAL),
        ("own, came back", claim(source=OWN_MAC), USUAL),
    )
]

VERSION_NOT_6 = patched(solicitation(), ETHERNET_HEADER, b"\x40")
BEHIND_OPTIONS = ether(
    IPv6(src=str(CLIENT6), dst=str(group_of(VIP6)[0]), hlim=255) / IPv6ExtHdrHopByHop() / Raw(solicitation()[54:]),
    destination=group_of(VIP6)[1],
)
ODD = [
    passes("solicitation of another version", VERSION_NOT_6),
    passes("solicitation behind extension headers", BEHIND_OPTIONS),
]

ROWS: list[Case] = [*ASKED, *CLAIMED, *in_ipv6([*SOLICITED, *NOT_SOLICITED, *ADVERTISED, *ODD])]
