"""Probe paths as rules and routes, and the requests that turn one set into another."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.errors import NetworkError
from lbctl.network import paths
from lbctl.network.paths import TABLE_BASE, PathTables, Route, Rule
from lbctl.network.port import ProbePath

VIPS = [IPv4Address("192.0.2.100"), IPv4Address("192.0.2.101")]
SERVERS = [IPv4Address("192.0.2.11"), IPv4Address("192.0.2.12")]


class Table:
    """A kernel that holds rules and routes, and notes a rule that ever points to an empty table."""

    def __init__(self) -> None:
        self.rules: set[int] = set()
        self.routes: dict[tuple[int, str, str], dict[str, Any]] = {}
        self.dangling_rules = 0
        self.requests = 0

    async def request(self, subject: str, command: str, **arguments: Any) -> list[Any]:
        self.requests += 1
        if subject == "rule":
            getattr(self.rules, {"add": "add", "del": "remove"}[command])(arguments["table"])
        elif command == "replace":
            self.routes[self._slot(arguments)] = arguments
        else:
            assert self.routes.pop(self._slot(arguments)) == arguments
        tables = {table for table, *_ in self.routes}
        self.dangling_rules += len(self.rules - tables)
        return []

    @staticmethod
    def _slot(route: dict[str, Any]) -> tuple[int, str, str]:
        return route["table"], route["dst"], str(route.get("type"))


def path(mark: int, via: IPv4Address, *vips: IPv4Address) -> ProbePath:
    return ProbePath(mark=mark, vips=frozenset(vips), via=via, ifindex=2)


path_sets = st.dictionaries(
    st.integers(1, 4),
    st.tuples(st.sampled_from(SERVERS), st.sets(st.sampled_from(VIPS), min_size=1)),
).map(lambda chosen: frozenset(path(mark, via, *vips) for mark, (via, vips) in chosen.items()))


def test_tables_of_a_path_hold_one_rule_and_two_routes_a_vip() -> None:
    table = TABLE_BASE + 7
    assert paths.tables_of(frozenset([path(7, SERVERS[0], *VIPS)])) == PathTables(
        rules=frozenset([Rule(mark=7, table=table)]),
        routes=frozenset(
            [
                Route(table=table, vip=VIPS[0], via=SERVERS[0], ifindex=2),
                Route(table=table, vip=VIPS[0]),
                Route(table=table, vip=VIPS[1], via=SERVERS[0], ifindex=2),
                Route(table=table, vip=VIPS[1]),
            ]
        ),
    )


def test_tables_of_marks_with_equal_low_bits_are_refused() -> None:
    with pytest.raises(NetworkError, match="0x0007"):
        paths.tables_of(frozenset([path(0x7, SERVERS[0], VIPS[0]), path(0x50007, SERVERS[1], VIPS[0])]))


@given(st.lists(path_sets, min_size=1, max_size=4))
def test_apply_of_any_sequence_reaches_each_wanted_state(sequence: list[frozenset[ProbePath]]) -> None:
    kernel, current = Table(), PathTables()
    for wanted_paths in sequence:
        wanted = paths.tables_of(wanted_paths)
        asyncio.run(paths.apply(kernel, current=current, wanted=wanted))  # type: ignore[arg-type]
        assert kernel.rules == {rule.table for rule in wanted.rules}
        assert set(kernel.routes) == {
            (route.table, f"{route.vip}/32", str(7 if route.via is None else None)) for route in wanted.routes
        }
        current = wanted
    assert kernel.dangling_rules == 0


@given(path_sets)
def test_apply_of_what_is_there_makes_no_request(wanted_paths: frozenset[ProbePath]) -> None:
    kernel, wanted = Table(), paths.tables_of(wanted_paths)
    asyncio.run(paths.apply(kernel, current=wanted, wanted=wanted))  # type: ignore[arg-type]
    assert kernel.requests == 0
