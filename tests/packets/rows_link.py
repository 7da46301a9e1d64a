"""Rows: what is ours at all, ARP, and IPv4 headers that claim what is not so."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import LLC, STP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, Entry, answers, drops, owner, passes, sends
from tests.packets.frames import (
    BROADCAST,
    CLIENT,
    CLIENT_MAC,
    DICOM,
    ETHERNET_HEADER,
    FAR_VIP,
    FOREIGN,
    OTHER_MAC,
    arp,
    arp_reply,
    ether,
    ipv4,
    padded,
    patched,
    ping,
    tcp,
    udp,
)
from tests.packets.rig import DIRECTOR, OWN_MAC, VIP, backend_mac

OWNER = owner()
ANOTHER = OWNER % 3 + 1
VIP_SYN = IP(src=str(CLIENT), dst=str(VIP)) / TCP(sport=40_000, dport=DICOM, flags="S")
LLDP = Raw(bytes.fromhex("0207040200000000010602070000000000") + bytes(30))
NOWHERE = IPv4Address("0.0.0.0")

ADMISSION = [
    passes("foreign address", tcp("S", vip=FOREIGN)),
    passes("foreign address, another station's frame", tcp("S", vip=FOREIGN, destination=OTHER_MAC)),
    passes("foreign address, own source MAC", tcp("S", vip=FOREIGN, source=OWN_MAC)),
    passes("foreign UDP", udp(vip=FOREIGN)),
    passes("foreign ping", ping(vip=FOREIGN)),
    passes("the director's own address", tcp("S", port=22, vip=DIRECTOR)),
    passes("VIP, flooded frame for another station", tcp("S", destination=OTHER_MAC), Reason.OTHER_MAC),
    passes("VIP, broadcast frame", tcp("S", destination=BROADCAST), Reason.OTHER_MAC),
    passes("VIP, multicast frame", udp(destination=bytes.fromhex("01005e000001")), Reason.OTHER_MAC),
    passes("VIP, flooded ping", ping(destination=OTHER_MAC), Reason.OTHER_MAC),
    passes("VIP, on an interface that is not ours", tcp("S"), Reason.OTHER_MAC, Before(has_interface=False)),
    drops("own frame came back", tcp("S", source=OWN_MAC), Reason.LOOP_OWN),
    drops("own frame, flooded", tcp("A", source=OWN_MAC, destination=backend_mac(1)), Reason.LOOP_OWN),
    drops("own probe came back from a backend", tcp("S", client=DIRECTOR, source=backend_mac(2)), Reason.LOOP_OWN),
    drops("SYN from the backend that owns its slot", tcp("S", source=backend_mac(OWNER)), Reason.LOOP_BACKEND),
    drops(
        "established, from the flow's backend", tcp("A", source=backend_mac(ANOTHER)), Reason.LOOP_BACKEND,
        Before(flow=Entry(backend=ANOTHER)),
    ),
    sends("SYN from a backend that is a client", tcp("S", source=backend_mac(ANOTHER)), OWNER, Reason.SYN),
]  # fmt: skip

OTHER_PROTOCOLS = [
    passes("VLAN tag", ether(Dot1Q(vlan=5) / VIP_SYN)),
    passes("two VLAN tags", ether(Dot1AD(vlan=5) / Dot1Q(vlan=6) / VIP_SYN)),
    passes("priority tag", ether(Dot1Q(vlan=0, prio=3) / VIP_SYN)),
    passes("ARP in a VLAN", patched(ether(Dot1Q(vlan=5, type=0x0806) / Raw(arp()[14:])), 0, BROADCAST)),
    passes("IPv6", ether(IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(dport=DICOM))),
    passes("LLDP", bytes(Ether(dst="01:80:c2:00:00:0e", src=CLIENT_MAC.hex(":"), type=0x88CC) / LLDP)),
    passes("spanning tree", ether(LLC() / STP(), destination=bytes.fromhex("0180c2000000"))),
    passes("jumbo ethertype of nobody", patched(tcp(), 12, b"\x88\x70")),
    passes("Ethernet header alone", tcp()[:ETHERNET_HEADER]),
    passes("IPv4 header of 19 bytes", tcp()[: ETHERNET_HEADER + 19]),
    drops("GRE to a VIP", ipv4(Raw(bytes(8)), proto=47), Reason.NO_SERVICE),
    drops("SCTP to a VIP", ipv4(Raw(bytes(12)), proto=132), Reason.NO_SERVICE),
    drops("protocol without a payload", ipv4(Raw(b""), proto=255), Reason.NO_SERVICE),
]

ARP_ROWS = [
    answers("ARP broadcast", arp(), arp_reply(), Reason.ARP_REPLY),
    answers("ARP unicast", arp(destination=OWN_MAC), arp_reply(), Reason.ARP_REPLY),
    answers("ARP padded", padded(arp()), padded(arp_reply()), Reason.ARP_REPLY),
    answers("ARP probe of RFC 5227", arp(sender=NOWHERE), arp_reply(to=NOWHERE), Reason.ARP_REPLY),
    answers("ARP, a stranger announces the VIP", arp(sender=VIP), arp_reply(to=VIP), Reason.ARP_REPLY),
    answers(
        "ARP for a station behind a bridge that rewrites", arp(sender_mac=OTHER_MAC), arp_reply(to_mac=OTHER_MAC),
        Reason.ARP_REPLY,
    ),
    passes("ARP for a foreign address", arp(FOREIGN)),
    passes("ARP for the director", arp(DIRECTOR)),
    passes("ARP for a VIP of another interface", arp(FAR_VIP)),
    passes("ARP to another station", arp(destination=OTHER_MAC)),
    passes("ARP reply", arp(op=2)),
    passes("ARP reply, a stranger announces the VIP", arp(op=2, sender=VIP)),
    passes("reverse ARP", arp(op=3)),
    passes("ARP of another hardware type", arp(hwtype=6)),
    passes("ARP of another protocol", arp(ptype=0x86DD)),
    passes("ARP with addresses of another hardware size", arp(hwlen=8)),
    passes("ARP with addresses of another protocol size", arp(plen=16)),
    passes("ARP cut by one byte", arp()[:-1]),
    passes("ARP without a body", arp()[:ETHERNET_HEADER]),
    passes("ARP on an interface that is not ours", arp(), before=Before(has_interface=False)),
    drops("own announcement came back", arp(source=OWN_MAC, sender=VIP, sender_mac=OWN_MAC), Reason.LOOP_OWN),
    passes("own question for a server came back", arp(FOREIGN, source=OWN_MAC, sender=DIRECTOR, sender_mac=OWN_MAC)),
]  # fmt: skip


def with_first_byte(frame: bytes, value: int) -> bytes:
    """Another version and header length."""
    return patched(frame, ETHERNET_HEADER, bytes((value,)))


def with_total_length(frame: bytes, value: int) -> bytes:
    """Another claim of how long the packet is."""
    return patched(frame, ETHERNET_HEADER + 2, struct.pack(">H", value))


BAD_HEADERS = [
    drops("version 6 where IPv4 stands", with_first_byte(tcp(), 0x65), Reason.MALFORMED),
    drops("version 0", with_first_byte(tcp(), 0x05), Reason.MALFORMED),
    drops("header length 4", with_first_byte(tcp(), 0x44), Reason.MALFORMED),
    drops("header length 0", with_first_byte(tcp(), 0x40), Reason.MALFORMED),
    drops("header length beyond the total length", with_first_byte(tcp(), 0x4F), Reason.MALFORMED),
    drops("header length beyond the frame", with_total_length(with_first_byte(tcp(), 0x4F), 80), Reason.MALFORMED),
    drops("total length 0", with_total_length(tcp(), 0), Reason.MALFORMED),
    drops("total length of less than the header", with_total_length(tcp(), 19), Reason.MALFORMED),
    drops("total length of the header alone", with_total_length(tcp(), 20), Reason.MALFORMED),
    drops("total length that ends in the TCP header", with_total_length(tcp(), 39), Reason.MALFORMED),
    drops("total length that ends in the UDP header", with_total_length(udp(), 27), Reason.MALFORMED),
    sends(
        "total length beyond the frame, for its receiver to judge", with_total_length(tcp("S"), 1500), OWNER, Reason.SYN
    ),
    sends("don't fragment is no fragment", patched(tcp("S"), 20, b"\x40\x00"), OWNER, Reason.SYN),
    sends("wrong header checksum, for its receiver to judge", patched(tcp("S"), 24, b"\xde\xad"), OWNER, Reason.SYN),
]

ROWS: list[Case] = ADMISSION + OTHER_PROTOCOLS + ARP_ROWS + BAD_HEADERS
