"""Policy rules and routes by which a marked probe reaches a VIP on one backend.

For a path with mark M: ``ip rule`` sends packets with fwmark M to a table of M's own, in which each VIP has a route via
the backend's real address, and behind it an ``unreachable`` one. Should the interface go down, the kernel deletes the
first; the second keeps the probe from wandering to another backend by the main table and reporting that one's health.

Rules and routes carry the routing protocol number `PROTOCOL`, by which left-overs of an earlier run are recognised.
"""

from __future__ import annotations

import errno
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import NamedTuple, TypeVar

from pyroute2.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import (
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_NEWROUTE,
    RTM_NEWRULE,
)

from lbctl.errors import NetworkError
from lbctl.network.netlink import Netlink
from lbctl.network.port import ProbePath
from lbctl.network.refusals import explained
from lbctl.network.rtnetlink import Request, attribute, attributes, number_attribute, number_of
from lbctl.network.surprises import understood

PROTOCOL = 0x6C
RULE_PRIORITY = 108
"""Ahead of other people's rules: a mark of lbctl's means nothing to them."""
TABLE_BASE = 0x6C62_0000
_TABLE_MASK = 0xFFFF
_FALLBACK_METRIC = 0xFFFF
_FAMILIES = {4: AF_INET, 16: AF_INET6}
"""By the bytes of an address."""

_MESSAGE = struct.Struct("=8BI")
"""struct rtmsg: family, bits of destination and source, TOS, table, protocol, scope, type, flags. And struct fib_rule_hdr,
where protocol and scope are reserved and the type is an action."""
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_RTN_UNICAST, _RTN_UNREACHABLE = 1, 7
_RT_SCOPE_UNIVERSE, _RT_SCOPE_NOWHERE = 0, 255
"""To delete a route of nowhere is to delete that of any scope."""
_RTNH_F_ONLINK = 4
_FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK, _FRA_PROTOCOL = 6, 10, 15, 16, 21
_FR_ACT_TO_TBL = 1


T = TypeVar("T")


class Rule(NamedTuple):
    """``ip rule``: packets with this mark look up this table."""

    family: int
    mark: int
    table: int
    priority: int = RULE_PRIORITY
    mask: int = 0xFFFF_FFFF

    def __str__(self) -> str:
        return f"the rule for mark {self.mark:#x}"


class Route(NamedTuple):
    """``ip route``: a VIP via a backend, or (``via`` and ``ifindex`` are ``None``) unreachable. Addresses are bytes, which are
    quick to hash and to compare."""

    table: int
    vip: bytes
    via: bytes | None = None
    ifindex: int | None = None

    @property
    def slot(self) -> tuple[int, bytes, bool]:
        """What the kernel holds at most one route for."""
        return self.table, self.vip, self.via is None

    def __str__(self) -> str:
        way = f"via {ip_address(self.via)}" if self.via else "as unreachable"
        return f"the route to {ip_address(self.vip)} {way}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PathTables:
    """The rules and routes of a set of paths, wanted or as the kernel has them."""

    rules: frozenset[Rule] = frozenset()
    routes: frozenset[Route] = frozenset()

    def superseded_by(self, wanted: PathTables) -> frozenset[Route]:
        """The routes that no wanted route will replace in its slot."""
        kept = {route.slot for route in wanted.routes}
        return frozenset(route for route in self.routes if route.slot not in kept)


def tables_of(paths: frozenset[ProbePath]) -> PathTables:
    """The rules and routes for the paths; `NetworkError` if two paths cannot be told apart."""
    (table, count), *_ = Counter(_table(path) for path in paths).most_common(1) or [(0, 0)]
    if count > 1:
        raise NetworkError(
            f"{count} probe paths share the low 16 bits of their mark ({table & _TABLE_MASK:#06x})",
            hint="give each backend a mark of its own",
        )
    return PathTables(
        rules=frozenset(rule for path in paths for rule in _rules(path)),
        routes=frozenset(route for path in paths for route in _routes(path)),
    )


async def read_tables(netlink: Netlink) -> PathTables:
    """What the kernel holds that is lbctl's."""
    # Only the protocol's routes are told, of every family and in any table.
    routes = _MESSAGE.pack(0, 0, 0, 0, 0, PROTOCOL, 0, 0, 0)
    return PathTables(
        rules=frozenset(await netlink.read(RTM_GETRULE, bytes(_MESSAGE.size), understood("a rule", decode_rule))),
        routes=frozenset(await netlink.read(RTM_GETROUTE, routes, understood("a route", decode_route))),
    )


async def apply(netlink: Netlink, *, current: PathTables, wanted: PathTables) -> None:
    """Turn ``current`` into ``wanted``: a rule never points to a table that is not filled."""
    await _carry_out(netlink, "delete", current.rules - wanted.rules, rule_deletion, tolerated=errno.ENOENT)
    # While the interface is down its routes cannot exist; the unreachable ones stand in for them.
    await _carry_out(netlink, "set", wanted.routes - current.routes, route_replacement, tolerated=errno.ENETDOWN)
    await _carry_out(netlink, "delete", current.superseded_by(wanted), route_deletion, tolerated=errno.ESRCH)
    await _carry_out(netlink, "add", wanted.rules - current.rules, rule_addition, tolerated=errno.EEXIST)


