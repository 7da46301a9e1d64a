"""Classes of connections: a pool that shares one in its own way has a row, slots and members for it, and lists that say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from itertools import pairwise

import pytest

from lbctl.core.desired import desired_tables
from lbctl.core.ids import identity
from lbctl.core.model import Declaration, OnEmpty, Storage
from lbctl.core.plan import SetMembers, SetPool, SetService, SetSlots, SetSources
from lbctl.core.standing import Condition
from lbctl.core.tables import Tables, id_of
from lbctl.dataplane.fake import FakeDataplane
from lbctl.errors import LbctlError
from tests.unit.core.controlling import owners, plan_for, reconcile
from tests.unit.core.declarations import (
    CT,
    FEED,
    LIMITS,
    declared,
    down,
    pool,
    service,
    situation,
    up,
)

ALL, SITE = IPv4Network("0.0.0.0/0"), IPv4Network("10.0.0.0/8")
CT_SOURCES = IPv4Network("10.1.0.0/16")
SERVERS = {"a": 11, "b": 12}


def with_classes(weights: Mapping[str, Mapping[str, int]], *, fallback: bool = False) -> Declaration:
    first = pool("archives", SERVERS, class_weights=weights)
    return declared(
        replace(first, fallback="spare" if fallback else None),
        pool("spare", {"x": 21, "y": 22}),
        services=(service("archives", ports=(104, 443)),),
        classes=(CT, FEED),
    )


PLAIN = with_classes({})
CLASSED = with_classes({"ct": {"a": 300}})
BOTH = with_classes({"feed": {"a": 0}, "ct": {"a": 300}})


def numbers(tables: Tables) -> dict[str, int]:
    """Pool ids by what they are the rows of."""
    names = {identity(name): name for name in ("archives", "spare", "archives:ct", "archives:feed", "spare:ct")}
    return {names[row.identity]: number for number, row in tables.pools.items()}


def shares(tables: Tables, name: str) -> dict[int, int]:
    """How many slots each host owns."""
    found = Counter(owner.packed[-1] for owner in owners(tables, numbers(tables)[name]) if owner)
    return dict(found)


def asked(tables: Tables, name: str) -> tuple[list[int], list[int]]:
    members = tables.members[numbers(tables)[name]]
    hosts = [
        [tables.backends[id_of(ref)].address.packed[-1] for ref in refs] for refs in (members.own, members.fallbacks)
    ]
    return hosts[0], hosts[1]


def test_class_has_a_row_for_each_pool_that_shares_it_in_its_own_way() -> None:
    tables = reconcile(FakeDataplane(), BOTH)

    assert numbers(tables) == {"archives": 1, "archives:ct": 2, "archives:feed": 3, "spare": 4}
    blocks = sorted((row.base, row.base + row.size) for row in tables.pools.values())
    assert all(end <= start for (_, end), (start, _) in pairwise(blocks))


def test_class_is_shared_by_its_own_weights_and_those_it_does_not_name() -> None:
    tables = reconcile(FakeDataplane(), CLASSED)

    assert set(shares(tables, "archives").values()) == {510, 511}
    assert shares(tables, "archives:ct") == {11: 766, 12: 255}
    assert asked(tables, "archives:ct") == ([11, 12], [])


def test_class_weights_are_static_whatever_an_agent_says() -> None:
    dataplane = FakeDataplane()
    before = reconcile(dataplane, CLASSED)

    after = reconcile(dataplane, CLASSED, situation(CLASSED, {"archives/a": up(2_500)}))

    assert shares(after, "archives:ct") == shares(before, "archives:ct")
    assert shares(after, "archives") == {11: 204, 12: 817}


@pytest.mark.parametrize("name", ["archives", "archives:ct"])
def test_class_leaves_out_whoever_takes_no_new_connections(name: str) -> None:
    tables = reconcile(FakeDataplane(), CLASSED, situation(CLASSED, {"archives/a": down()}))

    assert (shares(tables, name), asked(tables, name)) == ({12: 1021}, ([12], []))


def test_class_keeps_the_slots_of_one_that_is_full_for_the_moment() -> None:
    full = replace(up(), condition=Condition.FULL)

    assert (
        shares(reconcile(FakeDataplane(), CLASSED, situation(CLASSED, {"archives/a": full})), "archives:ct")[11] == 766
    )


def test_class_weight_of_nought_keeps_the_class_from_a_backend() -> None:
    tables = reconcile(FakeDataplane(), BOTH)

    assert shares(tables, "archives:feed") == {12: 1021}
    assert asked(tables, "archives:feed") == ([12], [])


def test_class_without_anybody_goes_to_the_fallback_by_its_own_weights() -> None:
    falling = with_classes({"ct": {"b": 0}}, fallback=True)
    stand = {"archives/a": down(), "spare/x": up(7_500), "spare/y": up(2_500)}

    tables = reconcile(FakeDataplane(), falling, situation(falling, stand))

    assert shares(tables, "archives") == {12: 1021}
    assert shares(tables, "archives:ct") == {21: 766, 22: 255}
    assert asked(tables, "archives:ct") == ([], [21, 22])


def test_class_shares_what_its_pool_is() -> None:
    first, *others = CLASSED.pools
    changed = replace(CLASSED, pools=(replace(first, on_empty=OnEmpty.DROP, storage=Storage.PRIVATE), *others))

    rows = reconcile(FakeDataplane(), changed).pools

    assert (rows[2].on_empty, rows[2].is_private, rows[2].size) == (OnEmpty.DROP, True, rows[1].size)


def test_class_does_not_wait_for_an_agent() -> None:
    """Its weights are declared: what was found may be older than the file."""
    dataplane = FakeDataplane()
    reconcile(dataplane, CLASSED, situation(CLASSED, {"archives/a": up(2_500)}))
    other = with_classes({"ct": {"a": 50}})

    settling = reconcile(dataplane, other, situation(other, settling_pools=["archives"]))

    assert shares(settling, "archives") == {11: 204, 12: 817}
    assert shares(settling, "archives:ct") == {11: 340, 12: 681}


# Lists ---------------------------------------------------------------------------------------------------------------


def lists(tables: Tables) -> dict[int, int]:
    """By port."""
    return {key.port: row.source_list for key, row in tables.services.items()}


def test_class_stands_in_the_lists_of_the_ports_that_it_is_for() -> None:
    tables = reconcile(FakeDataplane(), BOTH)

    assert lists(tables) == {104: 1, 443: 2}
    assert tables.sources == {1: {ALL: 0, CT_SOURCES: 2}, 2: {ALL: 3, CT_SOURCES: 2}}


def test_class_that_no_pool_shares_in_its_own_way_is_in_no_list() -> None:
    tables = reconcile(FakeDataplane(), PLAIN)

    assert (lists(tables), tables.sources) == ({104: 0, 443: 0}, {})


def test_class_added_later_changes_nothing_but_its_own_and_in_a_safe_order() -> None:
    dataplane = FakeDataplane()
    before = reconcile(dataplane, PLAIN)

    plan = plan_for(dataplane, CLASSED, situation(CLASSED))
    after = reconcile(dataplane, CLASSED)

    kinds = [type(step) for step in plan.steps if not isinstance(step, SetSlots | SetMembers)]
    assert kinds == [SetPool, SetSources, SetService, SetService]
    assert [row.id for row in after.services.values()] == [row.id for row in before.services.values()]
    assert {number: after.pools[number] for number in before.pools} == before.pools


def test_class_that_goes_takes_its_lists_and_its_row_after_the_services() -> None:
    dataplane = FakeDataplane()
    reconcile(dataplane, CLASSED)

    plan = plan_for(dataplane, PLAIN, situation(PLAIN))
    after = reconcile(dataplane, PLAIN)

    assert [type(step) for step in plan.steps] == [SetService, SetService, SetSources, SetMembers, SetPool]
    assert (set(numbers(after)), dict(after.sources)) == ({"archives", "spare"}, {})


def test_allowed_sources_that_change_are_another_list() -> None:
    dataplane = FakeDataplane()
    one = replace(PLAIN, services=(service("archives", allow=(SITE,)),))
    two = replace(PLAIN, services=(service("archives", allow=(CT_SOURCES,)),))
    before = reconcile(dataplane, one)

    plan = plan_for(dataplane, two, situation(two))
    after = reconcile(dataplane, two)

    assert (before.sources, after.sources) == ({1: {SITE: 0}}, {2: {CT_SOURCES: 0}})
    assert [(type(step), step in plan.declared_steps) for step in plan.steps] == [
        (SetSources, True),
        (SetService, True),
        (SetSources, True),
    ]
    assert lists(reconcile(dataplane, two)) == {104: 2}
    assert plan_for(dataplane, two, situation(two)).is_empty


def test_classes_beyond_the_kernels_tables_are_an_error_with_a_hint() -> None:
    limits = replace(LIMITS, pools=2)

    with pytest.raises(LbctlError, match="no row is left for pool archives:ct") as caught:
        desired_tables(CLASSED, situation(CLASSED), current=Tables(), limits=limits)
    assert "classes" in caught.value.hint
