"""Probe paths as rules and routes, and the requests that turn one set into another."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from socket import AF_INET, AF_INET6

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_DELRULE, RTM_NEWROUTE, RTM_NEWRULE

from lbctl.core.model import Address
from lbctl.errors import NetworkError
from lbctl.network import paths
from lbctl.network.paths import PathTables
from lbctl.network.policy import Route, Rule, decode_route, decode_rule
from lbctl.network.port import MARK_BASE, ProbePath
from lbctl.network.rtnetlink import Request

VIPS = [ip_address("192.0.2.100"), ip_address("192.0.2.101")]
SERVERS = [ip_address("192.0.2.11"), ip_address("192.0.2.12")]
VIPS6 = [ip_address("2001:db8::100"), ip_address("2001:db8::101")]
SERVERS6 = [ip_address("2001:db8::11"), ip_address("2001:db8::12")]
BYTES: dict[int, int] = {AF_INET: 4, AF_INET6: 16}


class Table:
    """A kernel that holds rules and routes, and notes a rule that ever points to an empty table, or to an empty shelf."""

    def __init__(self, *, refuses: Collection[int] = ()) -> None:
        """Refuses the routes by way of a backend in these tables."""
        self._refuses = refuses
        self.rules: set[Rule] = set()
        self.routes: dict[tuple[int, bytes, int], Route] = {}
        self.dangling_rules = 0
        self.requests = 0

    async def exchange(self, requests: Iterable[Request]) -> list[NetlinkError | None]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> NetlinkError | None:
        self.requests += 1
        if request.kind in (RTM_NEWRULE, RTM_DELRULE):
            return self._change(decode_rule(request.body), is_new=request.kind == RTM_NEWRULE)
        route = decode_route(request.body)
        if route and route.via and route.table in self._refuses:
            return NetlinkError(errno.EINVAL)
        self._replace(route, is_new=request.kind == RTM_NEWROUTE)
        return None

    def _change(self, rule: Rule | None, *, is_new: bool) -> NetlinkError | None:
        assert rule
        if is_new and rule.goto and rule in self.rules:
            return NetlinkError(errno.EEXIST)
        assert (rule not in self.rules) == is_new
        self.rules ^= {rule}
        filled = {(route.table, len(route.vip)) for route in self.routes.values()}
        shelves = {(each.family, each.priority) for each in self.rules}
        self.dangling_rules += is_new and not rule.goto and (rule.table, BYTES[rule.family]) not in filled
        self.dangling_rules += is_new and rule.goto and (rule.family, rule.goto) not in shelves
        return None

    def _replace(self, route: Route | None, *, is_new: bool) -> None:
        assert route and (is_new or self.routes[route.slot] == route)
        self.routes.pop(route.slot, None)
        self.routes.update({route.slot: route} if is_new else {})
        filled = {(route.table, len(route.vip)) for route in self.routes.values()}
        to_tables = (rule for rule in self.rules if not rule.goto)
        self.dangling_rules += sum((rule.table, BYTES[rule.family]) not in filled for rule in to_tables)


def path(mark: int, via: Address, *vips: Address) -> ProbePath:
    """Of a mark with this number."""
    return ProbePath(mark=MARK_BASE + mark, vips=frozenset(vips), via=via, ifindex=2)


backends = st.sampled_from([(SERVERS, VIPS), (SERVERS6, VIPS6)]).flatmap(
    lambda family: st.tuples(st.sampled_from(family[0]), st.sets(st.sampled_from(family[1]), min_size=1))
)
path_sets = st.dictionaries(st.sampled_from([1, 2, 300, 301]), backends).map(
    lambda chosen: frozenset(path(mark, via, *vips) for mark, (via, vips) in chosen.items())
)


@pytest.mark.parametrize(
    ("family", "server", "vips"), [(AF_INET, SERVERS[0], VIPS), (AF_INET6, SERVERS6[0], VIPS6)], ids=["ipv4", "ipv6"]
)
def test_tables_of_a_path_hold_a_rule_on_its_shelf_and_two_routes_a_vip(
    family: int, server: Address, vips: list[Address]
) -> None:
    mark = MARK_BASE + 0x107
    assert paths.tables_of(frozenset([path(0x107, server, *vips)])) == PathTables(
        shelves=frozenset([Rule(family, 108, MARK_BASE + 0x100, mask=0xFFFF_FF00, goto=40_001)]),
        rules=frozenset([Rule(family, 40_001, mark, table=mark)]),
        routes=frozenset(
            route
            for vip in vips
            for route in (
                Route(mark, vip.packed, 0x107, via=server.packed, ifindex=2),
                Route(mark, vip.packed, 0x1_0107),
            )
        ),
    )


def test_tables_of_a_path_without_vips_are_empty() -> None:
    assert paths.tables_of(frozenset([path(7, SERVERS[0])])) == PathTables()


def test_tables_of_a_mark_that_two_paths_have_or_that_is_none_of_lbctls_are_refused() -> None:
    with pytest.raises(NetworkError, match="2 probe paths share the mark 0x6c620007"):
        paths.tables_of(frozenset([path(0x7, SERVERS[0], VIPS[0]), path(0x7, SERVERS[1], VIPS[0])]))
    with pytest.raises(NetworkError, match="no such mark: 0x6c630000"):
        paths.tables_of(frozenset([path(0x1_0000, SERVERS[0], VIPS[0])]))


@given(st.lists(path_sets, min_size=1, max_size=4))
def test_apply_of_any_sequence_reaches_each_wanted_state(sequence: list[frozenset[ProbePath]]) -> None:
    kernel, current = Table(), PathTables()
    for wanted_paths in sequence:
        wanted = paths.tables_of(wanted_paths)
        asyncio.run(paths.apply(kernel, current=current, wanted=wanted))  # type: ignore[arg-type]
        assert kernel.rules == wanted.rules | wanted.shelves
        assert set(kernel.routes.values()) == wanted.routes
        current = wanted
    assert kernel.dangling_rules == 0


@given(path_sets)
def test_apply_of_what_is_there_makes_no_request(wanted_paths: frozenset[ProbePath]) -> None:
    kernel, wanted = Table(), paths.tables_of(wanted_paths)
    asyncio.run(paths.apply(kernel, current=wanted, wanted=wanted))  # type: ignore[arg-type]
    assert kernel.requests == 0


@given(path_sets, path_sets)
def test_change_of_some_keeps_what_the_others_need(some: frozenset[ProbePath], others: frozenset[ProbePath]) -> None:
    marks = {each.mark for each in others}
    before = frozenset(each for each in some if each.mark not in marks)
    kernel, everything = Table(), paths.tables_of(before | others)
    asyncio.run(paths.apply(kernel, current=PathTables(), wanted=everything))  # type: ignore[arg-type]
    left, known = paths.tables_of(others), paths.tables_of(before)
    asyncio.run(paths.change(kernel, before=known, after=PathTables(), kept=marks))  # type: ignore[arg-type]
    assert kernel.rules - everything.shelves == left.rules
    assert left.shelves <= kernel.rules
    assert {rule.mark for rule in kernel.rules if rule.goto} == {shelf.mark for shelf in left.shelves}
    assert set(kernel.routes.values()) == left.routes
    asyncio.run(paths.change(kernel, before=PathTables(), after=known, kept=marks))  # type: ignore[arg-type]
    assert kernel.rules == everything.rules | everything.shelves


@given(path_sets, path_sets)
def test_what_is_refused_of_a_path_keeps_back_no_other(
    wanted_paths: frozenset[ProbePath], refused: frozenset[ProbePath]
) -> None:
    marks = {each.mark for each in wanted_paths & refused}
    kernel, wanted = Table(refuses=marks), paths.tables_of(wanted_paths)
    told = asyncio.run(paths.apply(kernel, current=PathTables(), wanted=wanted))  # type: ignore[arg-type]
    assert told.keys() == marks
    others = paths.tables_of(frozenset(each for each in wanted_paths if each.mark not in marks))
    assert kernel.rules == others.rules | others.shelves
    assert set(kernel.routes.values()) >= others.routes
    assert kernel.dangling_rules == 0
