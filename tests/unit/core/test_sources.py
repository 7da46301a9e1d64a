"""Lists of sources: a program that knows nothing but the longest prefix gives every source what the file says."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.model import Address, Network, Protocol, Service, TrafficClass
from lbctl.core.sources import EVERYBODY, numbered, source_list
from lbctl.core.tables import ServiceKey, Sources
from lbctl.errors import LbctlError
from tests.strategies import PREFIXES, Dice
from tests.unit.core.declarations import VIP, VIP6, service

DENIED = -1
ALL4, ALL6 = EVERYBODY[4], EVERYBODY[6]
SITE, WARD, ROOM = (IPv4Network(text) for text in ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24"))
SITE6, WARD6 = IPv6Network("2001:db8::/32"), IPv6Network("2001:db8:1::/48")


def group(*sources: Network, ports: tuple[int, ...] = ()) -> TrafficClass:
    return TrafficClass(name="", sources=sources, ports=ports)


def listed(
    *classes: TrafficClass, allow: tuple[Network, ...] = (), port: int = 104, vip: Address = VIP
) -> Sources | None:
    """The classes have rows 1, 2, …"""
    return source_list(service("p", vip, allow=allow), port, classed=[(each, n) for n, each in enumerate(classes, 1)])


ROWS: dict[str, tuple[Sources | None, Sources | None]] = {
    "neither allowed ones nor classes": (listed(), None),
    "allowed ones": (listed(allow=(SITE, IPv4Network("192.0.2.7"))), {SITE: 0, IPv4Network("192.0.2.7"): 0}),
    "an allowed one within another": (listed(allow=(WARD, SITE)), {SITE: 0}),
    "one class": (listed(group(WARD)), {ALL4: 0, WARD: 1}),
    "a class of everybody": (listed(group()), {ALL4: 1}),
    "a class of nobody in this family": (listed(group(SITE6)), None),
    "a class of another port": (listed(group(WARD, ports=(443,))), None),
    "a class of this port": (listed(group(WARD, ports=(443, 104))), {ALL4: 0, WARD: 1}),
    "a class of this port and all sources": (listed(group(ports=(104,))), {ALL4: 1}),
    "a class within what is allowed": (listed(group(WARD), allow=(SITE,)), {SITE: 0, WARD: 1}),
    "a class around what is allowed": (listed(group(SITE), allow=(WARD,)), {WARD: 1}),
    "a class beside what is allowed": (listed(group(IPv4Network("11.0.0.0/8")), allow=(WARD,)), {WARD: 0}),
    "the same as what is allowed": (listed(group(WARD), allow=(WARD,)), {WARD: 1}),
    "the longest prefix counts": (listed(group(SITE), group(ROOM)), {ALL4: 0, SITE: 1, ROOM: 2}),
    "in any order of the file": (listed(group(ROOM), group(SITE)), {ALL4: 0, SITE: 2, ROOM: 1}),
    "of equal ones the first in the file": (listed(group(SITE), group(SITE)), {ALL4: 0, SITE: 1}),
    "of equal ones who names the port": (listed(group(SITE), group(SITE, ports=(104,))), {ALL4: 0, SITE: 2}),
    "the longest prefix, whoever names the port": (
        listed(group(ROOM), group(SITE, ports=(104,))), {ALL4: 0, SITE: 2, ROOM: 1},
    ),
    "a class within itself": (listed(group(SITE, ROOM)), {ALL4: 0, SITE: 1}),
    "a way back to the class around": (
        listed(group(SITE, ROOM), group(WARD)), {ALL4: 0, SITE: 1, WARD: 2, ROOM: 1},
    ),
    "IPv6": (listed(group(WARD, WARD6), allow=(SITE6,), vip=VIP6), {SITE6: 0, WARD6: 1}),
    "IPv6, everybody": (listed(group(WARD, WARD6), vip=VIP6), {ALL6: 0, WARD6: 1}),
}  # fmt: skip


@pytest.mark.parametrize(("found", "expected"), ROWS.values(), ids=ROWS)
def test_list_of_these_is_as_in_the_table(found: Sources | None, expected: Sources | None) -> None:
    assert found == expected


# Against the rule itself ---------------------------------------------------------------------------------------------


def looked_up(found: Sources | None, source: Address) -> int:
    """What the program does: the longest prefix."""
    if found is None:
        return 0
    matching = [prefix for prefix in found if source in prefix]
    return found[max(matching, key=lambda prefix: prefix.prefixlen)] if matching else DENIED


def by_the_rule(declared: Service, port: int, classes: Sequence[TrafficClass], source: Address) -> int:
    """The most specific prefix; of equals a class that names the port; then the order of the file."""
    if declared.allow and not any(source in prefix for prefix in declared.allow):
        return DENIED
    ranked = [
        (prefix.prefixlen, bool(found.ports), -number)
        for number, found in enumerate(classes, start=1)
        if port in (found.ports or (port,))
        for prefix in found.sources or (EVERYBODY[source.version],)
        if source in prefix
    ]
    return -max(ranked)[2] if ranked else 0


def edges(version: int) -> list[Address]:
    """The first and last address of each prefix, and those beside them."""
    numbers = {int(end) + by for each in PREFIXES[version] for end in (each[0], each[-1]) for by in (-1, 0, 1)}
    limit = 1 << EVERYBODY[version].max_prefixlen
    make = type(EVERYBODY[version].network_address)
    return [make(number) for number in sorted(numbers) if 0 <= number < limit]


def drawn(throws: bytes) -> tuple[Service, list[TrafficClass]]:
    dice = Dice(throws)
    version = dice.pick((4, 6))
    both = [*PREFIXES[4], *PREFIXES[6]]
    ports = ((), (104,), (443,), (104, 443))
    classes = [group(*dice.subset(both), ports=dice.pick(ports)) for _ in range(dice.pick(range(4)))]
    allow = tuple(dice.subset(PREFIXES[version]))
    return service("p", VIP if version == 4 else VIP6, allow=allow), classes


@given(st.binary(min_size=64, max_size=64).map(drawn))
def test_list_gives_every_source_what_the_rule_says(case: tuple[Service, list[TrafficClass]]) -> None:
    declared, classes = case
    found = source_list(declared, 104, classed=[(each, number) for number, each in enumerate(classes, start=1)])

    for source in edges(declared.vip.version):
        assert looked_up(found, source) == by_the_rule(declared, 104, classes, source), source


@given(st.binary(min_size=64, max_size=64).map(drawn))
def test_list_has_no_prefix_that_changes_nothing(case: tuple[Service, list[TrafficClass]]) -> None:
    declared, classes = case
    found = source_list(declared, 104, classed=[(each, number) for number, each in enumerate(classes, start=1)]) or {}

    for prefix in found:
        without = {other: row for other, row in found.items() if other != prefix}
        assert looked_up(without, prefix[0]) != looked_up(found, prefix[0]) or looked_up(
            without, prefix[-1]
        ) != looked_up(found, prefix[-1])


# Numbers -------------------------------------------------------------------------------------------------------------


def key(port: int) -> ServiceKey:
    return ServiceKey(vip=VIP, port=port, protocol=Protocol.TCP)


A: Sources = {SITE: 0}
B: Sources = {SITE: 0, WARD: 1}
C: Sources = {SITE6: 0}


def test_lists_of_one_content_are_one_list() -> None:
    assert numbered({key(1): A, key(2): B, key(3): dict(A)}, {}, capacity=9) == (
        {key(1): 1, key(2): 2, key(3): 1},
        {1: A, 2: B},
    )


def test_lists_keep_the_number_of_their_content_whatever_came_before_them() -> None:
    backwards = dict(reversed(list(B.items())))

    assert numbered({key(1): C, key(2): B}, {7: backwards}, capacity=9) == ({key(1): 1, key(2): 7}, {1: C, 7: B})


def test_list_with_another_content_never_has_the_number_of_one_that_is_there() -> None:
    numbers, wanted = numbered({key(1): B}, {1: A, 2: C}, capacity=9)

    assert (numbers, wanted) == ({key(1): 3}, {3: B})


def test_lists_with_more_prefixes_than_fit_are_an_error_with_a_hint() -> None:
    """Old and new ones are there at once; each family has a table of its own."""
    assert numbered({key(1): B}, {1: A, 2: C}, capacity=3)[0] == {key(1): 3}
    with pytest.raises(LbctlError, match="have 3 IPv4 prefixes in all, which is more than 2") as caught:
        numbered({key(1): B}, {1: A, 2: C}, capacity=2)
    assert caught.value.hint