async def _carry_out(
    netlink: Netlink, verb: str, subjects: Collection[T], request_for: Callable[[T], Request], *, tolerated: int
) -> None:
    """For each of these, with an error that may be without harm."""
    answers = await netlink.exchange(map(request_for, subjects))
    for subject, answer in zip(subjects, answers, strict=True):
        if isinstance(answer, NetlinkError) and answer.code != tolerated:
            with explained(f"{verb} {subject} of the probes"):
                raise answer


def rule_addition(rule: Rule) -> Request:
    """Refused with EEXIST if there is such a one."""
    return _rule_request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule)


def rule_deletion(rule: Rule) -> Request:
    """Refused with ENOENT if there is none."""
    return _rule_request(RTM_DELRULE, 0, rule)


def route_replacement(route: Route) -> Request:
    """The route takes the place of the one in its slot."""
    return _route_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route, scope=_RT_SCOPE_UNIVERSE)


def route_deletion(route: Route) -> Request:
    """Refused with ESRCH if there is none."""
    return _route_request(RTM_DELROUTE, 0, route, scope=_RT_SCOPE_NOWHERE)


def decode_rule(body: bytes) -> Rule | None:
    """Of an RTM_NEWRULE message; ``None`` if it is not lbctl's."""
    family, *_ = _MESSAGE.unpack_from(body)
    if family not in _FAMILIES.values():
        return None
    told = attributes(body, _MESSAGE.size)
    table = number_of(told.get(_FRA_TABLE))
    if number_of(told.get(_FRA_PROTOCOL)) != PROTOCOL or not _is_our_table(table):
        return None
    mark, priority, mask = (number_of(told.get(kind)) for kind in (_FRA_FWMARK, _FRA_PRIORITY, _FRA_FWMASK))
    return Rule(family=family, mark=mark, table=table, priority=priority, mask=mask)


def decode_route(body: bytes) -> Route | None:
    """Of an RTM_NEWROUTE message; ``None`` if it is not lbctl's."""
    family, bits, *_ = _MESSAGE.unpack_from(body)
    told = attributes(body, _MESSAGE.size)
    table, vip, via = number_of(told.get(_RTA_TABLE)), told.get(_RTA_DST, b""), told.get(_RTA_GATEWAY)
    if _FAMILIES.get(len(vip)) != family or bits != 8 * len(vip) or not _is_our_table(table):
        return None
    return Route(table=table, vip=vip, via=via, ifindex=number_of(told.get(_RTA_OIF)) if via else None)


def _table(path: ProbePath) -> int:
    return TABLE_BASE | path.mark & _TABLE_MASK


def _is_our_table(table: int) -> bool:
    return table & ~_TABLE_MASK == TABLE_BASE


def _rules(path: ProbePath) -> Iterator[Rule]:
    for length in {len(vip.packed) for vip in path.vips}:
        yield Rule(family=_FAMILIES[length], mark=path.mark, table=_table(path))


def _routes(path: ProbePath) -> Iterator[Route]:
    table, via = _table(path), path.via.packed
    for vip in path.vips:
        destination = vip.packed
        yield Route(table=table, vip=destination, via=via, ifindex=path.ifindex)
        yield Route(table=table, vip=destination)


def _rule_request(kind: int, flags: int, rule: Rule) -> Request:
    told = (
        _MESSAGE.pack(rule.family, 0, 0, 0, 0, 0, 0, _FR_ACT_TO_TBL, 0),
        number_attribute(_FRA_PRIORITY, rule.priority),
        number_attribute(_FRA_FWMARK, rule.mark),
        number_attribute(_FRA_FWMASK, rule.mask),
        number_attribute(_FRA_TABLE, rule.table),
        attribute(_FRA_PROTOCOL, bytes([PROTOCOL])),
    )
    return Request(kind=kind, flags=NLM_F_REQUEST | flags, body=b"".join(told))


def _route_request(kind: int, flags: int, route: Route, *, scope: int) -> Request:
    way, type_, hop_flags = number_attribute(_RTA_PRIORITY, _FALLBACK_METRIC), _RTN_UNREACHABLE, 0
    if route.via is not None:
        way = attribute(_RTA_GATEWAY, route.via) + number_attribute(_RTA_OIF, route.ifindex or 0)
        type_, hop_flags = _RTN_UNICAST, _RTNH_F_ONLINK
    bits = 8 * len(route.vip)
    told = (
        _MESSAGE.pack(_FAMILIES[len(route.vip)], bits, 0, 0, 0, PROTOCOL, scope, type_, hop_flags),
        attribute(_RTA_DST, route.vip),
        number_attribute(_RTA_TABLE, route.table),
        way,
    )
    return Request(kind=kind, flags=NLM_F_REQUEST | flags, body=b"".join(told))
