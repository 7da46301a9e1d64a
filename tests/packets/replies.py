"""What the program answers in the name of a VIP: ARP (RFC 826), neighbour solicitations (RFC 4861 section 7.2.4) and ping
(RFC 792, RFC 4443 section 4.2); and what it makes of others' claims (RFC 5227)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP as ARP_MESSAGE

from lbctl.core.model import Address
from lbctl.core.tables import InterfaceRow, Lan, Tables
from lbctl.dataplane.layout import Reason
from tests.packets.wire import ARP, ECHO, ECHO_REPLY, ICMP, IPV6, IPV6_BYTES, MULTICAST, Datagram, Frame

BROADCAST = b"\xff" * 6
ALL_NODES = IPv6Address("ff02::1")
ALL_NODES_MAC = bytes.fromhex("333300000001")
ARP_BYTES = 28
IPV4_OVER_ETHERNET = bytes.fromhex("000108000604")
REQUEST = 1
SOLICITATION, ADVERTISEMENT = 135, 136
GENERATED_TTL = 64


def neighbour_reason(frame: Frame, lan: Lan, tables: Tables) -> Reason | None:
    """What becomes of a frame that resolves addresses; ``None`` if it is another, or none about a VIP of this segment."""
    own = tables.interfaces.get(lan)
    if own is None:
        return None
    if frame.type == ARP:
        return _arp_reason(frame, lan, own, tables)
    return _discovery_reason(frame, lan, own, tables) if frame.type == IPV6 else None


def _arp_reason(frame: Frame, lan: Lan, own: InterfaceRow, tables: Tables) -> Reason | None:
    message = frame.payload[:ARP_BYTES]
    if len(message) < ARP_BYTES or message[:6] != IPV4_OVER_ETHERNET:
        return None
    operation, sender_mac = int.from_bytes(message[6:8], "big"), message[8:14]
    sender, target = IPv4Address(message[14:18]), IPv4Address(message[24:28])
    is_asked = operation == REQUEST and _is_announced(target, lan, tables)
    if _is_announced(sender, lan, tables) and sender_mac != own.mac:
        return Reason.VIP_CLAIMED
    if not is_asked or frame.destination not in (own.mac, BROADCAST):
        return None
    return Reason.LOOP_OWN if frame.source == own.mac else Reason.ARP_REPLY


def _discovery_reason(frame: Frame, lan: Lan, own: InterfaceRow, tables: Tables) -> Reason | None:
    ip, message = frame.payload, frame.payload[IPV6_BYTES:]
    if len(message) < 24 or int.from_bytes(ip[4:6], "big") < 24 or ip[0] >> 4 != 6:
        return None
    is_discovery = ip[6] == ICMP[6] and ip[7] == 255 and message[0] in (SOLICITATION, ADVERTISEMENT) and message[1] == 0
    if not is_discovery or not _is_announced(IPv6Address(message[8:24]), lan, tables):
        return None
    if message[0] == SOLICITATION and frame.destination != own.mac and not frame.destination[0] & MULTICAST:
        return None
    is_own = frame.source == own.mac
    if message[0] == ADVERTISEMENT:
        return None if is_own else Reason.VIP_CLAIMED
    return Reason.LOOP_OWN if is_own else Reason.NEIGHBOUR_REPLY


def _is_announced(address: Address, lan: Lan, tables: Tables) -> bool:
    return tables.vips.get(address) == lan


def arp_reply(frame: Frame, own: InterfaceRow) -> bytes:
    """To who asked; trailing padding stays."""
    asked = frame.payload
    told = ARP_MESSAGE(op=2, hwsrc=own.mac.hex(":"), hwdst=asked[8:14].hex(":"))
    told.psrc, told.pdst = str(IPv4Address(asked[24:28])), str(IPv4Address(asked[14:18]))
    return asked[8:14] + own.mac + _tags(frame) + bytes(told) + asked[ARP_BYTES:]


def neighbour_reply(frame: Frame, own: InterfaceRow) -> bytes:
    """To who asked; if that has no address yet, to all (RFC 4862 section 5.4)."""
    asker, target = IPv6Address(frame.payload[8:24]), str(IPv6Address(frame.payload[IPV6_BYTES + 8 : IPV6_BYTES + 24]))
    is_for_all = asker.is_unspecified
    header = IPv6(src=target, dst=str(ALL_NODES if is_for_all else asker), hlim=255)
    told = ICMPv6ND_NA(R=0, S=not is_for_all, O=1, tgt=target) / ICMPv6NDOptDstLLAddr(lladdr=own.mac.hex(":"))
    return (ALL_NODES_MAC if is_for_all else frame.source) + own.mac + _tags(frame) + bytes(header / told)


def echo_reply(frame: Frame, ip: Datagram) -> bytes:
    """Addresses swapped, type and TTL as they must be; the checksums stay as right or wrong as they were."""
    at, packet = ip.header_bytes, bytearray(ip.data)
    start, size = (12, 4) if ip.version == 4 else (8, 16)
    packet[start : start + 2 * size] = ip.destination.packed + ip.source.packed
    if ip.version == 4:
        packet[10:12] = updated_checksum(ip.data[10:12], ip.data[8:10], bytes((GENERATED_TTL, ip.data[9])))
    packet[8 if ip.version == 4 else 7] = GENERATED_TTL
    before, after = bytes((ECHO[ip.version], 0)), bytes((ECHO_REPLY[ip.version], 0))
    packet[at] = ECHO_REPLY[ip.version]
    packet[at + 2 : at + 4] = updated_checksum(ip.data[at + 2 : at + 4], before, after)
    return frame.source + frame.destination + _tags(frame) + bytes(packet)


def updated_checksum(checksum: bytes, before: bytes, after: bytes) -> bytes:
    """RFC 1624, equation 3."""
    words = [int.from_bytes(word, "big") for word in (checksum, before, after)]
    total = (words[0] ^ 0xFFFF) + (words[1] ^ 0xFFFF) + words[2]
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return (total ^ 0xFFFF).to_bytes(2, "big")


def _tags(frame: Frame) -> bytes:
    """Tags and EtherType."""
    return frame.data[12 : frame.header_bytes]
