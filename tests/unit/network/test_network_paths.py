"""Probe paths as rules and routes, and the requests that turn one set into another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import ip_address
from socket import AF_INET, AF_INET6

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl import RTM_DELRULE, RTM_NEWROUTE, RTM_NEWRULE

from lbctl.core.model import Address
from lbctl.errors import NetworkError
from lbctl.network import paths
from lbctl.network.paths import TABLE_BASE, PathTables, Route, Rule
from lbctl.network.port import ProbePath
from lbctl.network.rtnetlink import Request

VIPS = [ip_address("192.0.2.100"), ip_address("192.0.2.101")]
SERVERS = [ip_address("192.0.2.11"), ip_address("192.0.2.12")]
VIPS6 = [ip_address("2001:db8::100"), ip_address("2001:db8::101")]
SERVERS6 = [ip_address("2001:db8::11"), ip_address("2001:db8::12")]
BYTES: dict[int, int] = {AF_INET: 4, AF_INET6: 16}


class Table:
    """A kernel that holds rules and routes, and notes a rule that ever points to an empty table."""

    def __init__(self) -> None:
        self.rules: set[Rule] = set()
        self.routes: dict[tuple[int, bytes, bool], Route] = {}
        self.dangling_rules = 0
        self.requests = 0

    async def exchange(self, requests: Iterable[Request]) -> list[None]:
        return list(map(self._answer, requests))

    def _answer(self, request: Request) -> None:
        self.requests += 1
        if request.kind in (RTM_NEWRULE, RTM_DELRULE):
            self._change(paths.decode_rule(request.body), is_new=request.kind == RTM_NEWRULE)
        else:
            self._replace(paths.decode_route(request.body), is_new=request.kind == RTM_NEWROUTE)
        filled = {(route.table, len(route.vip)) for route in self.routes.values()}
        self.dangling_rules += sum((rule.table, BYTES[rule.family]) not in filled for rule in self.rules)

    def _change(self, rule: Rule | None, *, is_new: bool) -> None:
        assert rule and (rule not in self.rules) == is_new
        self.rules ^= {rule}

    def _replace(self, route: Route | None, *, is_new: bool) -> None:
        assert route and (is_new or self.routes[route.slot] == route)
        self.routes.pop(route.slot, None)
        self.routes.update({route.slot: route} if is_new else {})


def path(mark: int, via: Address, *vips: Address) -> ProbePath:
    return ProbePath(mark=mark, vips=frozenset(vips), via=via, ifindex=2)


backends = st.sampled_from([(SERVERS, VIPS), (SERVERS6, VIPS6)]).flatmap(
    lambda family: st.tuples(st.sampled_from(family[0]), st.sets(st.sampled_from(family[1]), min_size=1))
)
path_sets = st.dictionaries(st.integers(1, 4), backends).map(
    lambda chosen: frozenset(path(mark, via, *vips) for mark, (via, vips) in chosen.items())
)


@pytest.mark.parametrize(
    ("family", "server", "vips"), [(AF_INET, SERVERS[0], VIPS), (AF_INET6, SERVERS6[0], VIPS6)], ids=["ipv4", "ipv6"]
)
def test_tables_of_a_path_hold_one_rule_and_two_routes_a_vip(family: int, server: Address, vips: list[Address]) -> None:
    table = TABLE_BASE + 7
    assert paths.tables_of(frozenset([path(7, server, *vips)])) == PathTables(
        rules=frozenset([Rule(family=family, mark=7, table=table)]),
        routes=frozenset(
            [
                route
                for vip in vips
                for route in (
                    Route(table=table, vip=vip.packed, via=server.packed, ifindex=2),
                    Route(table=table, vip=vip.packed),
                )
            ]
        ),
    )


def test_tables_of_a_path_without_vips_are_empty() -> None:
    assert paths.tables_of(frozenset([path(7, SERVERS[0])])) == PathTables()


def test_tables_of_marks_with_equal_low_bits_are_refused() -> None:
    with pytest.raises(NetworkError, match="0x0007"):
        paths.tables_of(frozenset([path(0x7, SERVERS[0], VIPS[0]), path(0x50007, SERVERS[1], VIPS[0])]))


@given(st.lists(path_sets, min_size=1, max_size=4))
def test_apply_of_any_sequence_reaches_each_wanted_state(sequence: list[frozenset[ProbePath]]) -> None:
    kernel, current = Table(), PathTables()
    for wanted_paths in sequence:
        wanted = paths.tables_of(wanted_paths)
        asyncio.run(paths.apply(kernel, current=current, wanted=wanted))  # type: ignore[arg-type]
        assert kernel.rules == wanted.rules
        assert set(kernel.routes.values()) == wanted.routes
        current = wanted
    assert kernel.dangling_rules == 0


@given(path_sets)
def test_apply_of_what_is_there_makes_no_request(wanted_paths: frozenset[ProbePath]) -> None:
    kernel, wanted = Table(), paths.tables_of(wanted_paths)
    asyncio.run(paths.apply(kernel, current=wanted, wanted=wanted))  # type: ignore[arg-type]
    assert kernel.requests == 0
