"""What arrives by Ethernet: address resolution that is listened to, and headers that are told to people."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from random import Random

import numpy as np

from lbctl.core.tables import Lan
from lbctl.daemon.headers import decode
from lbctl.dataplane import rows
from lbctl.dataplane.events import decoded
from lbctl.dataplane.layout import EVENT, EVENT_HEADERS, Reason
from lbctl.errors import KernelError
from lbctl.network import arp, ndp, resolution
from lbctl.network.checksum import transport_checksum
from tests.fuzz.fuzzer import Fuzzer, pure
from tests.fuzz.mutation import mutated

_MAC = bytes.fromhex("02000000000a")
_V4 = IPv4Address("192.0.2.10"), IPv4Address("192.0.2.100")
_V6 = IPv6Address("2001:db8::10"), IPv6Address("2001:db8::100")


# Address resolution --------------------------------------------------------------------------------------------------

_REPLY = arp.ArpPacket(operation=arp.REPLY, sender_mac=_MAC, sender=_V4[0], target=_V4[1], target_mac=_MAC)
_ARPS = (
    arp.announcement(mac=_MAC, address=_V4[0]),
    arp.probe(mac=_MAC, address=_V4[0]),
    arp.build(_REPLY) + bytes(18),
)
_NDPS = (
    ndp.announcement(mac=_MAC, address=_V6[0]),
    ndp.probe(mac=_MAC, address=_V6[0]),
    ndp.request(mac=_MAC, sender=_V6[0], target=_V6[1]),
)
_NDP_WORDS = (
    b"\x01\x01",
    b"\x02\x01" + _MAC,
    b"\x0e\x01" + bytes(6),
    b"\x05\x00",
    b"\x3a\xff",
    b"\x87\x00",
    b"\x88\x00",
)
_MESSAGE_AT, _LENGTH_AT, _SUM_AT = 54, 18, 56


def make_arp(dice: Random) -> bytes:
    """A frame that is nearly ARP."""
    return mutated(dice, _ARPS, (b"\x08\x06", b"\x08\x00", b"\x00\x01", _MAC))


def make_ndp(dice: Random) -> bytes:
    """A frame that is nearly neighbour discovery, mostly with a length and a checksum that are right."""
    frame = bytearray(mutated(dice, _NDPS, _NDP_WORDS))
    if len(frame) >= _SUM_AT + 2 and dice.random() < 0.8:
        frame[_LENGTH_AT : _LENGTH_AT + 2] = struct.pack("!H", len(frame) - _MESSAGE_AT)
        frame[_SUM_AT : _SUM_AT + 2] = bytes(2)
        ends = (IPv6Address(bytes(frame[at : at + 16])) for at in (22, 38))
        total = transport_checksum(
            bytes(frame[_MESSAGE_AT:]), source=next(ends), destination=next(ends), protocol=ndp.ICMPV6
        )
        frame[_SUM_AT : _SUM_AT + 2] = struct.pack("!H", total)
    return bytes(frame)


def feed_resolution(data: bytes) -> bool:
    """What was understood is understood again when it is built anew."""
    packet = resolution.parse(data)
    if isinstance(packet, arp.ArpPacket):
        assert arp.parse(arp.build(packet)) == packet
    elif isinstance(packet, ndp.NdpPacket):
        assert ndp.parse(ndp.build(packet, to=_MAC)) == packet
    if packet is None:
        return False
    assert len(packet.station) == 6
    return packet.claims(_V4[0]) in (True, False) and packet.claims(_V6[0]) in (True, False)


# Headers -------------------------------------------------------------------------------------------------------------

_TCP = struct.pack(">HHIIBBHHH", 40000, 104, 1, 2, 0x50, 0x12, 512, 0, 0)
_UDP = struct.pack(">HHHH", 40000, 514, 8, 0)
_ICMP = struct.pack(">BBHI", 3, 4, 0, 0)


def _ipv4(protocol: int, payload: bytes, *, fragment: int = 0, first: int = 0x45) -> bytes:
    head = struct.pack(">BBHHHBBH", first, 0, 20 + len(payload), 1, fragment, 64, protocol, 0)
    return head + _V4[0].packed + _V4[1].packed + payload


def _ipv6(protocol: int, payload: bytes) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + _V6[0].packed + _V6[1].packed + payload


_EXTENDED = bytes([60, 0, *bytes(6), 44, 1, *bytes(14), 51, 0, 0, 0, *bytes(4), 6, 4, *bytes(22)])
_PACKETS = (
    *(b"\x08\x00" + _ipv4(*packet) for packet in ((6, _TCP), (17, _UDP), (1, _ICMP), (47, bytes(8)))),
    b"\x81\x00\x00\x14\x08\x00" + _ipv4(6, _TCP, fragment=0x2000),
    b"\x88\xa8\x00\x14\x81\x00\x00\x15\x86\xdd" + _ipv6(6, _TCP),
    *(b"\x86\xdd" + _ipv6(*packet) for packet in ((6, _TCP), (17, _UDP), (58, _ICMP), (0, _EXTENDED + _TCP))),
    b"\x08\x00" + _ipv4(17, _UDP, fragment=185),
    b"\x08\x00" + _ipv4(6, bytes(40) + _TCP, first=0x4F),
)
_FRAMES = tuple(bytes(6) + _MAC + packet for packet in _PACKETS) + _ARPS + _NDPS
_FRAME_WORDS = (
    b"\x81\x00",
    b"\x88\xa8",
    b"\x91\x00",
    b"\x08\x00",
    b"\x86\xdd",
    b"\x00",
    b"\x2b",
    b"\x2c",
    b"\x33",
    b"\x3c",
)


def make_headers(dice: Random) -> bytes:
    """The beginning of a frame, as long as the program copies it."""
    return mutated(dice, _FRAMES, _FRAME_WORDS)[:EVENT_HEADERS]


def feed_headers(data: bytes) -> bool:
    """Something for people, on one line."""
    packet = decode(data)
    assert packet.protocol.isprintable() and packet.details.isprintable()
    assert len(packet.protocol) + len(packet.details) < 80
    assert all(port is None or 0 <= port < 1 << 16 for port in (packet.source_port, packet.destination_port))
    return packet.source is not None


# The program's events ------------------------------------------------------------------------------------------------


def _record(reason: int, captured: int) -> bytes:
    row = np.zeros(1, EVENT)
    row["time"], row["lan"], row["reason"], row["captured"] = 1 << 40, rows.lan_word(Lan(3, 20)), reason, captured
    return row.tobytes()


_RECORDS = tuple(
    _record(reason, captured) for reason in (Reason.SYN, Reason.DENIED) for captured in (0, 54, EVENT_HEADERS)
)


def make_record(dice: Random) -> bytes:
    """A record of the ring buffer."""
    return mutated(dice, _RECORDS)


def feed_record(data: bytes) -> bool:
    """An event within its bounds, or a `KernelError`: the program is not the one that was loaded."""
    try:
        event = decoded(data)
    except KernelError:
        return False
    assert len(event.headers) <= EVENT_HEADERS
    return feed_headers(event.headers) in (True, False) and Reason[event.reason.upper()] >= 0


FUZZERS = (
    Fuzzer(name="arp", make=make_arp, opened=pure(feed_resolution)),
    Fuzzer(name="neighbour-discovery", make=make_ndp, opened=pure(feed_resolution)),
    Fuzzer(name="headers", make=make_headers, opened=pure(feed_headers)),
    Fuzzer(name="event-record", make=make_record, opened=pure(feed_record)),
)
