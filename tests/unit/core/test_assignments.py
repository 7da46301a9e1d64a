"""Which source keeps to which backend: what is learnt, what is restored, and what is let go of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.assignments import Settled, private_pools, settle
from lbctl.core.model import Address, Pool, Reassign, Storage
from lbctl.core.standing import Condition, Standing
from lbctl.core.tables import NOBODY_ELSE, reference
from tests.unit.core.declarations import declaration, down, draining, up

DECLARED = declaration({"archives": {"a": 11, "b": 12}, "web": {"x": 21}})
POOL = replace(DECLARED.pools[0], storage=Storage.PRIVATE)
UP = up()
CT: Address = IPv4Address("192.0.2.201")
MR: Address = IPv4Address("192.0.2.202")
US: Address = IPv6Address("2001:db8::203")
A, B = reference(1, 1), reference(2, 1)
REFS = {"a": A, "b": B}
EARLIER_A, STRANGER = reference(1, 7), reference(9, 1)
UNRESOLVED = replace(down(), condition=Condition.UNRESOLVED)
UNKNOWN = replace(draining(), condition=Condition.UNKNOWN)
HALTED = replace(draining(), condition=Condition.HALTED)


def settled(
    book: Mapping[Address, str],
    found: Mapping[Address, int],
    *,
    reassign: Reassign = Reassign.REMOVED,
    refs: Mapping[str, int] = REFS,
    names: str = "ab",
    a: Standing = UP,
    b: Standing = UP,
) -> Settled:
    """``names`` are those in the file, ``a`` and ``b`` how they stand."""
    backends = tuple(backend for backend in POOL.backends if backend.name in names)
    pool = replace(POOL, reassign=reassign, backends=backends)
    standings = {f"archives/{name}": stands for name, stands in {"a": a, "b": b}.items() if name in names}
    of_file = {name: ref for name, ref in refs.items() if name in names}
    return settle(pool, book=book, found=found, refs=of_file, standings=standings)


def test_private_pools_are_those_with_private_storage() -> None:
    assert private_pools(DECLARED) == ()
    assert private_pools(replace(DECLARED, pools=(POOL, *DECLARED.pools[1:]))) == (POOL,)


def test_source_that_the_program_assigned_is_written_down() -> None:
    assert settled({CT: "a"}, {CT: A, MR: B}) == Settled(book={CT: "a", MR: "b"}, writes={})


def test_book_is_what_a_program_that_knows_nothing_is_given() -> None:
    """After a reboot."""
    assert settled({CT: "a", MR: "b"}, {}) == Settled(book={CT: "a", MR: "b"}, writes={CT: A, MR: B})


def test_book_is_right_where_the_program_has_another() -> None:
    """An operator assigned the source anew."""
    assert settled({CT: "b"}, {CT: A}) == Settled(book={CT: "b"}, writes={CT: B})


@pytest.mark.parametrize("reassign", Reassign)
@pytest.mark.parametrize("ref", [EARLIER_A, STRANGER, NOBODY_ELSE])
def test_reference_to_a_server_that_is_no_more_is_no_news(ref: int, reassign: Reassign) -> None:
    """The id went to another server, or another generation of it."""
    assert settled({}, {CT: ref}, reassign=reassign) == Settled(book={}, writes={CT: None})


@pytest.mark.parametrize("ref", [EARLIER_A, STRANGER, NOBODY_ELSE])
def test_source_whose_backend_came_back_is_given_its_new_reference(ref: int) -> None:
    assert settled({CT: "a"}, {CT: ref}) == Settled(book={CT: "a"}, writes={CT: A})


ROWS = {
    # what is the matter with a: whether its source is let go of, by policy
    "up": ({"a": up()}, (False, False, False)),
    "drained": ({"a": draining()}, (False, False, False)),
    "halted": ({"a": HALTED}, (False, False, False)),
    "not probed yet": ({"a": UNKNOWN}, (False, False, False)),
    "down": ({"a": down()}, (False, False, True)),
    "unresolved": ({"a": UNRESOLVED}, (False, False, True)),
    "removed": ({"names": "b"}, (False, True, True)),
    "not written yet": ({"refs": {"b": B}}, (False, False, False)),
}


@pytest.mark.parametrize(("matter", "is_freed"), ROWS.values(), ids=ROWS)
def test_source_is_let_go_of_as_the_pool_says(matter: dict[str, object], is_freed: tuple[bool, ...]) -> None:
    for reassign, freed in zip((Reassign.NEVER, Reassign.REMOVED, Reassign.DOWN), is_freed, strict=True):
        found = settled({CT: "a", MR: "b"}, {CT: A, MR: B}, reassign=reassign, **matter)  # type: ignore[arg-type]
        assert (CT not in found.book) == freed, reassign
        assert found.book[MR] == "b"
        assert MR not in found.writes


def test_source_that_is_let_go_of_is_forgotten_by_the_program() -> None:
    assert settled({CT: "a"}, {CT: A}, names="b") == Settled(book={}, writes={CT: None})
    assert settled({CT: "a"}, {}, names="b") == Settled(book={}, writes={})


@pytest.mark.parametrize("names", ["b", ""])
def test_source_that_is_never_let_go_of_is_nobody_elses(names: str) -> None:
    found = settled({CT: "a"}, {CT: A}, names=names, reassign=Reassign.NEVER)
    assert found == Settled(book={CT: "a"}, writes={CT: NOBODY_ELSE})


def test_source_of_a_backend_that_returns_to_the_file_finds_its_studies_again() -> None:
    removed = settled({CT: "a"}, {CT: A}, names="b", reassign=Reassign.NEVER)
    again = settled(removed.book, {CT: NOBODY_ELSE}, refs={"a": STRANGER, "b": B}, reassign=Reassign.NEVER)
    assert again == Settled(book={CT: "a"}, writes={CT: STRANGER})


def test_source_keeps_to_its_backend_while_nobody_at_all_could_take_it() -> None:
    """It would find no other; and the fault may be at the director's own cable."""
    found = settled({CT: "a", MR: "b"}, {CT: A, MR: B}, reassign=Reassign.DOWN, a=UNRESOLVED, b=UNRESOLVED)
    assert found == Settled(book={CT: "a", MR: "b"}, writes={})


