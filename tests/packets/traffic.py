"""Random packets: few clients, ports and addresses, so that they meet; now and then a packet that is broken."""

from __future__ import annotations

import struct
from functools import cache
from ipaddress import IPv4Address
from random import Random
from typing import NamedTuple

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment

from lbctl.core.tables import Lan, Tables
from tests.packets.families import FAMILIES, IPV4, IPV6, Family
from tests.packets.frames import (
    CLIENT_MAC,
    EXTENSIONS,
    OTHER_MAC,
    ROUTING,
    UNSERVED,
    Tagging,
    padded,
    patched,
    tagged,
)
from tests.packets.rows_link import authentication
from tests.packets.rows_neighbours import arp, claim, solicitation
from tests.packets.states import CLIENTS, LANS
from tests.packets.wire import ACK, C_TAG, FIN, FRAGMENT, ICMP, IPV6_BYTES, RST, S_TAG, SYN, frame_of
from tests.packets.world import DICOM, DICOM_TOO, HERE, OWN_MAC, SYSLOG, VIP, backend_mac

PORTS = [1024, 40_000, 65_535]
FLAGS = [SYN, SYN, SYN, ACK, ACK, ACK, ACK | 0x08, ACK | FIN, RST, RST | ACK, 0, SYN | ACK, SYN | FIN, FIN | 0x28]
KINDS = ["tcp"] * 6 + ["udp"] * 3 + ["error"] * 2 + ["ping"]
ERRORS = {4: (3, 3, 3, 4, 5, 11, 12), 6: (1, 2, 2, 3, 4, 5, 137)}
POSITIONS = {4: (0x2000, 0x2000, 0x2003, 0x0006, 0x1FFF), 6: (0x0001, 0x0001, 0x0019, 0x0030, 0xFFF8, 0x0000)}
"""First, middle and last fragments, and (of IPv6) whole packets, as the field of the header has it."""
_HOPS, _OPTIONS = EXTENSIONS
CHAINS = (
    (_HOPS,), (_OPTIONS,), (_HOPS, _OPTIONS, ROUTING), (authentication(60), _OPTIONS), (_OPTIONS,) * 6, (_OPTIONS,) * 7,
)  # fmt: skip


class Sent(NamedTuple):
    """A frame, and the interface that it comes in by."""

    data: bytes
    ifindex: int


@cache
def _template(version: int, kind: str, shape: int) -> bytes:
    """One sound packet of each kind; scapy is too slow for thousands. ``shape`` 0 is plain, 1 is a fragment (those of IPv6 have
    a header more), and others have options."""
    ip = IPV4 if version == 4 else IPV6
    options = ((), (IPv6ExtHdrFragment(),), *CHAINS)[shape] if version == 6 else ip.options if shape > 1 else ()
    if kind == "tcp":
        return ip.tcp("S", ip_options=options)
    if kind == "error":
        quoted = (IP(src=str(ip.vip)) if version == 4 else IPv6(src=str(ip.vip))) / TCP(sport=1, dport=1)
        return ip.error(bytes(quoted), ip_options=options)
    return ip.udp(ip_options=options) if kind == "udp" else ip.ping(ip_options=options)


def random_sent(random: Random, tables: Tables) -> Sent:
    """Mostly a sound packet of a client to a service of a VIP, where that is announced."""
    lan = random.choice(LANS) if random.random() < 0.15 else tables.vips[VIP]
    lan = lan if lan.ifindex else HERE
    frame = random_neighbour(random) if random.random() < 0.06 else random_frame(random)
    own = tables.interfaces[lan].mac if lan in tables.interfaces else OWN_MAC
    if frame[:6] == OWN_MAC:
        frame = own + frame[6:]
    frame = tagged(frame, _random_tags(lan, random))
    return Sent(broken(frame, random) if random.random() < 0.12 else padded(frame), lan.ifindex)


def _random_tags(lan: Lan, random: Random) -> Tagging:
    """Those of the segment, of any kind and priority; to be in none may need a priority tag."""
    vlans = [lan.vlan >> 12, lan.vlan & 0xFFF] if lan.vlan > 0xFFF else [lan.vlan] if lan.vlan else []
    vlans = [0] if not vlans and random.random() < 0.05 else vlans
    return [(random.choice((C_TAG, C_TAG, S_TAG)), random.randrange(16) << 12 | vlan) for vlan in vlans]


def random_frame(random: Random) -> bytes:
    """Without tags, and sound. (Its checksums are not: nobody on the way looks.)"""
    ip, kind = random.choice(FAMILIES), random.choice(KINDS)
    is_fragment = random.random() < 0.25
    has_options = random.random() < 0.15 and not (is_fragment and ip is IPV6)
    shape = random.randrange(2, 2 + len(CHAINS)) if has_options else int(is_fragment)
    frame = _between_few(_template(ip.version, kind, shape), ip, random)
    if kind == "error":
        frame = _about_something(frame, ip, random)
    elif kind != "ping":
        ports = struct.pack(">HH", random.choice(PORTS), _service(kind == "tcp", random))
        frame = patched(frame, _transport(frame), ports)
    if kind == "tcp":
        near = struct.pack(">I", (random.choice((0, 1 << 31, 0xFFFFFF00)) + random.randrange(3_000)) & 0xFFFFFFFF)
        numbers = random.choice((near, near, random.randbytes(4))) + random.choice((near, random.randbytes(4)))
        frame = patched(frame, _transport(frame) + 4, numbers)
        frame = patched(frame, _transport(frame) + 13, bytes((random.choice(FLAGS),)))
    return _fragmented(frame, ip, random) if is_fragment else frame


