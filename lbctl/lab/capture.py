"""What passes a director's NIC: frames and bytes by direction and kind, exact at any rate.

The counting is done by a socket filter in the kernel, on the switch's end of the director's cable: nothing is copied
to user space, so nothing can be lost, not even in a transfer of gigabytes. The lab's address plan tells the kinds
apart: virtual addresses lie in one block (`VIP_BLOCK`), everything to or from the director's own address is a probe.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType

from lbctl.lab import bpf
from lbctl.lab.bpf import Label, Op
from lbctl.lab.namespaces import enter

VIP_BLOCK = IPv4Network("192.0.2.96/27")
"""Where a lab's virtual addresses lie; the filter tells them by this prefix."""

_SO_ATTACH_BPF = 50
_ETH_P_ALL = 0x0003
_PACKET_OUTGOING = 4
_TALLY = struct.Struct("=QQ")


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
    OTHER = 6


FROM_CLIENTS = (Kind.CLIENT_DATA, Kind.CLIENT_ACK, Kind.CLIENT_CONTROL)
"""What clients send to virtual addresses, and a director hands on."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Frames, and their bytes with the Ethernet header (14) but without preamble and checksum."""

    frames: int = 0
    octets: int = 0

    def __sub__(self, earlier: Tally) -> Tally:
        return Tally(self.frames - earlier.frames, self.octets - earlier.octets)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.frames + other.frames, self.octets + other.octets)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What had passed at one moment, or between two (their difference)."""

    tallies: Mapping[tuple[Direction, Kind], Tally]

    def __sub__(self, earlier: Traffic) -> Traffic:
        return Traffic({key: tally - earlier.tallies[key] for key, tally in self.tallies.items()})

    def of(self, direction: Direction, *kinds: Kind) -> Tally:
        """Frames of a kind, or of several together, in one direction."""
        return sum((self.tallies[direction, kind] for kind in kinds), Tally())

    @property
    def returned(self) -> Tally:
        """Server-to-client frames of VIP connections that reached the director: none, in direct routing."""
        return self.of(Direction.RECEIVED, Kind.FROM_VIP)

    @property
    def acknowledgements(self) -> Tally:
        """The clients' bare acknowledgements on their way in."""
        return self.of(Direction.RECEIVED, Kind.CLIENT_ACK)

    def total(self, direction: Direction) -> Tally:
        """Every frame in one direction."""
        return self.of(direction, *Kind)


class FrameCounter:
    """Counts the frames on one cable from its construction on. A context manager; `close` frees it.

    ``namespace`` and ``port`` name the switch's end of the cable, ``own`` the address of the director on it.
    """

    def __init__(self, *, namespace: str, port: str, own: IPv4Address) -> None:
        self._bytes = len(Direction) * len(Kind) * _TALLY.size
        self._map = bpf.create_value_map(self._bytes)
        program = bpf.load_socket_filter(list(_counting_filter(own, self._map)))
        try:
            with enter(namespace):
                self._socket = _filtered_socket(port, program)
        finally:
            os.close(program)

    def read(self) -> Traffic:
        """What has passed so far. Take two and subtract for a phase."""
        tallies = _TALLY.iter_unpack(bpf.read_value(self._map, self._bytes))
        keys = ((direction, kind) for direction in Direction for kind in Kind)
        return Traffic({key: Tally(*tally) for key, tally in zip(keys, tallies, strict=True)})

    def close(self) -> None:
        """Stop counting."""
        self._socket.close()
        if self._map >= 0:
            os.close(self._map)
            self._map = -1

    def __enter__(self) -> FrameCounter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _filtered_socket(port: str, program: int) -> socket.socket:
    # Protocol 0 keeps the socket deaf until it is bound, with its filter in place: no frame is ever queued.
    receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program)
    receiver.bind((port, _ETH_P_ALL))
    return receiver


_CONTEXT, _SCRATCH, _TALLY_INDEX, _IS_FROM_VIP = 6, 9, 7, 8
"""Registers that survive a packet load; the kernel demands the context in r6."""


def _counting_filter(own: IPv4Address, map_fd: int) -> Iterator[Op | Label]:
    yield bpf.move(_CONTEXT, 1)
    yield from _note_direction()
    yield from _classify_link_layer(int(own))
    yield from _classify_tcp()
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


def _classify_link_layer(own: int) -> Iterator[Op | Label]:
    block, mask = int(VIP_BLOCK.network_address), int(VIP_BLOCK.netmask)
    yield bpf.load_half(12)
    yield bpf.if_equal(0, 0x0806, Kind.ARP.name)
    yield bpf.if_not_equal(0, 0x0800, Kind.OTHER.name)
    yield bpf.load_word(26)
    yield bpf.if_equal(0, own, Kind.PROBE.name)
    yield bpf.move(_IS_FROM_VIP, 0)
    yield bpf.load_word(30)
    yield bpf.if_equal(0, own, Kind.PROBE.name)
    yield bpf.and_value(_IS_FROM_VIP, mask)
    yield bpf.if_equal(_IS_FROM_VIP, block, Kind.FROM_VIP.name)
    yield bpf.and_value(0, mask)
    yield bpf.if_not_equal(0, block, Kind.OTHER.name)
    yield bpf.load_byte(23)
    yield bpf.if_equal(0, socket.IPPROTO_UDP, Kind.CLIENT_DATA.name)
    yield bpf.if_not_equal(0, socket.IPPROTO_TCP, Kind.OTHER.name)


def _classify_tcp() -> Iterator[Op | Label]:
    header_bytes, flags = _SCRATCH, _IS_FROM_VIP
    yield bpf.load_byte(14)
    yield bpf.and_value(0, 0x0F)
    yield bpf.shift_left(0, 2)
    yield bpf.move(header_bytes, 0)
    yield bpf.load_byte_at(header_bytes, 14 + 13)
    yield bpf.move(flags, 0)
    yield bpf.load_byte_at(header_bytes, 14 + 12)
    yield bpf.shift_right(0, 4)
    yield bpf.shift_left(0, 2)
    yield bpf.add_register(header_bytes, 0)
    yield bpf.load_half(16)
    yield bpf.if_greater(0, header_bytes, Kind.CLIENT_DATA.name)
    yield bpf.and_value(flags, 0x07)  # FIN, SYN, RST
    yield bpf.if_not_equal(flags, 0, Kind.CLIENT_CONTROL.name)
    yield bpf.goto(Kind.CLIENT_ACK.name)


def _count(map_fd: int) -> Iterator[Op | Label]:
    address, value = 1, 2
    yield Label("count")
    yield bpf.shift_left(_TALLY_INDEX, _TALLY.size.bit_length() - 1)
    yield from bpf.map_value(address, map_fd)
    yield bpf.add_register(address, _TALLY_INDEX)
    yield bpf.set_value(value, 1)
    yield bpf.atomic_add(address, 0, value)
    yield bpf.load_field(value, _CONTEXT, 0)  # skb->len
    yield bpf.atomic_add(address, 8, value)
    yield bpf.set_value(0, 0)  # keep nothing: the socket's queue stays empty
    yield bpf.leave()
