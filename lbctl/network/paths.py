"""Policy rules and routes by which a marked probe reaches a VIP on one backend.

For a path with mark M: ``ip rule`` sends packets with fwmark M to a table of that number, in which each VIP has a route via
the backend's real address, and behind it an ``unreachable`` one. Should the interface go down, the kernel deletes the
first; the second keeps the probe from wandering to another backend by the main table and reporting that one's health.

The kernel looks through its rules one by one, for every packet of the director's own that is to be routed: 10,000 rules take it
0.3 ms. So they stand behind everybody else's, 256 of them on a *shelf*: the rules of one priority. One rule ahead of other
people's sends the marks of a shelf there.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeVar

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_GETROUTE, RTM_GETRULE

from lbctl.errors import LbctlError, NetworkError
from lbctl.network.netlink import Netlink
from lbctl.network.policy import (
    FAMILIES,
    MESSAGE,
    Route,
    Rule,
    decode_route,
    decode_rule,
    route_deletion,
    route_replacement,
    rule_addition,
    rule_deletion,
)
from lbctl.network.port import MARK_BASE, MARKS, ProbePath
from lbctl.network.refusals import refusal
from lbctl.network.rtnetlink import PROTOCOL, Request
from lbctl.network.surprises import understood

RULE_PRIORITY = 108
"""Ahead of other people's rules: a mark of lbctl's means nothing to them."""
SHELF_PRIORITY = 40_000
"""Of the first shelf: behind other people's rules, and behind the main table's."""
_SHELF_BITS = 8
_SHELF_MASK = 0xFFFF_FFFF << _SHELF_BITS & 0xFFFF_FFFF
_FALLBACK_METRICS = 0x1_0000
"""Added to those of the others."""
Refused: TypeAlias = Mapping[int, LbctlError]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PathTables:
    """The rules and routes of a set of paths, wanted or as the kernel has them. ``shelves`` are the rules to those."""

    shelves: frozenset[Rule] = frozenset()
    rules: frozenset[Rule] = frozenset()
    routes: frozenset[Route] = frozenset()

    def has_all(self, wanted: PathTables, *, up: Collection[int]) -> bool:
        """Whether nothing of these is missing. The routes of a link that is not ``up`` the kernel drops together with it."""
        lasting = {route for route in wanted.routes if route.via is None or route.ifindex in up}
        return wanted.shelves <= self.shelves and wanted.rules <= self.rules and lasting <= self.routes

    def superseded_by(self, wanted: PathTables) -> frozenset[Route]:
        """The routes that no wanted route will replace in its slot."""
        kept = {route.slot for route in wanted.routes}
        return frozenset(route for route in self.routes if route.slot not in kept)


def tables_of(paths: frozenset[ProbePath]) -> PathTables:
    """The rules and routes for the paths; `NetworkError` if two paths cannot be told apart."""
    for mark, count in Counter(path.mark for path in paths).items():
        if count > 1 or mark not in MARKS:
            why = f"{count} probe paths share the mark" if count > 1 else "lbctl has no such mark:"
            raise NetworkError(f"{why} {mark:#x}", hint=f"there are {len(MARKS):,}, for so many backends")
    return PathTables(
        shelves=frozenset(rule for path in paths for rule in _shelves(path)),
        rules=frozenset(rule for path in paths for rule in _rules(path)),
        routes=frozenset(route for path in paths for route in _routes(path)),
    )


async def read_tables(netlink: Netlink) -> PathTables:
    """What the kernel holds that is lbctl's."""
    # Only the protocol's routes are told, of every family and in any table.
    ours = MESSAGE.pack(0, 0, 0, 0, 0, PROTOCOL, 0, 0, 0)
    rules = await netlink.read(RTM_GETRULE, bytes(MESSAGE.size), understood("a rule", decode_rule))
    routes = await netlink.read(RTM_GETROUTE, ours, understood("a route", decode_route))
    return PathTables(
        shelves=frozenset(rule for rule in rules if rule.goto),
        rules=frozenset(rule for rule in rules if not rule.goto),
        routes=frozenset(routes),
    )