def _between_few(frame: bytes, ip: Family, random: Random) -> bytes:
    """Other MACs and addresses."""
    frame = patched(frame, 0, random.choice([OWN_MAC] * 40 + [OTHER_MAC]))
    frame = patched(frame, 6, random.choice([CLIENT_MAC] * 60 + [OWN_MAC, backend_mac(1), backend_mac(2)]))
    clients = CLIENTS[ip.version]
    source = random.choice(clients if random.random() < 0.99 else [ip.director])
    frame = patched(frame, 26 if ip is IPV4 else 22, source.packed)
    vip = random.choice([ip.vip] * 30 + [ip.far_vip, ip.colliding, ip.foreign])
    return patched(frame, 30 if ip is IPV4 else 38, vip.packed)


def _service(is_tcp: bool, random: Random) -> int:
    return random.choice([DICOM] * 8 + [DICOM_TOO, UNSERVED] if is_tcp else [SYSLOG] * 8 + [UNSERVED])


def _about_something(frame: bytes, ip: Family, random: Random) -> bytes:
    """The error quotes a packet from the VIP to a client, by TCP or UDP."""
    quoted, is_tcp = _transport(frame) + 8, random.random() < 0.7
    protocol, client = (9, 16) if ip is IPV4 else (6, 24)
    frame = patched(frame, _transport(frame), bytes((random.choice(ERRORS[ip.version]),)))
    frame = patched(frame, quoted + protocol, bytes((6 if is_tcp else 17,)))
    frame = patched(frame, quoted + client, random.choice(CLIENTS[ip.version]).packed)
    ports = struct.pack(">HH", _service(is_tcp, random), random.choice(PORTS))
    return patched(frame, quoted + ip.header_bytes, ports)


def _fragmented(frame: bytes, ip: Family, random: Random) -> bytes:
    """A fragment of one of few datagrams."""
    position, identification = random.choice(POSITIONS[ip.version]), random.randrange(4)
    if ip is IPV4:
        return patched(frame, 18, struct.pack(">HH", identification, position))
    if frame[20] != FRAGMENT:
        return frame
    return patched(frame, 14 + IPV6_BYTES + 2, struct.pack(">HI", position, identification << 16 | identification))


def _transport(frame: bytes) -> int:
    """Where the transport header begins."""
    whole = frame_of(frame)
    assert whole is not None
    assert whole.ip is not None
    return whole.header_bytes + (14 + IPV6_BYTES if whole.ip.header_bytes == len(whole.data) else whole.ip.header_bytes)


@cache
def _neighbours() -> tuple[bytes, ...]:
    asked = [
        arp(ip, destination=to) for ip in (VIP, IPV4.far_vip, IPV4.foreign) for to in (b"\xff" * 6, OWN_MAC, OTHER_MAC)
    ]
    solicited = [
        solicitation(ip, has_option=has) for ip in (IPV6.vip, IPV6.far_vip, IPV6.foreign) for has in (True, False)
    ]
    return (
        *asked, *solicited, arp(op=2), arp(sender=VIP), arp(op=2, sender=VIP), arp(sender=IPv4Address(0)), claim(),
        claim(source=OWN_MAC), arp(source=OWN_MAC, sender=VIP, sender_mac=OWN_MAC),
        solicitation(client=IPV6.client, to=IPV6.vip, destination=OWN_MAC), solicitation(source=OWN_MAC),
    )  # fmt: skip


def random_neighbour(random: Random) -> bytes:
    """What resolves an address, or claims one."""
    return random.choice(_neighbours())


def random_syn(random: Random, ip: Family) -> tuple[bytes, int, int]:
    """A SYN to the first service from anywhere; also its client, as a number, and port."""
    low, high = (0x0B000000, 0xC0000000) if ip is IPV4 else (1 << 125, 1 << 126)
    client, port = random.randrange(low, high), random.randrange(1 << 16)
    frame = _template(ip.version, "tcp", 0)
    at, size = (26, 4) if ip is IPV4 else (22, 16)
    frame = patched(frame, at, client.to_bytes(size, "big"))
    return patched(frame, ip.at(0), struct.pack(">HH", port, DICOM)), client, port


def broken(frame: bytes, random: Random) -> bytes:
    """Cut short, or with a few bytes of its headers changed."""
    if random.random() < 0.4:
        return frame[: random.randint(14, len(frame))]
    for _ in range(random.randint(1, 3)):
        value = random.choice((0, 1, 0x45, 0x60, 0xFF, ICMP[6], FRAGMENT, random.randrange(256)))
        frame = patched(frame, random.randrange(min(len(frame), 86)), bytes((value,)))
    return frame
