"""A bad cable: the switch loses some of the TCP segments that a node sends, on their way in."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from lbctl.lab import bpf, tc
from lbctl.lab.bpf import TC_DROP, TC_NEXT, Label, Op
from lbctl.lab.node import Node
from lbctl.lab.tc import Hook
from lbctl.lab.topology import Lab

_RANDOM = 7
"""``bpf_get_prandom_u32``."""
_PREFERENCE = 5
"""Before a VLAN's tag is put on."""
_PARTS = 1000
_FIN_SYN_RST, _SYN = 0x07, 0x02
_CONTEXT, _HEADERS, _FLAGS, _LENGTH = 6, 7, 8, 9


class Segments(StrEnum):
    """Which of the segments."""

    WITH_DATA = "with data"
    BARE = "bare"
    """Acknowledgements without data, and without SYN, FIN and RST."""
    SYN = "syn"
    """Those that open a connection, from either side."""


@contextmanager
def losing(lab: Lab, node: Node, segments: Segments, *, share: float) -> Iterator[None]:
    """Lose that share (0 to 1, in steps of a thousandth) of the TCP segments that a node sends from now on, at random.

    The node's own kernel does not notice: it lost nothing."""
    port, switch = node.plan.port, lab.plan.switch
    program = list(_losing(segments, round(share * _PARTS)))
    tc.attach([(port, Hook.INGRESS, program)], namespace=switch, bpffs=lab.plan.bpffs, preference=_PREFERENCE)
    try:
        yield
    finally:
        tc.detach(port, Hook.INGRESS, namespace=switch, preference=_PREFERENCE)


def _losing(segments: Segments, parts: int) -> Iterator[Op | Label]:
    yield bpf.move(_CONTEXT, 1)
    yield from _measure_ip()
    yield from _measure_tcp()
    yield from _select(segments)
    yield Label("pass")
    yield bpf.set_value(0, TC_NEXT)
    yield bpf.leave()
    yield Label("chance")
    yield bpf.call(_RANDOM)
    yield bpf.modulo(0, _PARTS)
    yield bpf.if_below(0, parts, "lose")
    yield bpf.goto("pass")
    yield Label("lose")
    yield bpf.set_value(0, TC_DROP)
    yield bpf.leave()


def _select(segments: Segments) -> Iterator[Op]:
    """Leave it to chance whether one of these segments is lost, and pass all others."""
    match segments:
        case Segments.WITH_DATA:
            yield bpf.if_greater(_LENGTH, _HEADERS, "chance")
        case Segments.BARE:
            yield bpf.if_greater(_LENGTH, _HEADERS, "pass")
            yield bpf.if_equal(_FLAGS, 0, "chance")
        case Segments.SYN:
            yield bpf.and_value(_FLAGS, _SYN)
            yield bpf.if_not_equal(_FLAGS, 0, "chance")


def _measure_ip() -> Iterator[Op | Label]:
    """The length of the datagram and of its IP header; what is not TCP passes."""
    yield bpf.load_half(12)
    yield bpf.if_equal(0, 0x86DD, "IPv6")
    yield bpf.if_not_equal(0, 0x0800, "pass")
    yield bpf.load_byte(23)
    yield bpf.if_not_equal(0, socket.IPPROTO_TCP, "pass")
    yield bpf.load_half(16)
    yield bpf.move(_LENGTH, 0)
    yield bpf.load_byte(14)
    yield bpf.and_value(0, 0x0F)
    yield bpf.shift_left(0, 2)
    yield bpf.move(_HEADERS, 0)
    yield bpf.goto("TCP")
    yield Label("IPv6")
    yield bpf.load_byte(20)
    yield bpf.if_not_equal(0, socket.IPPROTO_TCP, "pass")
    yield bpf.load_half(18)
    yield bpf.add_value(0, 40)
    yield bpf.move(_LENGTH, 0)
    yield bpf.set_value(_HEADERS, 40)
    yield Label("TCP")


def _measure_tcp() -> Iterator[Op]:
    """The flags SYN, FIN and RST, and the length of both headers."""
    yield bpf.load_byte_at(_HEADERS, 14 + 13)
    yield bpf.and_value(0, _FIN_SYN_RST)
    yield bpf.move(_FLAGS, 0)
    yield bpf.load_byte_at(_HEADERS, 14 + 12)
    yield bpf.shift_right(0, 4)
    yield bpf.shift_left(0, 2)
    yield bpf.add_register(_HEADERS, 0)