# Whatever happens -----------------------------------------------------------------------------------------------------

SOURCES = st.sampled_from([CT, MR, US])
BOOKS = st.dictionaries(SOURCES, st.sampled_from(["a", "b", "gone"]))
FOUND = st.dictionaries(SOURCES, st.sampled_from([A, B, EARLIER_A, STRANGER, NOBODY_ELSE]))
STANDINGS = st.sampled_from([up(), down(), draining(), UNRESOLVED, UNKNOWN])


def carried_out(found: Mapping[Address, int], writes: Mapping[Address, int | None]) -> dict[Address, int]:
    """What the program has then."""
    return {source: ref for source, ref in {**found, **writes}.items() if ref is not None}


@given(
    book=BOOKS,
    found=FOUND,
    reassign=st.sampled_from(Reassign),
    names=st.sampled_from(["ab", "a", "b"]),
    a=STANDINGS,
    b=STANDINGS,
)
def test_settling_is_over_after_once_and_leaves_book_and_program_in_step(
    *,
    book: dict[Address, str],
    found: dict[Address, int],
    reassign: Reassign,
    names: str,
    a: Standing,
    b: Standing,
) -> None:
    once = settled(book, found, reassign=reassign, names=names, a=a, b=b)
    then = carried_out(found, once.writes)
    assert settled(once.book, then, reassign=reassign, names=names, a=a, b=b) == Settled(book=once.book, writes={})
    refs = {name: ref for name, ref in REFS.items() if name in names}
    assert then == {source: refs.get(name, NOBODY_ELSE) for source, name in once.book.items()}


@given(book=BOOKS, found=FOUND, reassign=st.sampled_from(Reassign), a=STANDINGS, b=STANDINGS)
def test_settling_never_gives_a_source_of_the_book_another_backend(
    book: dict[Address, str], found: dict[Address, int], reassign: Reassign, a: Standing, b: Standing
) -> None:
    """It keeps the one it has, or it has none: the program finds one at its next connection."""
    after = settled(book, found, reassign=reassign, a=a, b=b).book
    assert all(after.get(source, name) == name for source, name in book.items())


def test_pool_of_which_nobody_is_left_can_be_settled() -> None:
    nobody: Pool = replace(POOL, backends=())
    assert settle(nobody, book={CT: "a"}, found={CT: A}, refs={}, standings={}) == Settled(book={}, writes={CT: None})