async def apply(netlink: Netlink, *, current: PathTables, wanted: PathTables) -> Refused:
    """Turn ``current`` into ``wanted``: a rule never points to a table that is not filled, nor to a shelf that is empty. Tells
    the marks of the paths that the kernel refused; the others are as wanted."""
    old = (*(current.shelves - wanted.shelves), *(current.rules - wanted.rules))
    # If somebody else deletes a rule while these are read, one is missed.
    addition = partial(rule_addition, is_looked_for=bool(current.rules))
    await _carry_out(netlink, "delete", old, rule_deletion, tolerated=errno.ENOENT)
    # While the interface is down its routes cannot exist; the unreachable ones stand in for them.
    routes = await _carry_out(
        netlink, "set", wanted.routes - current.routes, route_replacement, tolerated=errno.ENETDOWN
    )
    await _carry_out(netlink, "delete", current.superseded_by(wanted), route_deletion, tolerated=errno.ESRCH)
    refused = {route.table: error for route, error in routes.items()}
    filled = frozenset(rule for rule in wanted.rules if rule.table not in refused)
    in_use = {(rule.family, rule.priority) for rule in filled}
    shelves = (shelf for shelf in wanted.shelves - current.shelves if (shelf.family, shelf.goto) in in_use)
    # Where a rule belongs the kernel looks for from the first of them on: so the last are added first.
    new = (*sorted(filled - current.rules, reverse=True), *shelves)
    rules = await _carry_out(netlink, "add", new, addition, tolerated=errno.EEXIST)
    return refused | {mark: error for rule, error in rules.items() for mark in _led_by(rule, wanted)}


async def change(netlink: Netlink, *, before: PathTables, after: PathTables, kept: Collection[int]) -> Refused:
    """Put some in the place of others that are known to be there. Shelves stay on which there are ``kept`` ones, by their
    marks."""
    in_use = {mark & _SHELF_MASK for mark in kept}
    gone = frozenset(shelf for shelf in before.shelves - after.shelves if shelf.mark not in in_use)
    return await apply(netlink, current=replace(before, shelves=gone), wanted=after)


async def _carry_out(
    netlink: Netlink, verb: str, subjects: Collection[T], request_for: Callable[[T], Request], *, tolerated: int
) -> Mapping[T, LbctlError]:
    """For each of these, with an error that may be without harm. Tells what is refused; raises if that is for want of a
    permission, or keeps what is to be deleted."""
    answers = await netlink.exchange(map(request_for, subjects))
    refused = {}
    for subject, answer in zip(subjects, answers, strict=True):
        if isinstance(answer, NetlinkError) and answer.code != tolerated:
            refused[subject] = refusal(answer, f"{verb} {subject} of the probes")
            if answer.code == errno.EPERM or verb == "delete":
                raise refused[subject] from answer
    return refused


def _led_by(rule: Rule, tables: PathTables) -> Iterable[int]:
    """The marks that find their table by this rule."""
    return (each.mark for each in tables.rules if each.priority == rule.goto) if rule.goto else (rule.mark,)


def _shelves(path: ProbePath) -> Iterator[Rule]:
    for family in _families(path):
        marks = path.mark & _SHELF_MASK
        yield Rule(family=family, priority=RULE_PRIORITY, mark=marks, mask=_SHELF_MASK, goto=_shelf(path))


def _rules(path: ProbePath) -> Iterator[Rule]:
    for family in _families(path):
        yield Rule(family=family, priority=_shelf(path), mark=path.mark, table=path.mark)


def _families(path: ProbePath) -> Iterable[int]:
    return {FAMILIES[len(vip.packed)] for vip in path.vips}


def _shelf(path: ProbePath) -> int:
    return SHELF_PRIORITY + ((path.mark - MARK_BASE) >> _SHELF_BITS)


def _routes(path: ProbePath) -> Iterator[Route]:
    # The kernel finds what routes have in common by their metrics: with one for all it looks through all of them.
    metric, via = path.mark - MARK_BASE, path.via.packed
    for vip in path.vips:
        destination = vip.packed
        yield Route(table=path.mark, vip=destination, metric=metric, via=via, ifindex=path.ifindex)
        yield Route(table=path.mark, vip=destination, metric=_FALLBACK_METRICS + metric)
