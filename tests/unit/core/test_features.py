"""Which parts of the program a declaration needs, and which the tables that are there still need."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import IPv4Network

import pytest

from lbctl.core.features import Features, features_in, features_of
from lbctl.core.model import Declaration, Pool, Storage
from lbctl.dataplane.fake import FakeDataplane
from tests.unit.core.controlling import reconcile
from tests.unit.core.declarations import (
    BOTH_NICS,
    CT,
    ETH0,
    OTHER_VIP,
    VIP,
    VIP6,
    VLAN,
    declaration,
    declared,
    pool,
    service,
    situation,
)

PLAIN = declaration({"archives": {"a": 11, "b": 12}})
POOL = PLAIN.pools[0]
NONE = Features(**dict.fromkeys([each.name for each in fields(Features)], False))
SITE = IPv4Network("10.0.0.0/8")


def with_pool(changed: Pool) -> Declaration:
    return replace(PLAIN, pools=(changed,), classes=(CT,))


USES: dict[str, tuple[Declaration, Features]] = {
    "none": (PLAIN, NONE),
    "ipv6": (
        declared(pool("web", {"a": 11}, version=6), services=(service("web", VIP6),)),
        replace(NONE, ipv6=True, lans=True),
    ),
    "lans": (replace(PLAIN, interfaces=(ETH0, VLAN)), replace(NONE, lans=True)),
    "sources, by an allow-list": (
        replace(PLAIN, services=(service("archives", allow=(SITE,)),)),
        replace(NONE, sources=True),
    ),
    "sources, by a class": (with_pool(replace(POOL, class_weights={"ct": {"a": 1}})), replace(NONE, sources=True)),
    "a class that no pool shares in its own way": (with_pool(POOL), NONE),
    "limits": (
        with_pool(replace(POOL, backends=(replace(POOL.backends[0], connection_limit=9, resume_at=8),))),
        replace(NONE, limits=True),
    ),
    "private": (with_pool(replace(POOL, storage=Storage.PRIVATE)), replace(NONE, private=True)),
}


@pytest.mark.parametrize(("file", "expected"), USES.values(), ids=USES)
def test_features_of_a_declaration_are_those_of_the_tables_that_follow_from_it(
    file: Declaration, expected: Features
) -> None:
    tables = reconcile(FakeDataplane(), file, situation(file, nics=BOTH_NICS))

    assert features_of(file) == expected
    assert features_in(tables) == expected


def test_features_of_what_was_removed_are_needed_while_connections_to_it_live() -> None:
    dataplane = FakeDataplane()
    both = declared(
        pool("archives", {"a": 11}),
        pool("web", {"x": 11}, version=6),
        services=(service("archives"), service("web", VIP6)),
    )
    one = replace(both, pools=both.pools[:1], services=both.services[:1])
    reconcile(dataplane, both)

    draining = reconcile(dataplane, one, situation(one, busy_vips=[VIP6]))
    gone = reconcile(dataplane, one, situation(one, busy_vips=[VIP, OTHER_VIP]))

    assert not features_of(one).ipv6
    assert (features_in(draining).ipv6, features_in(gone).ipv6) == (True, False)


def test_features_of_two_are_what_either_needs() -> None:
    one, other = replace(NONE, ipv6=True, limits=True), replace(NONE, limits=True, private=True)
    assert one | other == replace(NONE, ipv6=True, limits=True, private=True)


def test_features_are_the_compilers_options_by_name() -> None:
    assert replace(NONE, ipv6=True).words == (
        "-DLB_IPV6=1",
        "-DLB_LANS=0",
        "-DLB_SOURCES=0",
        "-DLB_LIMITS=0",
        "-DLB_PRIVATE=0",
    )
