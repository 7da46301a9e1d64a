"""lbctl's rules and routes as the kernel has them, and the messages of route netlink that add, delete and tell of them."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import NamedTuple

from pyroute2.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_DELROUTE, RTM_DELRULE, RTM_NEWROUTE, RTM_NEWRULE

from lbctl.network.port import MARKS
from lbctl.network.rtnetlink import PROTOCOL, Request, attribute, attributes, number_attribute, number_of

FAMILIES = {4: AF_INET, 16: AF_INET6}
"""By the bytes of an address."""

MESSAGE = struct.Struct("=8BI")
"""struct rtmsg: family, bits of destination and source, TOS, table, protocol, scope, type, flags. And struct fib_rule_hdr,
where protocol and scope are reserved and the type is an action."""
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_RTN_UNICAST, _RTN_UNREACHABLE = 1, 7
_RT_SCOPE_UNIVERSE, _RT_SCOPE_NOWHERE = 0, 255
"""To delete a route of nowhere is to delete that of any scope."""
_RTNH_F_ONLINK = 4
_FRA_GOTO, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK, _FRA_PROTOCOL = 4, 6, 10, 15, 16, 21
_RULE_NUMBERS = (_FRA_PRIORITY, _FRA_FWMARK, _FRA_FWMASK, _FRA_TABLE, _FRA_GOTO)
"""Those of a `Rule`, in its order."""
_FR_ACT_TO_TBL, _FR_ACT_GOTO = 1, 2


class Rule(NamedTuple):
    """``ip rule``: packets with this mark, or these bits of one, look up a table, or go to the rules of another priority."""

    family: int
    priority: int
    mark: int
    mask: int = 0xFFFF_FFFF
    table: int = 0
    goto: int = 0

    def __str__(self) -> str:
        return f"the rule for mark {self.mark:#x}/{self.mask:#x}"


class Route(NamedTuple):
    """``ip route``: a VIP via a backend, or (``via`` and ``ifindex`` are ``None``) unreachable. Addresses are bytes, which are
    quick to hash and to compare."""

    table: int
    vip: bytes
    metric: int
    via: bytes | None = None
    ifindex: int | None = None

    @property
    def slot(self) -> tuple[int, bytes, int]:
        """What the kernel holds at most one route for."""
        return self.table, self.vip, self.metric

    def __str__(self) -> str:
        way = f"via {ip_address(self.via)}" if self.via else "as unreachable"
        return f"the route to {ip_address(self.vip)} {way}"


def rule_addition(rule: Rule, *, is_looked_for: bool = True) -> Request:
    """Refused with EEXIST if there is such a one. Where one to a table is known to be new, the kernel need not look for that:
    with thousands it takes longer than all the rest."""
    return _rule_request(RTM_NEWRULE, NLM_F_CREATE | (NLM_F_EXCL if is_looked_for or rule.goto else 0), rule)


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
    family, *_ = MESSAGE.unpack_from(body)
    if family not in FAMILIES.values():
        return None
    told = attributes(body, MESSAGE.size)
    rule = Rule(family, *(number_of(told.get(kind)) for kind in _RULE_NUMBERS))
    is_ours = number_of(told.get(_FRA_PROTOCOL)) == PROTOCOL and (rule.table in MARKS or rule.goto)
    return rule if is_ours else None


def decode_route(body: bytes) -> Route | None:
    """Of an RTM_NEWROUTE message; ``None`` if it is not lbctl's."""
    family, bits, *_ = MESSAGE.unpack_from(body)
    told = attributes(body, MESSAGE.size)
    table, vip, via = number_of(told.get(_RTA_TABLE)), told.get(_RTA_DST, b""), told.get(_RTA_GATEWAY)
    if FAMILIES.get(len(vip)) != family or bits != 8 * len(vip) or table not in MARKS:
        return None
    metric, ifindex = number_of(told.get(_RTA_PRIORITY)), number_of(told.get(_RTA_OIF))
    return Route(table=table, vip=vip, metric=metric, via=via, ifindex=ifindex if via else None)


def _rule_request(kind: int, flags: int, rule: Rule) -> Request:
    told = (
        MESSAGE.pack(rule.family, 0, 0, 0, 0, 0, 0, _FR_ACT_GOTO if rule.goto else _FR_ACT_TO_TBL, 0),
        *(number_attribute(kind, number) for kind, number in zip(_RULE_NUMBERS, rule[1:], strict=True) if number),
        attribute(_FRA_PROTOCOL, bytes([PROTOCOL])),
    )
    return Request(kind=kind, flags=NLM_F_REQUEST | flags, body=b"".join(told))


def _route_request(kind: int, flags: int, route: Route, *, scope: int) -> Request:
    way, type_, hop_flags = b"", _RTN_UNREACHABLE, 0
    if route.via is not None:
        way = attribute(_RTA_GATEWAY, route.via) + number_attribute(_RTA_OIF, route.ifindex or 0)
        type_, hop_flags = _RTN_UNICAST, _RTNH_F_ONLINK
    bits = 8 * len(route.vip)
    told = (
        MESSAGE.pack(FAMILIES[len(route.vip)], bits, 0, 0, 0, PROTOCOL, scope, type_, hop_flags),
        attribute(_RTA_DST, route.vip),
        number_attribute(_RTA_TABLE, route.table),
        number_attribute(_RTA_PRIORITY, route.metric),
        way,
    )
    return Request(kind=kind, flags=NLM_F_REQUEST | flags, body=b"".join(told))
