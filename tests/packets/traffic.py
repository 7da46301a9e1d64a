"""Random packets and states: few clients, ports and addresses, so that they meet; now and then a packet that is broken."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address
from random import Random

import numpy as np
from scapy.layers.inet import ICMP, IP, TCP

from lbctl.core.model import OnEmpty
from lbctl.core.tables import NOBODY, BackendRow, BackendState, Members, Tables
from tests.packets.frames import (
    CLIENT_MAC,
    COLLIDING,
    DICOM,
    FAR_VIP,
    FOREIGN,
    IP_OPTIONS,
    OTHER_MAC,
    SYSLOG,
    UNSERVED,
    ipv4,
    padded,
    patched,
    ping,
    udp,
)
from tests.packets.rig import LOOPBACK, OWN_MAC, SIZE, VIP, backend_mac, backend_row, tables, up_in
from tests.packets.wire import ACK, FIN, RST, SYN

CLIENTS = [IPv4Address(f"10.0.{i}.{i + 1}") for i in range(6)]
PORTS = [1024, 40_000, 40_001, 65_535]
FLAGS = [SYN, SYN, SYN, ACK, ACK, ACK, ACK | 0x08, ACK | FIN, RST, RST | ACK, 0, SYN | ACK, SYN | FIN, FIN | 0x28]
STATES = [BackendState.UP] * 8 + [state for state in BackendState if state is not BackendState.UP]
LIMITS = [(0, 0)] * 3 + [(1, 0), (2, 1), (3, 0), (4, 2), (6, 5)]
"""A backend's limit, and where it resumes: few enough for the few clients to meet them."""
GENERATIONS = [7, 7, 7, 8, 7 + 256]


@cache
def _template(kind: str, has_options: bool) -> bytes:
    """One sound packet of each kind; scapy is too slow for thousands."""
    ip_options = list(IP_OPTIONS) if has_options else []
    if kind == "tcp":
        return ipv4(TCP(sport=1, dport=1, seq=1), options=ip_options)
    if kind == "error":
        return ipv4(ICMP(type=3, code=4) / IP(src=str(VIP)) / TCP(sport=1, dport=1), options=ip_options)
    return udp(options=ip_options) if kind == "udp" else ping(options=ip_options)


def random_frame(random: Random) -> bytes:
    """Mostly a sound packet of a client to a service of the VIP. (Its checksums are not: nobody on the way looks.)"""
    kind = random.choice(["tcp"] * 6 + ["udp"] * 3 + ["error"] * 2 + ["ping"])
    frame = _template(kind, random.random() < 0.1)
    frame = patched(frame, 0, random.choice([OWN_MAC] * 20 + [OTHER_MAC]))
    frame = patched(frame, 6, random.choice([CLIENT_MAC] * 20 + [OWN_MAC, backend_mac(1), backend_mac(2)]))
    frame = patched(frame, 26, random.choice(CLIENTS).packed)
    frame = patched(frame, 30, random.choice([VIP] * 12 + [FAR_VIP, COLLIDING, FOREIGN]).packed)
    if kind == "error":
        frame = _about_something(frame, random)
    elif kind != "ping":
        ports = struct.pack(">HH", random.choice(PORTS), _service(kind == "tcp", random))
        frame = patched(frame, _transport(frame), ports)
    if kind == "tcp":
        near = struct.pack(">I", (random.choice((0, 1 << 31, 0xFFFFFF00)) + random.randrange(3_000)) & 0xFFFFFFFF)
        numbers = random.choice((near, near, random.randbytes(4))) + random.randbytes(4)
        frame = patched(frame, _transport(frame) + 4, numbers)
        frame = patched(frame, _transport(frame) + 13, bytes((random.choice(FLAGS),)))
    if random.random() < 0.25:
        frame = _fragmented(frame, random)
    return broken(frame, random) if random.random() < 0.2 else padded(frame)


def _service(is_tcp: bool, random: Random) -> int:
    return random.choice([DICOM] * 8 + [11_112, UNSERVED] if is_tcp else [SYSLOG] * 8 + [UNSERVED])


def _about_something(frame: bytes, random: Random) -> bytes:
    """The error quotes a packet from the VIP to a client, by TCP or UDP."""
    quoted, is_tcp = _transport(frame) + 8, random.random() < 0.7
    frame = patched(frame, _transport(frame), bytes((random.choice((3, 3, 3, 4, 5, 11, 12)),)))
    frame = patched(frame, quoted + 9, bytes((6 if is_tcp else 17,)))
    frame = patched(frame, quoted + 16, random.choice(CLIENTS).packed)
    return patched(frame, quoted + 20, struct.pack(">HH", _service(is_tcp, random), random.choice(PORTS)))


def _fragmented(frame: bytes, random: Random) -> bytes:
    """A fragment of one of few datagrams."""
    position = random.choice((0x2000, 0x2000, 0x2003, 0x0006, 0x1FFF))
    return patched(frame, 18, struct.pack(">HH", random.randrange(4), position))


def random_syn(random: Random) -> tuple[bytes, IPv4Address, int]:
    """A SYN to the first service from anywhere; also its client and port."""
    client, port = IPv4Address(random.randrange(0x0B000000, 0xC0000000)), random.randrange(1 << 16)
    frame = patched(_template("tcp", False), 26, client.packed)
    return patched(frame, 34, struct.pack(">HH", port, DICOM) + bytes(9) + bytes((SYN,))), client, port


def _transport(frame: bytes) -> int:
    return 14 + (frame[14] & 0xF) * 4


def broken(frame: bytes, random: Random) -> bytes:
    """Cut short, or with a few bytes of its headers changed."""
    if random.random() < 0.4:
        return frame[: random.randint(14, len(frame))]
    for _ in range(random.randint(1, 3)):
        frame = patched(frame, random.randrange(min(len(frame), 54)), bytes((random.choice((0, 1, 0x45, 0xFF)),)))
    return frame


def random_tables(random: Random) -> Tables:
    """Three backends in any state; slots and members that are as they should be, and now and then as they should not."""
    rows = {number: _random_row(number, random) for number in (1, 2, 3)}
    rows = {number: row for number, row in rows.items() if row.state is not BackendState.ABSENT}
    up = list(up_in(rows))
    odd = [NOBODY, 1 | 6 << 16, 2 | 7 << 16, 3 | 8 << 16]
    owners = (up or [NOBODY]) if random.random() < 0.8 else up + odd
    slots = np.array([random.choice(owners) for _ in range(SIZE)], np.uint32)
    usual = tables(rows, slots, on_empty=random.choice(list(OnEmpty)), is_private=random.random() < 0.3)
    return replace(
        usual,
        vips={VIP: LOOPBACK, FAR_VIP: LOOPBACK + 1},
        members={1: _random_members(owners, random)},
        drops_wrong_ports=random.random() < 0.2,
    )


def _random_members(refs: list[int], random: Random) -> Members:
    """Any of them, some for the fallback; now and then more than are asked."""
    chosen = random.sample(refs, random.randint(0, len(refs))) * random.choice((1, 1, 1, 30))
    own = random.randint(0, len(chosen))
    return Members(own=tuple(chosen[:own]), fallbacks=tuple(chosen[own:]))


def _random_row(number: int, random: Random) -> BackendRow:
    limit, resume = random.choice(LIMITS)
    mac = b"" if random.random() < 0.08 else None
    row = backend_row(number, state=random.choice(STATES), mac=mac, limit=limit, resume=resume)
    return replace(row, generation=random.choice(GENERATIONS))
