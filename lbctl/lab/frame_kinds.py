"""Which kind a frame is, told by a socket filter: the program that `lbctl.lab.capture` counts with."""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterator
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network, ip_network

from lbctl.core.model import Address, Network
from lbctl.lab import bpf
from lbctl.lab.bpf import Label, Op

VIP_BLOCKS = (IPv4Network("192.0.2.96/27"), IPv6Network("2001:db8:2::100/120"))
"""Where a lab's virtual addresses lie; the filter tells them by these prefixes."""
TALLY = struct.Struct("=QQ")
"""Of each direction and kind: frames, bytes."""

_PACKET_OUTGOING = 4
_ROUTER_SOLICITATION, _REDIRECT = 133, 137
"""Between these are the types of neighbour discovery (RFC 4861 section 4)."""


class Direction(IntEnum):
    """As seen from the director."""

    RECEIVED = 0
    SENT = 1


class Kind(IntEnum):
    """What a frame is."""

    CLIENT_DATA = 0
    """Client to VIP, with payload (TCP segments that carry data; every UDP datagram)."""
    CLIENT_ACK = 1
    """Client to VIP, TCP without payload: what a retrieval costs the director."""
    CLIENT_CONTROL = 2
    """Client to VIP, TCP with SYN, FIN or RST and no payload."""
    FROM_VIP = 3
    """From a VIP to a client. Received: an answer that should have bypassed the director. Sent: an answer that the
    director gave itself (ping, reset)."""
    PROBE = 4
    """To or from the director's own address: health checks and agents."""
    ARP = 5
    """And neighbour discovery, and what hosts say of multicast groups (MLD), which no IPv6 network is without."""
    OTHER = 6


_CONTEXT, _HEADERS, _TALLY_INDEX, _FLAGS = 6, 9, 7, 8
"""Registers that survive a packet load; the kernel demands the context in r6."""


def counting_filter(own: Collection[Address], map_fd: int) -> Iterator[Op | Label]:
    """The program, for a director with these addresses; ``map_fd`` holds a `TALLY` for each direction and kind."""
    yield bpf.move(_CONTEXT, 1)
    yield from _note_direction()
    yield bpf.load_half(12)
    yield bpf.if_equal(0, 0x0806, Kind.ARP.name)
    yield bpf.if_equal(0, 0x86DD, "IPv6")
    yield bpf.if_not_equal(0, 0x0800, Kind.OTHER.name)
    yield from _classify_ipv4([address for address in own if address.version == 4])
    yield Label("IPv6")
    yield from _classify_ipv6([address for address in own if address.version == 6])
    for kind in Kind:
        yield Label(kind.name)
        yield bpf.add_value(_TALLY_INDEX, kind)
        yield bpf.goto("count")
    yield from _count(map_fd)


def _note_direction() -> Iterator[Op | Label]:
    pkt_type = 4  # offset in struct __sk_buff
    yield bpf.load_field(0, _CONTEXT, pkt_type)
    yield bpf.set_value(_TALLY_INDEX, Direction.RECEIVED * len(Kind))
    yield bpf.if_equal(0, _PACKET_OUTGOING, "direction known")  # what the switch's port sends, the director receives
    yield bpf.set_value(_TALLY_INDEX, Direction.SENT * len(Kind))
    yield Label("direction known")


def _classify_ipv4(own: Collection[Address]) -> Iterator[Op | Label]:
    yield from _classify_addresses(own, VIP_BLOCKS[0], source=26, destination=30)
    yield bpf.load_byte(23)
    yield bpf.if_equal(0, socket.IPPROTO_UDP, Kind.CLIENT_DATA.name)
    yield bpf.if_not_equal(0, socket.IPPROTO_TCP, Kind.OTHER.name)
    yield bpf.load_byte(14)
    yield bpf.and_value(0, 0x0F)
    yield bpf.shift_left(0, 2)
    yield bpf.move(_HEADERS, 0)
    yield from _measure_tcp(14)
    yield bpf.load_half(16)
    yield from _classify_tcp()


