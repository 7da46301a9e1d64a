"""Ids: stable numbers whose reuse is never mistaken."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from lbctl.core.ids import FREE, MAX_GENERATION, Ids, Ref, Row, identity
from lbctl.errors import LbctlError

KEYS = st.sampled_from([f"archives/pacs{number}" for number in range(1, 9)])
LIMIT = 5


def with_key(ids: Ids, key: str) -> tuple[Ids, Ref]:
    ids, refs = ids.with_keys([key])
    return ids, refs[key]


def ref_of(ids: Ids, key: str) -> Ref | None:
    """What the key holds, retired or not."""
    held = {row.identity: Ref(number, row.generation) for number, row in ids.rows.items()}
    return held.get(identity(key))


def exported(ids: Ids) -> dict[int, tuple[int, int]]:
    """The rows as the kernel keeps them."""
    return {number: (row.generation, row.identity) for number, row in ids.rows.items()}


def unclaimed(ids: Ids, keys: Iterable[str]) -> set[int]:
    """The live ids that belong to none of these keys."""
    live = {number for number, row in ids.rows.items() if row.identity != FREE} - ids.retired
    return live - {ref.id for key in keys if (ref := ref_of(ids, key))}


def holding(*keys: str, limit: int = LIMIT) -> Ids:
    ids = Ids(limit=limit)
    for key in keys:
        ids, _ = with_key(ids, key)
    return ids


def test_ids_new_keys_get_the_lowest_numbers_from_one() -> None:
    ids = holding("a", "b", "c")

    assert [ref_of(ids, key) for key in "abc"] == [Ref(1, 1), Ref(2, 1), Ref(3, 1)]


def test_ids_same_key_keeps_its_reference() -> None:
    ids = holding("a", "b")

    again, ref = with_key(ids, "a")

    assert ref == Ref(1, 1)
    assert again == ids


def test_ids_retired_is_not_given_away_until_released() -> None:
    retired = holding("a", "b").without(1)
    kept, while_retired = with_key(retired, "c")
    _, once_released = with_key(retired.release(1), "c")

    assert while_retired == Ref(3, 1)
    assert kept.retired == frozenset({1})
    assert once_released == Ref(1, 2)


def test_ids_retired_key_that_comes_back_gets_its_own_reference() -> None:
    ids, ref = with_key(holding("a", "b").without(1), "a")

    assert ref == Ref(1, 1)
    assert ids.retired == frozenset()


def test_ids_released_key_that_comes_back_gets_a_new_generation() -> None:
    _, ref = with_key(holding("a", "b").without(1).release(1), "a")

    assert ref == Ref(1, 2)


def test_ids_generation_wraps_over_nought() -> None:
    ids = Ids.adopt({1: (MAX_GENERATION, FREE)}, limit=LIMIT)

    assert with_key(ids, "a")[1] == Ref(1, 1)


def test_ids_one_number_reused_repeats_no_generation_within_its_range() -> None:
    ids = Ids(limit=1)
    seen = set()
    for number in range(MAX_GENERATION):
        ids, ref = with_key(ids, f"key{number}")
        seen.add(ref)
        ids = ids.without(1).release(1)

    assert seen == {Ref(1, generation) for generation in range(1, MAX_GENERATION + 1)}


def test_ids_exhausted_names_the_key_and_says_what_to_do() -> None:
    ids = holding("a", "b", "c", "d", "e").without(2)

    with pytest.raises(LbctlError, match=r"no id is left for 'f': all 5 are taken, 1 of them") as caught:
        with_key(ids, "f")

    assert "remove entries" in caught.value.hint


def test_ids_live_one_cannot_be_released() -> None:
    with pytest.raises(ValueError, match="id 1 is live"):
        holding("a").release(1)


@pytest.mark.parametrize("number", [2, 99])
def test_ids_free_one_cannot_be_retired_or_released(number: int) -> None:
    ids = holding("a", "b").without(2).release(2)

    with pytest.raises(KeyError):
        ids.without(number)
    with pytest.raises(KeyError):
        ids.release(number)


def test_ids_methods_leave_the_value_unchanged() -> None:
    ids = holding("a", "b")
    before = exported(ids)

    with_key(ids, "c")
    ids.without(1).release(1)

    assert exported(ids) == before
    assert ids.retired == frozenset()


def test_ids_adopted_finds_keys_by_identity() -> None:
    ids = Ids.adopt({3: (7, identity("a")), 4: (2, identity("gone")), 1: (9, FREE), 2: (0, FREE)}, limit=LIMIT)

    assert ref_of(ids, "a") == Ref(3, 7)
    assert ref_of(ids, "new") is None
    assert with_key(ids, "new")[1] == Ref(1, 10)
    assert 2 not in ids.rows


@given(keys=st.lists(st.text(max_size=20), max_size=20, unique=True), data=st.data())
def test_ids_adoption_round_trips(keys: list[str], data: st.DataObject) -> None:
    ids = holding(*keys, limit=20)
    for number in data.draw(st.sets(st.sampled_from(sorted(ids.rows)))) if keys else ():
        ids = ids.without(number).release(number)

    adopted = Ids.adopt(exported(ids), limit=20)

    assert adopted == ids
    assert [ref_of(adopted, key) for key in keys] == [ref_of(ids, key) for key in keys]


@given(key=st.text(max_size=40))
def test_identity_any_key_fits_64_bits_and_is_never_free(key: str) -> None:
    assert 0 < identity(key) < 1 << 64


def test_identity_given_key_is_the_one_in_the_kernels_tables() -> None:
    """If this fails, a daemon of the new version adopts nothing that the old one left in the kernel."""
    assert identity("archives/pacs1") == 12_316_963_575_333_960_721


class IdsMachine(RuleBasedStateMachine):
    """Keys come and go in any order; who ever held a reference is remembered."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.ids = Ids(limit=LIMIT)
        self.live: dict[str, Ref] = {}
        self.holder_of: dict[Ref, str] = {}

    @rule(target=keys, key=KEYS)
    def add(self, key: str) -> str:
        taken = {row.identity for row in self.ids.rows.values()} - {FREE}
        try:
            self.ids, ref = with_key(self.ids, key)
        except LbctlError:
            assert len(taken) == LIMIT
            assert identity(key) not in taken
            return key
        assert self.live.get(key, ref) == ref
        assert self.holder_of.setdefault(ref, key) == key
        self.live[key] = ref
        return key

    @rule(key=keys)
    def retire(self, key: str) -> None:
        ref = self.live.pop(key, None)
        if ref is not None:
            self.ids = self.ids.without(ref.id)

    @rule()
    def release_all(self) -> None:
        for number in self.ids.retired:
            self.ids = self.ids.release(number)

    @rule()
    def restart(self) -> None:
        self.ids = Ids.adopt(exported(self.ids), limit=LIMIT)
        for number in unclaimed(self.ids, self.live):
            self.ids = self.ids.without(number)

    @invariant()
    def no_two_live_keys_share_an_id(self) -> None:
        assert len({ref.id for ref in self.live.values()}) == len(self.live)
        assert all(1 <= ref.id <= LIMIT for ref in self.live.values())

    @invariant()
    def every_live_key_is_found(self) -> None:
        assert {key: ref_of(self.ids, key) for key in self.live} == self.live
        assert unclaimed(self.ids, self.live) == set()

    @invariant()
    def rows_tell_the_holder(self) -> None:
        for key, ref in self.live.items():
            assert self.ids.rows[ref.id] == Row(ref.generation, identity(key))


IdsMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestIdsInAnyOrder = IdsMachine.TestCase
