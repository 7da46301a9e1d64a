"""Policy rules and routes by which a marked probe reaches a VIP on one backend.

For a path with mark M: ``ip rule`` sends packets with fwmark M to a table of M's own, in which each VIP has a route via
the backend's real address, and behind it an ``unreachable`` one. Should the interface go down, the kernel deletes the
first; the second keeps the probe from wandering to another backend by the main table and reporting that one's health.

Rules and routes carry the routing protocol number `PROTOCOL`, by which left-overs of an earlier run are recognised.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from lbctl.core.model import Address
from lbctl.errors import NetworkError
from lbctl.network.netlink import Netlink
from lbctl.network.port import ProbePath

PROTOCOL = 0x6C
RULE_PRIORITY = 108
"""Ahead of other people's rules: a mark of lbctl's means nothing to them."""
TABLE_BASE = 0x6C62_0000
_TABLE_MASK = 0xFFFF
_FALLBACK_METRIC = 0xFFFF
_FAMILIES = {4: AF_INET, 6: AF_INET6}
_HOST_BITS = {AF_INET: 32, AF_INET6: 128}
_RTN_UNREACHABLE = 7
_RTNH_F_ONLINK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``ip rule``: packets with this mark look up this table."""

    family: int
    mark: int
    table: int
    priority: int = RULE_PRIORITY
    mask: int = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """``ip route``: a VIP via a backend, or (``via`` and ``ifindex`` are ``None``) unreachable."""

    table: int
    vip: Address
    via: Address | None = None
    ifindex: int | None = None

    @property
    def slot(self) -> tuple[int, Address, bool]:
        """What the kernel holds at most one route for."""
        return self.table, self.vip, self.via is None


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
        rules=frozenset(
            Rule(family=_FAMILIES[vip.version], mark=path.mark, table=_table(path))
            for path in paths
            for vip in path.vips
        ),
        routes=frozenset(route for path in paths for route in _routes(path)),
    )


async def read_tables(netlink: Netlink) -> PathTables:
    """What the kernel holds that is lbctl's."""
    rules = await netlink.dump("rule")
    routes = await netlink.dump_routes(protocol=PROTOCOL)
    return PathTables(
        rules=frozenset(_decode_rule(rule) for rule in rules if _is_our_rule(rule)),
        routes=frozenset(_decode_route(route) for route in routes if _is_our_route(route)),
    )


async def apply(netlink: Netlink, *, current: PathTables, wanted: PathTables) -> None:
    """Turn ``current`` into ``wanted``: a rule never points to a table that is not filled."""
    for rule in current.rules - wanted.rules:
        await _tolerating(errno.ENOENT, netlink.request("rule", "del", **_rule_arguments(rule)))
    for route in wanted.routes - current.routes:
        # While the interface is down its routes cannot exist; the unreachable ones stand in for them.
        await _tolerating(errno.ENETDOWN, netlink.request("route", "replace", **_route_arguments(route)))
    for route in current.superseded_by(wanted):
        await _tolerating(errno.ESRCH, netlink.request("route", "del", **_route_arguments(route)))
    for rule in wanted.rules - current.rules:
        await _tolerating(errno.EEXIST, netlink.request("rule", "add", **_rule_arguments(rule)))


def _table(path: ProbePath) -> int:
    return TABLE_BASE | path.mark & _TABLE_MASK


def _routes(path: ProbePath) -> Iterator[Route]:
    for vip in path.vips:
        yield Route(table=_table(path), vip=vip, via=path.via, ifindex=path.ifindex)
        yield Route(table=_table(path), vip=vip)


def _is_our_rule(rule: Any) -> bool:
    is_ours = rule["family"] in _FAMILIES.values() and rule.get_attr("FRA_PROTOCOL") == PROTOCOL
    return is_ours and _is_our_table(rule.get_attr("FRA_TABLE"))


def _is_our_route(route: Any) -> bool:
    return route["dst_len"] == _HOST_BITS.get(route["family"]) and _is_our_table(route.get_attr("RTA_TABLE"))


def _is_our_table(table: int | None) -> bool:
    return table is not None and table & ~_TABLE_MASK == TABLE_BASE


def _decode_rule(message: Any) -> Rule:
    return Rule(
        family=message["family"],
        mark=message.get_attr("FRA_FWMARK") or 0,
        table=message.get_attr("FRA_TABLE"),
        priority=message.get_attr("FRA_PRIORITY") or 0,
        mask=message.get_attr("FRA_FWMASK") or 0,
    )


def _decode_route(message: Any) -> Route:
    gateway = message.get_attr("RTA_GATEWAY")
    return Route(
        table=message.get_attr("RTA_TABLE"),
        vip=ip_address(message.get_attr("RTA_DST")),
        via=ip_address(gateway) if gateway else None,
        ifindex=message.get_attr("RTA_OIF") if gateway else None,
    )


def _rule_arguments(rule: Rule) -> dict[str, int]:
    return {
        "family": rule.family,
        "priority": rule.priority,
        "fwmark": rule.mark,
        "fwmask": rule.mask,
        "table": rule.table,
        "protocol": PROTOCOL,
    }


def _route_arguments(route: Route) -> dict[str, Any]:
    family = _FAMILIES[route.vip.version]
    destination = f"{route.vip}/{_HOST_BITS[family]}"
    common = {"family": family, "table": route.table, "dst": destination, "proto": PROTOCOL}
    if route.via is None:
        return {**common, "type": _RTN_UNREACHABLE, "priority": _FALLBACK_METRIC}
    return {**common, "gateway": str(route.via), "oif": route.ifindex, "flags": _RTNH_F_ONLINK}


async def _tolerating(code: int, request: Any) -> None:
    """Await a request that may fail with that errno without harm."""
    try:
        await request
    except NetlinkError as error:
        if error.code != code:
            raise