def _classify_ipv6(own: Collection[Address]) -> Iterator[Op | Label]:
    """Extension headers make a frame ``OTHER``: a lab's nodes send none but those of fragments and of MLD (RFC 3810)."""
    yield bpf.load_byte(20)
    yield bpf.if_equal(0, socket.IPPROTO_HOPOPTS, Kind.ARP.name)
    yield bpf.if_not_equal(0, socket.IPPROTO_ICMPV6, "no discovery")
    yield bpf.load_byte(54)
    yield bpf.if_below(0, _ROUTER_SOLICITATION, "no discovery")
    yield bpf.if_below(0, _REDIRECT + 1, Kind.ARP.name)
    yield Label("no discovery")
    yield from _classify_addresses(own, VIP_BLOCKS[1], source=22, destination=38)
    yield bpf.load_byte(20)
    yield bpf.if_equal(0, socket.IPPROTO_UDP, Kind.CLIENT_DATA.name)
    yield bpf.if_not_equal(0, socket.IPPROTO_TCP, Kind.OTHER.name)
    yield bpf.set_value(_HEADERS, 40)
    yield from _measure_tcp(14)
    yield bpf.load_half(18)
    yield bpf.add_value(0, 40)  # the length in an IPv6 header leaves that header out
    yield from _classify_tcp()


def _classify_addresses(
    own: Collection[Address], vips: Network, *, source: int, destination: int
) -> Iterator[Op | Label]:
    """Go on only with what a client sends to a VIP."""
    for address in own:
        for place in (source, destination):
            yield from _if_in(ip_network(address), place, Kind.PROBE.name)
    yield from _if_in(vips, source, Kind.FROM_VIP.name)
    yield from _if_in(vips, destination, f"to a VIP of {vips}")
    yield bpf.goto(Kind.OTHER.name)
    yield Label(f"to a VIP of {vips}")


def _if_in(network: Network, place: int, label: str) -> Iterator[Op | Label]:
    """Go to a label if the address at that place of the frame is in the network."""
    outside = f"not {network} at {place}"
    bits, mask = (struct.iter_unpack(">I", part.packed) for part in (network.network_address, network.netmask))
    for number, ((wanted,), (of_them,)) in enumerate(zip(bits, mask, strict=True)):
        if of_them:
            yield bpf.load_word(place + 4 * number)
            yield bpf.and_value(0, of_them)
            yield bpf.if_not_equal(0, wanted, outside)
    yield bpf.goto(label)
    yield Label(outside)


def _measure_tcp(begin: int) -> Iterator[Op]:
    """Note the TCP flags, and add the TCP header's length to that of the IP header, which begins there."""
    yield bpf.load_byte_at(_HEADERS, begin + 13)
    yield bpf.move(_FLAGS, 0)
    yield bpf.load_byte_at(_HEADERS, begin + 12)
    yield bpf.shift_right(0, 4)
    yield bpf.shift_left(0, 2)
    yield bpf.add_register(_HEADERS, 0)


def _classify_tcp() -> Iterator[Op]:
    """By the length of the whole datagram, in r0."""
    yield bpf.if_greater(0, _HEADERS, Kind.CLIENT_DATA.name)
    yield bpf.and_value(_FLAGS, 0x07)  # FIN, SYN, RST
    yield bpf.if_not_equal(_FLAGS, 0, Kind.CLIENT_CONTROL.name)
    yield bpf.goto(Kind.CLIENT_ACK.name)


def _count(map_fd: int) -> Iterator[Op | Label]:
    address, value = 1, 2
    yield Label("count")
    yield bpf.shift_left(_TALLY_INDEX, TALLY.size.bit_length() - 1)
    yield from bpf.map_value(address, map_fd)
    yield bpf.add_register(address, _TALLY_INDEX)
    yield bpf.set_value(value, 1)
    yield bpf.atomic_add(address, 0, value)
    yield bpf.load_field(value, _CONTEXT, 0)  # skb->len
    yield bpf.atomic_add(address, 8, value)
    yield bpf.set_value(0, 0)  # keep nothing: the socket's queue stays empty
    yield bpf.leave()
