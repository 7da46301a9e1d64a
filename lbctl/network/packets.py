"""ARP over packet sockets: announcements, the duplicate-address probe, and sockets for the watch."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from lbctl.network import arp
from lbctl.network.port import Link
from lbctl.network.refusals import explained

_ETH_P_ARP = 0x0806
_SO_ATTACH_FILTER = 26
_FRAME_SIZE = 2048

# Classic BPF: load the half-word at 20 (ARP operation); keep the frame if it is a reply, else drop it.
_REPLIES_ONLY = ((0x28, 0, 0, 20), (0x15, 0, 1, arp.REPLY), (0x06, 0, 0, _FRAME_SIZE), (0x06, 0, 0, 0))


def open_arp_socket(name: str, *, replies_only: bool = False) -> socket.socket:
    """A non-blocking packet socket for the ARP frames of an interface. `NetworkError` if it cannot be bound."""
    with explained(f"open a packet socket on {name}"):
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            if replies_only:
                _attach_filter(opened)
            opened.bind((name, _ETH_P_ARP))
        except OSError:
            opened.close()
            raise
    return opened


def announce(link: Link, vip: IPv4Address) -> None:
    """Broadcast one gratuitous ARP for the VIP."""
    with _arp_socket(link, f"announce {vip} on {link.name}") as opened:
        opened.send(arp.announcement(mac=link.mac, address=vip))


async def find_duplicate(link: Link, vip: IPv4Address, *, probes: int, spacing_s: float) -> bytes | None:
    """Probe for the VIP (RFC 5227 section 2.1.1, with shorter waits); the MAC of the first station that claims it."""
    with _arp_socket(link, f"probe for {vip} on {link.name}") as opened:
        for _ in range(probes):
            opened.send(arp.probe(mac=link.mac, address=vip))
            claimant = await _hear_claim(opened, vip, own_mac=link.mac, wait_s=spacing_s)
            if claimant is not None:
                return claimant
    return None


async def _hear_claim(opened: socket.socket, vip: IPv4Address, *, own_mac: bytes, wait_s: float) -> bytes | None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(wait_s):
            while True:
                packet = arp.parse(await loop.sock_recv(opened, _FRAME_SIZE))
                if packet is not None and packet.claims(vip) and packet.sender_mac != own_mac:
                    return packet.sender_mac
    except TimeoutError:
        return None


@contextmanager
def _arp_socket(link: Link, action: str) -> Iterator[socket.socket]:
    with explained(action), open_arp_socket(link.name) as opened:
        yield opened


def _attach_filter(opened: socket.socket) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _REPLIES_ONLY))
    program = struct.pack("HP", len(_REPLIES_ONLY), ctypes.addressof(code))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
