"""What the kernel tells by netlink: neighbours, rules and routes, and links as pyroute2 reads them."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from lbctl.network.events import read_change
from lbctl.network.links import read_links
from lbctl.network.policy import Route, Rule, decode_route, decode_rule, route_replacement, rule_addition
from lbctl.network.port import MARK_BASE, Link, Neighbour
from lbctl.network.rtnetlink import messages
from lbctl.network.surprises import left_out
from tests.fuzz.fuzzer import Feed, Fuzzer
from tests.fuzz.mutation import mutated

_NEW_LINK, _NEW_ADDRESS, _NEW_NEIGHBOUR, _GONE_NEIGHBOUR = 16, 20, 28, 29
_HEADER = struct.Struct("=IHHII")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _message(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, 0, 0, 0) + body


def _neighbour(kind: int, family: int, *attributes: bytes, state: int = 2) -> bytes:
    return _message(kind, struct.pack("=BBHiHBB", family, 0, 0, 2, state, 0x10, 1) + b"".join(attributes))


def _link(*attributes: bytes) -> bytes:
    return _message(_NEW_LINK, struct.pack("=BBHiII", 0, 0, 1, 3, 0x11043, 0) + b"".join(attributes))


_V4, _V6 = _attribute(1, bytes([192, 0, 2, 11])), _attribute(1, bytes.fromhex("20010db8000000000000000000000011"))
_MAC = _attribute(2, bytes.fromhex("020000000011"))
_CACHE = _attribute(3, struct.pack("=4I", 1, 2, 3, 4))
_NEIGHBOURS = (
    _neighbour(_NEW_NEIGHBOUR, 2, _V4, _MAC, _CACHE),
    _neighbour(_NEW_NEIGHBOUR, 10, _V6, _MAC, _attribute(15, bytes([1, 0, 0, 0]))),
    _neighbour(_NEW_NEIGHBOUR, 2, _V4, _CACHE, state=0x20),
    _neighbour(_NEW_NEIGHBOUR, 2, _V4, _attribute(2, bytes([10, 0, 0, 1])), state=0x40),
    _neighbour(_NEW_NEIGHBOUR, 10, _V6, _attribute(2, bytes(16)), state=0x40),
    _neighbour(_GONE_NEIGHBOUR, 2, _V4, _MAC),
    _message(_NEW_ADDRESS, struct.pack("=BBBBi", 2, 24, 0, 0, 2) + _V4),
    _link(_attribute(3, b"eth0\0")),
)
_RULES = (
    Rule(2, 108, MARK_BASE, mask=0xFFFF_FF00, goto=40_000),
    Rule(10, 40_000, MARK_BASE + 1, table=MARK_BASE + 1),
)
_ROUTES = (
    Route(MARK_BASE + 1, bytes([192, 0, 2, 100]), 1, via=bytes([192, 0, 2, 11]), ifindex=2),
    Route(MARK_BASE + 1, bytes(15) + b"\1", 0x1_0001),
)
_POLICY = (
    *(rule_addition(rule).packed(number=0) for rule in _RULES),
    *(route_replacement(route).packed(number=0) for route in _ROUTES),
)
_ETHERNET = _attribute(1, bytes.fromhex("02000000000a"))
_INFO = _attribute(18, _attribute(1, b"vlan\0") + _attribute(2, _attribute(1, struct.pack("=H", 20))))
_LINKS = (
    _link(_attribute(3, b"eth0\0"), _attribute(4, struct.pack("=I", 1500)), _ETHERNET),
    _link(_attribute(3, b"eth0.20\0"), _attribute(5, struct.pack("=I", 3)), _INFO, _ETHERNET),
    _link(_attribute(3, b"gre0\0"), _attribute(1, bytes(4)), _attribute(4, struct.pack("=I", 1476))),
    _link(_attribute(3, b"d\xffx\0"), _attribute(18, _attribute(1, b"vlan\0"))),
)
_WORDS = tuple(
    struct.pack("=HH", size, kind) for size in (0, 3, 4, 5, 8, 10, 20, 0xFFFF) for kind in (1, 2, 3, 4, 18, 0x8002)
)


def make_change(dice: Random) -> bytes:
    """A message to one of the groups."""
    return mutated(dice, _NEIGHBOURS, _WORDS)


def make_link(dice: Random) -> bytes:
    """One interface of a dump."""
    return mutated(dice, _LINKS, _WORDS)


def make_policy(dice: Random) -> bytes:
    """Rules and routes of a dump."""
    return mutated(dice, _POLICY, _WORDS)


@contextmanager
def _quietly(feed: Feed) -> Iterator[Feed]:
    """pyroute2 logs what it cannot read, with its whole traceback."""
    logging.disable(logging.CRITICAL)
    try:
        yield feed
    finally:
        logging.disable(logging.NOTSET)


def feed_change(data: bytes) -> bool:
    """Something that holds together, or it is left out."""
    found = None
    with left_out("a change"):
        found = read_change(data)
    if isinstance(found, Neighbour):
        assert found.mac is None or len(found.mac) == 6
        assert found.mac is not None or not found.usable
    return found is not None


def feed_policy(data: bytes) -> bool:
    """What can be asked for again is what was told; the rest is left out."""
    rules: list[Rule | None] = []
    routes: list[Route | None] = []
    with left_out("a rule or a route"):
        for told in messages(data):
            rules.append(decode_rule(told.body))
            routes.append(decode_route(told.body))
    assert all(decode_rule(rule_addition(rule).body) == rule for rule in rules if rule)
    assert all(decode_route(route_replacement(route).body) == route for route in routes if route)
    return any(rules) or any(routes)


class _Dumped:
    """A kernel with one interface."""

    def __init__(self, message: Any) -> None:
        self._message = message

    async def dump(self, subject: str) -> list[Any]:
        return [self._message] if subject == "link" else []


def feed_link(data: bytes) -> bool:
    """A link with a name and a MAC, or none, or none of it."""
    message = ifinfmsg(data)
    try:
        message.decode()
    except Exception:  # then pyroute2 gives us nothing
        return False
    links = _finished(read_links(_Dumped(message)))  # type: ignore[arg-type]
    assert all(isinstance(link.name, str) and len(link.mac) in (0, 6) for link in links.values())
    assert all(link.vlan >> 36 == 0 for link in links.values())
    return bool(links)


def _finished(coroutine: Any) -> dict[int, Link]:
    """What a coroutine that waits for nothing returns."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        found: dict[int, Link] = done.value
        return found
    raise AssertionError("it waits for something")


FUZZERS = (
    Fuzzer(name="netlink-change", make=make_change, opened=lambda: _quietly(feed_change)),
    Fuzzer(name="netlink-policy", make=make_policy, opened=lambda: _quietly(feed_policy)),
    Fuzzer(name="netlink-link", make=make_link, opened=lambda: _quietly(feed_link)),
)
