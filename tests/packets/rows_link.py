"""Rows: what is ours at all, and IP headers that claim what is not so."""

from __future__ import annotations

from ipaddress import IPv6Address

from scapy.layers.ipsec import AH
from scapy.layers.l2 import LLC, STP, Dot1Q, Ether
from scapy.packet import Raw

from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, Entry, drops, in_ipv6, of_both, owner, passes, sends
from tests.packets.families import IPV6, Family
from tests.packets.frames import (
    BROADCAST,
    CLIENT_MAC,
    ETHERNET_HEADER,
    EXTENSIONS,
    OTHER_MAC,
    ROUTING,
    TCP_OPTIONS,
    ether,
    patched,
    tagged,
    tcp,
    with_length,
)
from tests.packets.replies import ALL_NODES, ALL_NODES_MAC
from tests.packets.wire import C_TAG, DESTINATION_OPTIONS, MOST_EXTENSIONS, TCP
from tests.packets.world import OWN_MAC, backend_mac

OWNER = owner()
ANOTHER = OWNER % 3 + 1
LLDP = Raw(bytes.fromhex("0207040200000000010602070000000000") + bytes(30))
NO_INTERFACE = Before(has_interface=False)


def admission(ip: Family) -> list[Case]:
    return [
        *(
            passes(f"foreign {name}", frame)
            for name, frame in (
                ("address", ip.tcp("S", vip=ip.foreign)),
                ("address, another station's frame", ip.tcp("S", vip=ip.foreign, destination=OTHER_MAC)),
                ("address, own source MAC", ip.tcp("S", vip=ip.foreign, source=OWN_MAC)),
                ("UDP", ip.udp(vip=ip.foreign)),
                ("ping", ip.ping(vip=ip.foreign)),
            )
        ),
        passes("the director's own address", ip.tcp("S", port=22, vip=ip.director)),
        passes("VIP, flooded frame for another station", ip.tcp("S", destination=OTHER_MAC), Reason.OTHER_MAC),
        passes("VIP, broadcast frame", ip.tcp("S", destination=BROADCAST), Reason.OTHER_MAC),
        passes("VIP, multicast frame", ip.udp(destination=bytes.fromhex("01005e000001")), Reason.OTHER_MAC),
        passes("VIP, flooded ping", ip.ping(destination=OTHER_MAC), Reason.OTHER_MAC),
        *(
            passes(f"VIP, {name} on an interface that is not ours", frame, Reason.OTHER_LAN, NO_INTERFACE)
            for name, frame in (
                ("SYN", ip.tcp("S")),
                ("datagram", ip.udp()),
                ("ping", ip.ping()),
                ("fragment", ip.fragment(3)),
            )
        ),
        drops("own frame came back", ip.tcp("S", source=OWN_MAC), Reason.LOOP_OWN),
        drops("own frame, flooded", ip.tcp("A", source=OWN_MAC, destination=backend_mac(1)), Reason.LOOP_OWN),
        drops(
            "own probe came back from a backend",
            ip.tcp("S", client=ip.director, source=backend_mac(2)),
            Reason.LOOP_OWN,
        ),
        drops("SYN from the backend that owns its slot", ip.tcp("S", source=backend_mac(OWNER)), Reason.LOOP_BACKEND),
        drops(
            "established, from the flow's backend",
            ip.tcp("A", source=backend_mac(ANOTHER)),
            Reason.LOOP_BACKEND,
            Before(flow=Entry(backend=ANOTHER)),
        ),
        sends("SYN from a backend that is a client", ip.tcp("S", source=backend_mac(ANOTHER)), OWNER, Reason.SYN),
    ]


def other_protocols(ip: Family) -> list[Case]:
    return [
        drops("GRE to a VIP", ip.packet(Raw(bytes(8)), protocol=47), Reason.NO_SERVICE),
        drops("SCTP to a VIP", ip.packet(Raw(bytes(12)), protocol=132), Reason.NO_SERVICE),
        drops("protocol of nobody", ip.packet(Raw(b"\x45"), protocol=255), Reason.NO_SERVICE),
        passes("IP header but for a byte", ip.tcp()[: ETHERNET_HEADER + ip.header_bytes - 1]),
    ]


def not_ip() -> list[Case]:
    third = tagged(ether(Dot1Q(vlan=6) / Raw(tcp()[14:])), ((C_TAG, 5), (C_TAG, 4)))
    return [
        passes("LLDP", bytes(Ether(dst="01:80:c2:00:00:0e", src=CLIENT_MAC.hex(":"), type=0x88CC) / LLDP)),
        passes("spanning tree", ether(LLC() / STP(), destination=bytes.fromhex("0180c2000000"))),
        passes("jumbo ethertype of nobody", patched(tcp(), 12, b"\x88\x70")),
        passes("three VLAN tags", patched(third, 20, b"\x81\x00\x00\x06\x08\x00")),
        passes("VLAN tag of an earlier kind", tagged(tcp(), ((0x9100, 5),))),
        *(passes(f"frame of {size} bytes", tcp()[:size]) for size in (14, 15, 18, 21, 22)),
    ]


