"""Rows: VLAN tags (IEEE 802.1Q). What the other rows say holds in a VLAN as well: a selection, with each number of tags."""

from __future__ import annotations

from lbctl.core.tables import Lan
from lbctl.dataplane.layout import Reason
from tests.packets import (
    rows_errors,
    rows_fragments,
    rows_icmp,
    rows_link,
    rows_neighbours,
    rows_refused,
    rows_tcp,
    rows_udp,
)
from tests.packets.cases import USUAL, Before, Case, drops, in_vlan, of_both, owner, passes, sends
from tests.packets.families import Family
from tests.packets.frames import ONE_TAG, PRIORITY_TAG, TWO_TAGS, tagged
from tests.packets.wire import C_TAG, S_TAG
from tests.packets.world import HERE, OWN_MAC

OWNER = owner()
CHOSEN = {
    "SYN",
    "SYN with IP options",
    "established, backend up",
    "data on a flow",
    "SYN and FIN",
    "TCP header of 19 bytes, total length untrue",
    "first datagram",
    "next datagram, backend up",
    "UDP header of 7 bytes, total length untrue",
    "ping of 0 bytes",
    "ping of 57 bytes",
    "ping of 1452 bytes",
    "first fragment of a datagram",
    "second fragment, first one came by",
    "fragment, first one is yet to come",
    "error that quotes 548 bytes",
    "error about a handshake",
    "SYN, no service on the port",
    "1400 bytes of data, no service on the port",
    "datagram of 0 bytes, no service on the port",
    "datagram of 1400 bytes, no service on the port",
    "VIP, flooded frame for another station",
    "VIP, SYN on an interface that is not ours",
    "own frame came back",
    "SYN from the backend that owns its slot",
    "ARP broadcast",
    "ARP padded",
    "ARP, a stranger announces the VIP by a request",
    "own announcement came back",
    "solicitation",
    "solicitation without an option",
    "solicitation with many options",
    "solicitation by who has no address yet",
    "advertisement, a stranger announces the VIP",
    "IP header but for a byte",
    "jumbo segment",
}
ROOMS = (rows_link, rows_neighbours, rows_icmp, rows_tcp, rows_udp, rows_fragments, rows_errors, rows_refused)
UNTAGGED = [case for room in ROOMS for case in room.ROWS if case.name.removesuffix(" (IPv6)") in CHOSEN]
TAGGED = [in_vlan(case, tags) for tags in (ONE_TAG, TWO_TAGS, PRIORITY_TAG) for case in UNTAGGED]


def kinds(ip: Family) -> list[Case]:
    """The TPIDs and VLAN ids that there are."""
    given = {
        "provider's tag": ((S_TAG, 20),),
        "two customers' tags": ((C_TAG, 20), (C_TAG, 21)),
        "provider's tag within a customer's": ((C_TAG, 20), (S_TAG, 21)),
        "last VLAN": ((C_TAG, 0xFFF),),
        "last VLAN within the last VLAN": ((S_TAG, 0xFFFF), (C_TAG, 0xFFFF)),
        "VLAN within a priority tag": ((C_TAG, 0xE000), (C_TAG, 20)),
        "priority tag within a VLAN": ((S_TAG, 20), (C_TAG, 0xE000)),
    }
    return [in_vlan(sends(f"SYN, {name}", ip.tcp("S"), OWNER, Reason.SYN), tags) for name, tags in given.items()]


def elsewhere(ip: Family) -> list[Case]:
    """What is of another VLAN is not ours."""
    in_vlan_20, in_stack = Before(lan=Lan(HERE.ifindex, 20)), Before(lan=Lan(HERE.ifindex, 20 << 12 | 21))
    frames = {
        "untagged, we are in a VLAN": (ip.tcp("S"), in_vlan_20),
        "with a priority tag, we are in a VLAN": (tagged(ip.tcp("S"), PRIORITY_TAG), in_vlan_20),
        "in a VLAN, we are in none": (tagged(ip.tcp("S"), ONE_TAG), USUAL),
        "in another VLAN": (tagged(ip.tcp("S"), ((C_TAG, 21),)), in_vlan_20),
        "in a VLAN within our VLAN": (tagged(ip.tcp("S"), ((S_TAG, 20), (C_TAG, 21))), in_vlan_20),
        "in the outer one of our VLANs": (tagged(ip.tcp("S"), ((S_TAG, 20),)), in_stack),
        "in the inner one of our VLANs": (tagged(ip.tcp("S"), ((C_TAG, 21),)), in_stack),
        "in our VLANs the other way round": (tagged(ip.tcp("S"), ((S_TAG, 21), (C_TAG, 20))), in_stack),
    }
    return [passes(f"SYN {name}", frame, Reason.OTHER_LAN, before) for name, (frame, before) in frames.items()]


def pings(ip: Family) -> list[Case]:
    """A VIP is answered for on its own segment only, though packets to it are balanced on each of ours."""
    ours = Before(lans={Lan(HERE.ifindex, 20): OWN_MAC})
    return [
        drops(
            "ping in another VLAN of ours than the VIP's", tagged(ip.ping(), ((C_TAG, 20),)), Reason.ICMP_UNKNOWN, ours
        )
    ]


def neighbours() -> list[Case]:
    ours = Before(lans={Lan(HERE.ifindex, 20): OWN_MAC})
    tag = ((C_TAG, 20),)
    return [
        passes(f"{name} in another VLAN of ours than the VIP's", tagged(frame, tag), before=ours)
        for name, frame in (
            ("ARP", rows_neighbours.arp()),
            ("solicitation", rows_neighbours.solicitation()),
            ("announcement", rows_neighbours.claim()),
        )
    ]


ROWS: list[Case] = [*TAGGED, *of_both(kinds, elsewhere, pings), *neighbours()]
