"""``python -m tests.otherkernel.inside.tags``: where XDP finds the tag of a frame that a real VLAN sub-interface sent, and what
becomes of it on the way back. Prints one line of JSON, a list of `Sighting`."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lbctl.dataplane import bpf

NEAR, FAR, VLAN = "near", "far", 20
"""The NICs of the sender and of the program."""
XDP_PASS, XDP_TX = 2, 3
ARRAY = 2
PLAIN_FRAME = b"\xff" * 6 + bytes.fromhex("020000000009") + b"\x88\xb5" + bytes(60)
"""To everybody, of a type for experiments (IEEE 802)."""
TAGGED_TYPE = b"\x81\x00"
DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A frame sent through ``near.20``."""

    is_native: bool
    """How the program is attached to the other end."""
    is_offloaded: bool
    """Whether the sender leaves the tag to its NIC (``tx-vlan-offload``)."""
    is_in_frame: bool
    """What the program saw."""
    returned_to_vlan: bool
    """Where the frame arrived that the program sent back by XDP_TX: at ``near.20``, or at ``near`` without a tag."""


def main() -> None:
    """See it in every way."""
    make_pair()
    ways = itertools.product((True, False), (True, False))
    print(json.dumps([dataclasses.asdict(sighting(*way)) for way in ways]))


def make_pair() -> None:
    """Two NICs with a VLAN each, on which the kernel says nothing of its own."""
    ip("link", "add", NEAR, "type", "veth", "peer", "name", FAR)
    for parent in (NEAR, FAR):
        child = f"{parent}.{VLAN}"
        ip("link", "add", "link", parent, "name", child, "type", "vlan", "id", str(VLAN))
        for name in (parent, child):
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1", encoding="ascii")
            ip("link", "set", name, "arp", "off", "up")


def sighting(is_native: bool, is_offloaded: bool) -> Sighting:
    """Send one frame, and look."""
    subprocess.run(["ethtool", "-K", NEAR, "txvlan", "on" if is_offloaded else "off"], check=True, capture_output=True)
    seen = bpf.create_map("seen", type=ARRAY, key_size=4, value_size=8, max_entries=1, flags=0)
    with attached(FAR, returning(seen), is_native=is_native), attached(NEAR, passing(), is_native=True):
        everywhere, in_vlan = received(NEAR), received(f"{NEAR}.{VLAN}")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((f"{NEAR}.{VLAN}", 0))
            sender.send(PLAIN_FRAME)
        wait_for_more(than=everywhere)
        returned_to_vlan = received(f"{NEAR}.{VLAN}") > in_vlan
    word = np.zeros(1, "<u8")
    bpf.lookup(seen, np.zeros(1, "<u4"), word)
    is_in_frame = word.tobytes()[4:6] == TAGGED_TYPE
    return Sighting(
        is_native=is_native, is_offloaded=is_offloaded, is_in_frame=is_in_frame, returned_to_vlan=returned_to_vlan
    )


@contextmanager
def attached(name: str, code: bytes, *, is_native: bool) -> Iterator[None]:
    """A program behind a NIC, for a while."""
    program = bpf.load_xdp("tags", code)
    link = bpf.create_xdp_link(program, socket.if_nametoindex(name), generic=not is_native)
    yield
    bpf.detach_link(link)
    os.close(link)
    os.close(program)


def returning(seen: int) -> bytes:
    """A program that notes bytes 8 to 15 of a frame, the EtherType among them, and sends it back."""
    return b"".join(
        [
            _op(0x61, 2, 1, offset=0),  # r2 = ctx->data
            _op(0x61, 3, 1, offset=4),  # r3 = ctx->data_end
            _op(0xBF, 4, 2),  # r4 = r2
            _op(0x07, 4, value=16),  # r4 += 16
            _op(0x2D, 4, 3, offset=9),  # if r4 > r3 goto end
            _op(0x79, 7, 2, offset=8),  # r7 = *(u64 *)(r2 + 8)
            _op(0x62, 10, offset=-4),  # *(u32 *)(r10 - 4) = 0
            _op(0x18, 1, 1, value=seen) + _op(0),  # r1 = map
            _op(0xBF, 2, 10),  # r2 = r10
            _op(0x07, 2, value=-4),  # r2 += -4
            _op(0x85, value=1),  # r0 = bpf_map_lookup_elem(r1, r2)
            _op(0x15, 0, offset=1),  # if r0 == 0 goto end
            _op(0x7B, 0, 7),  # *(u64 *)r0 = r7
            _op(0xB7, 0, value=XDP_TX),  # end: return XDP_TX
            _op(0x95),
        ]
    )


def passing() -> bytes:
    """A program that lets everything pass: without one, the NIC of a pair takes nothing that the other end sends by XDP."""
    return _op(0xB7, 0, value=XDP_PASS) + _op(0x95)


def _op(code: int, destination: int = 0, source: int = 0, *, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, destination | source << 4, offset, value)


def received(name: str) -> int:
    """Packets that came in by an interface."""
    return int(Path(f"/sys/class/net/{name}/statistics/rx_packets").read_text(encoding="ascii"))


def wait_for_more(*, than: int) -> None:
    """Until the frame is back at the sender's NIC, and so at its VLAN: the one processor does both before it goes on here."""
    deadline = time.monotonic() + DEADLINE_S
    while received(NEAR) <= than:
        assert time.monotonic() < deadline, "the frame did not come back"
        os.sched_yield()


def ip(*arguments: str) -> None:
    """``ip`` of iproute2."""
    subprocess.run(["ip", *arguments], check=True)


if __name__ == "__main__":
    main()
