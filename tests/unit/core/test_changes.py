"""Two files compared: every key that differs is told by its name, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.config.loader import parse
from lbctl.core.changes import ChangeKind, changes
from lbctl.core.model import Declaration
from tests.unit.core.worlds import WORLDS, World

FILE = """
interfaces:
  eth0: {address: 192.0.2.10/24}
services:
  pacs: {vip: 192.0.2.100, preset: dicom, pool: archives, allow: [10.0.0.0/8, 10.20.5.17]}
  feed: {vip: 192.0.2.101, preset: hl7, pool: engine}
classes:
  ct: {sources: [10.1.0.0/16]}
pools:
  archives:
    kind: archive
    storage: shared
    connection_limit: 20
    check: {interval: 5s}
    classes:
      ct: {pacs1: 200}
    backends:
      pacs1: {address: 192.0.2.11}
      pacs2: {address: 192.0.2.12, check: {called_ae: PACS2}}
      pacs3: {address: 192.0.2.13}
  engine:
    kind: hl7
    backends:
      one: {address: 192.0.2.21}
      two: {address: 192.0.2.22}
"""
FOUR = FILE.replace("      pacs3:", "      pacs4: {address: 192.0.2.14, weight: 5}\n      pacs3:")


def told(old: str, new: str) -> list[str]:
    """As a person reads them."""
    return [str(each) for each in changes(parse(old, source="old"), parse(new, source="new"))]


EDITS = {
    "weight": (
        "192.0.2.11}",
        "192.0.2.11, weight: 50}",
        ["pools.archives.backends.pacs1.weight: 100 -> 50"],
    ),
    "of one backend": (
        "called_ae: PACS2",
        "called_ae: OTHER",
        ["pools.archives.backends.pacs2.check.called_ae: PACS2 -> OTHER"],
    ),
    "of all backends": (
        "interval: 5s",
        "interval: 2s",
        ["pools.archives.check.interval: 5s -> 2s", "pools.archives.check.timeout: 3s -> 1.2s"],
    ),
    "limit": ("connection_limit: 20", "connection_limit: 22", ["pools.archives.connection_limit: 20 -> 22"]),
    "limit and threshold": (
        "connection_limit: 20",
        "connection_limit: 20\n    resume_at: 10",
        ["pools.archives.resume_at: (none) -> 10"],
    ),
    "removed": (
        "      pacs3: {address: 192.0.2.13}\n",
        "",
        ["pools.archives.backends.pacs3: 192.0.2.13, weight 100 -> (none)"],
    ),
    "renamed": (
        "pacs3:",
        "pacs9:",
        [
            "pools.archives.backends.pacs9: (none) -> 192.0.2.13, weight 100",
            "pools.archives.backends.pacs3: 192.0.2.13, weight 100 -> (none)",
        ],
    ),
    "class weight": ("{pacs1: 200}", "{pacs1: 150}", ["pools.archives.classes.ct.pacs1: 200 -> 150"]),
    "class": ("[10.1.0.0/16]", "[10.2.0.0/16]", ["classes.ct.sources: 10.1.0.0/16 -> 10.2.0.0/16"]),
    "allow": (
        ", 10.20.5.17]",
        "]",
        ["services.pacs.allow: 10.0.0.0/8, 10.20.5.17 -> 10.0.0.0/8"],
    ),
    "preset": (
        "preset: hl7",
        "ports: [2575]",
        [],
    ),
    "agent": (
        "check: {interval: 5s}",
        "check: {interval: 5s}\n    agent: {port: 3333}",
        [
            "pools.archives.agent.port: (none) -> 3333",
            "pools.archives.agent.interval: (none) -> 500ms",
            "pools.archives.agent.timeout: (none) -> 400ms",
        ],
    ),
    "director": (
        "classes:\n  ct",
        "director: {tcp_flows: 4096}\nclasses:\n  ct",
        ["director.tcp_flows: 131,072 -> 4,096"],
    ),
    "comment": ("services:", "# a comment\nservices:", []),
    "order of failover": (
        "      one: {address: 192.0.2.21}\n      two: {address: 192.0.2.22}\n",
        "      two: {address: 192.0.2.22}\n      one: {address: 192.0.2.21}\n",
        ["pools.engine.backends (order): one, two -> two, one"],
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), EDITS.values(), ids=EDITS)
def test_changes_of_a_file_are_told_by_its_keys(old: str, new: str, expected: list[str]) -> None:
    assert old in FILE
    assert told(FILE, FILE.replace(old, new)) == expected


def test_changes_of_a_new_pool_and_service_are_one_line_each() -> None:
    service = "  web: {vip: 192.0.2.102, ports: [80, 443], pool: web, allow: [10.0.0.0/8]}\nclasses:\n"
    pool = "  web:\n    kind: web\n    backends:\n" + "".join(
        f"      w{n}: {{address: 192.0.2.{n}}}\n" for n in range(31, 39)
    )
    assert told(FILE, FILE.replace("classes:\n  ct", f"{service}  ct") + pool) == [
        "services.web: (none) -> 192.0.2.102 tcp 80, 443 to pool web, only from 10.0.0.0/8",
        "pools.web: (none) -> web, balance, 8 backends: w31, w32, w33, w34, w35 and 3 more",
    ]


def test_changes_of_a_backend_added_are_not_changes_of_the_others() -> None:
    assert told(FILE, FOUR) == ["pools.archives.backends.pacs4: (none) -> 192.0.2.14, weight 5"]


def test_changes_there_and_back_are_the_same_keys_the_other_way_round() -> None:
    there = changes(parse(FILE, source="a"), parse(FOUR.replace("5s", "4s"), source="b"))
    back = changes(parse(FOUR.replace("5s", "4s"), source="b"), parse(FILE, source="a"))
    assert {(each.key, each.before, each.after) for each in there} == {(e.key, e.after, e.before) for e in back}
    turned = {ChangeKind.ADDED: ChangeKind.REMOVED, ChangeKind.REMOVED: ChangeKind.ADDED}
    kinds = {each.key: each.kind for each in back}
    assert all(kinds[each.key] is turned.get(each.kind, each.kind) for each in there)


def _named(declaration: Declaration) -> Declaration:
    """Names are unique in a file; in these worlds services may share one."""
    services = (replace(each, name=f"{each.vip} {each.ports}") for each in declaration.services)
    return replace(declaration, services=tuple(services))


def _shuffled(declaration: Declaration, order: st.DataObject) -> Declaration:
    """The same file, its entries in another order. (That of classes means something.)"""
    pools = [replace(p, backends=tuple(order.draw(st.permutations(p.backends)))) for p in declaration.pools]
    return replace(
        declaration,
        services=tuple(order.draw(st.permutations(declaration.services))),
        pools=tuple(order.draw(st.permutations(pools))),
        interfaces=tuple(order.draw(st.permutations(declaration.interfaces))),
    )


@given(WORLDS, st.data())
def test_changes_of_a_file_in_another_order_are_none(worlds: list[World], order: st.DataObject) -> None:
    found = _named(worlds[0].declared)
    assert changes(found, _shuffled(found, order)) == ()


@given(WORLDS)
def test_changes_between_two_files_are_none_only_if_they_declare_the_same(worlds: list[World]) -> None:
    first, last = _named(worlds[0].declared), _named(worlds[-1].declared)
    assert (changes(first, last) == ()) == (_unordered(first) == _unordered(last))


def _unordered(found: Declaration) -> object:
    """All that a declaration says, whatever its order."""
    pools = {(p.name, repr(replace(p, backends=())), frozenset(map(repr, p.backends))) for p in found.pools}
    services = {service.name: repr(service) for service in found.services}
    return pools, services, found.classes, found.director