def bad_headers(ip: Family) -> list[Case]:
    other, own = (b"\x65", 4) if ip.version == 4 else (b"\x45", 6)
    tcp_end, udp_end = ip.header_bytes + 20, ip.header_bytes + 8
    return [
        drops(f"the other version where IPv{own} stands", patched(ip.tcp(), ETHERNET_HEADER, other), Reason.MALFORMED),
        drops("version 0", patched(ip.tcp(), ETHERNET_HEADER, b"\x05"), Reason.MALFORMED),
        drops("total length of the header alone", with_length(ip.tcp(), ip.header_bytes), Reason.MALFORMED),
        drops("total length that ends in the TCP header", with_length(ip.tcp(), tcp_end - 1), Reason.MALFORMED),
        drops("total length that ends in the UDP header", with_length(ip.udp(), udp_end - 1), Reason.MALFORMED),
        drops(
            "total length that ends in the options of IP",
            with_length(ip.tcp(ip_options=ip.options), ip.header_bytes + 7),
            Reason.MALFORMED,
        ),
        sends(
            "total length beyond the frame, for its receiver to judge",
            with_length(ip.tcp("S"), 1500),
            OWNER,
            Reason.SYN,
        ),
        sends("jumbo segment", ip.tcp("PA", data=bytes(8_900)), OWNER, Reason.PICKED_UP, after=Entry(backend=OWNER)),
        sends(
            "jumbo segment with options",
            ip.tcp("PA", data=bytes(8_800), options=TCP_OPTIONS, ip_options=ip.options),
            OWNER,
            Reason.PICKED_UP,
            after=Entry(backend=OWNER),
        ),
    ]


def bad_ipv4_headers() -> list[Case]:
    def first_byte(value: int) -> bytes:
        return patched(tcp(), ETHERNET_HEADER, bytes((value,)))

    return [
        drops("header length 4", first_byte(0x44), Reason.MALFORMED),
        drops("header length 0", first_byte(0x40), Reason.MALFORMED),
        drops("header length beyond the total length", first_byte(0x4F), Reason.MALFORMED),
        drops("header length beyond the frame", with_length(first_byte(0x4F), 80), Reason.MALFORMED),
        drops("total length 0", with_length(tcp(), 0), Reason.MALFORMED),
        drops("total length of less than the header", with_length(tcp(), 19), Reason.MALFORMED),
        sends("don't fragment is no fragment", patched(tcp("S"), 20, b"\x40\x00"), OWNER, Reason.SYN),
        sends(
            "wrong header checksum, for its receiver to judge", patched(tcp("S"), 24, b"\xde\xad"), OWNER, Reason.SYN
        ),
    ]


def authentication(next_header: int) -> AH:
    """An authentication header of 24 bytes (RFC 4302)."""
    return AH(nh=next_header, payloadlen=4, icv=bytes(12))


def extensions() -> list[Case]:
    ip, (hops, destination) = IPV6, EXTENSIONS
    advertised = ip.packet(
        ip.message(134), vip=ALL_NODES, hlim=255, destination=ALL_NODES_MAC, client=IPv6Address("fe80::1")
    )
    sound = {
        "hop-by-hop options": (hops,),
        "a routing header": (ROUTING,),
        "destination options": (destination,),
        "an authentication header": (authentication(TCP),),
        "all kinds": (hops, destination, ROUTING, authentication(DESTINATION_OPTIONS), destination),
        "as many as are followed": (destination,) * MOST_EXTENSIONS,
    }
    return [
        *(
            sends(f"SYN behind {name}", ip.tcp("S", ip_options=given), OWNER, Reason.SYN)
            for name, given in sound.items()
        ),
        drops(
            "SYN behind more extension headers than are followed",
            ip.tcp("S", ip_options=(destination,) * (MOST_EXTENSIONS + 1)),
            Reason.MALFORMED,
        ),
        drops("no next header", ip.packet(Raw(b"\x45"), protocol=59), Reason.NO_SERVICE),
        drops("no next header behind options", ip.packet(Raw(b""), protocol=59, ip_options=(hops,)), Reason.NO_SERVICE),
        drops("encrypted payload", ip.packet(Raw(bytes(16)), protocol=50), Reason.NO_SERVICE),
        drops(
            "extension header that says it is long",
            patched(ip.tcp("S", ip_options=(hops,)), 55, b"\xff"),
            Reason.MALFORMED,
        ),
        *(
            drops(f"extension header of {size} bytes", ip.tcp("S", ip_options=(hops,))[: 54 + size], Reason.MALFORMED)
            for size in (0, 1, 2, 7)
        ),
        drops("extension header alone", ip.tcp("S", ip_options=(hops,))[:62], Reason.MALFORMED),
        drops("jumbogram", with_length(ip.tcp("S"), 40), Reason.MALFORMED),
        sends("SYN with a class and a flow label", ip.tcp("S", tc=0xB8, fl=0x12345, hlim=1), OWNER, Reason.SYN),
        passes("router advertisement for all nodes", advertised),
    ]


ROWS: list[Case] = [
    *of_both(admission, other_protocols, bad_headers),
    *not_ip(),
    *bad_ipv4_headers(),
    *in_ipv6(extensions()),
]
