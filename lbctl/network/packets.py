"""ARP and neighbour discovery over packet sockets: announcements, the search for duplicates, and sockets for the watch.

The sockets see untagged frames only. Those of a VLAN for which the kernel has no interface it takes the tag off, and marks them
as meant for another host; a station there has nothing to do with this network.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from ipaddress import IPv6Address

from lbctl.core.model import Address
from lbctl.network import arp, ndp, resolution
from lbctl.network.port import Link
from lbctl.network.refusals import explained

_SO_ATTACH_FILTER = 26
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_MR_MULTICAST = 0
_FRAME_SIZE = 2048

# Classic BPF: load a byte, a half-word, or what the kernel notes beside the frame; compare; return.
_BYTE, _HALF_WORD, _NOTE = 0x30, 0x28, 0x20
_JUMP_IF_EQUAL = 0x15
_RETURN = 0x06
_PACKET_TYPE = 0xFFFF_F000 + 4
_PACKET_OTHERHOST = 3

_Condition = tuple[int, int, int]
_ETHERTYPES = {4: arp.ETHERTYPE, 6: ndp.ETHERTYPE}
_KINDS: dict[int, tuple[_Condition, ...]] = {4: (), 6: ((_BYTE, 20, ndp.ICMPV6),)}
"""What tells a frame of address resolution from others of its ethertype."""
_ANSWERS = {4: (_HALF_WORD, 20, arp.REPLY), 6: (_BYTE, 54, ndp.ADVERTISEMENT)}


def open_socket(name: str, *, version: int, answers_only: bool = False) -> socket.socket:
    """A non-blocking packet socket for the ARP (of IP version 4) or neighbour discovery (6) of an interface. `NetworkError` if
    it cannot be bound."""
    conditions = (*_KINDS[version], *([_ANSWERS[version]] if answers_only else []))
    with explained(f"open a packet socket on {name}"):
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            _attach_filter(opened, conditions)
            opened.bind((name, _ETHERTYPES[version]))
        except OSError:
            opened.close()
            raise
    return opened


def announce(link: Link, vip: Address) -> None:
    """Tell everybody that the VIP is at the link's MAC."""
    with explained(f"announce {vip} on {link.name}"), open_socket(link.name, version=vip.version) as opened:
        opened.send(resolution.announcement(link, vip))


async def find_duplicate(link: Link, vip: Address, *, probes: int, spacing_s: float) -> bytes | None:
    """Probe for the VIP (RFC 5227 section 2.1.1, RFC 4862 section 5.4, with shorter waits); the MAC of the first station that
    claims it."""
    with explained(f"probe for {vip} on {link.name}"), open_socket(link.name, version=vip.version) as opened:
        if isinstance(vip, IPv6Address):
            _join(opened, link, ndp.solicited_node(vip))
        for _ in range(probes):
            opened.send(resolution.probe(link, vip))
            claimant = await _hear_claim(opened, vip, own_mac=link.mac, wait_s=spacing_s)
            if claimant is not None:
                return claimant
    return None


async def _hear_claim(opened: socket.socket, vip: Address, *, own_mac: bytes, wait_s: float) -> bytes | None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(wait_s):
            while True:
                packet = resolution.parse(await loop.sock_recv(opened, _FRAME_SIZE))
                if packet is not None and packet.claims(vip) and own_mac not in (packet.station, packet.sender_mac):
                    return packet.station
    except TimeoutError:
        return None


def _join(opened: socket.socket, link: Link, group: IPv6Address) -> None:
    """Have the NIC deliver frames to the group, as long as the socket is open: a rival's search goes nowhere else."""
    mac = ndp.multicast_mac(group)
    membership = struct.pack("iHH8s", link.ifindex, _PACKET_MR_MULTICAST, len(mac), mac)
    opened.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)


def _attach_filter(opened: socket.socket, conditions: tuple[_Condition, ...]) -> None:
    """Keep only frames that are meant for us and for which all conditions (load, offset, value) hold."""
    tests = [(_NOTE, _PACKET_TYPE, _PACKET_OTHERHOST, True), *((*condition, False) for condition in conditions)]
    steps: list[tuple[int, int, int, int]] = []
    for position, (load, offset, value, is_unwanted) in enumerate(tests):
        to_the_drop = 2 * (len(tests) - position) - 1
        steps += [(load, 0, 0, offset), (_JUMP_IF_EQUAL, *_jumps(to_the_drop, if_equal=is_unwanted), value)]
    steps += [(_RETURN, 0, 0, _FRAME_SIZE), (_RETURN, 0, 0, 0)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HP", len(steps), ctypes.addressof(code))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _jumps(distance: int, *, if_equal: bool) -> tuple[int, int]:
    """How far to go if equal, and if not."""
    return (distance, 0) if if_equal else (0, distance)
