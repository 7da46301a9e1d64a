"""Ids: stable numbers whose reuse is never mistaken."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from lbctl.core.ids import FREE, MAX_GENERATION, Ids, Ref, Row, identity
from lbctl.errors import LbctlError

KEYS = st.sampled_from([f"archives/pacs{number}" for number in range(1, 9)])
LIMIT = 5


def holding(*keys: str, limit: int = LIMIT) -> Ids:
    ids = Ids(limit=limit)
    for key in keys:
        ids, _ = ids.with_key(key)
    return ids


def test_ids_new_keys_get_the_lowest_numbers_from_one() -> None:
    ids = holding("a", "b", "c")

    assert [ids.ref(key) for key in "abc"] == [Ref(1, 1), Ref(2, 1), Ref(3, 1)]


def test_ids_same_key_keeps_its_reference() -> None:
    ids = holding("a", "b")

    again, ref = ids.with_key("a")

    assert ref == Ref(1, 1)
    assert again == ids


def test_ids_retired_is_not_given_away_until_released() -> None:
    retired = holding("a", "b").without(1)
    kept, while_retired = retired.with_key("c")
    _, once_released = retired.release(1).with_key("c")

    assert while_retired == Ref(3, 1)
    assert kept.retired == frozenset({1})
    assert once_released == Ref(1, 2)


def test_ids_retired_key_that_comes_back_gets_its_own_reference() -> None:
    ids, ref = holding("a", "b").without(1).with_key("a")

    assert ref == Ref(1, 1)
    assert ids.retired == frozenset()


def test_ids_released_key_that_comes_back_gets_a_new_generation() -> None:
    _, ref = holding("a", "b").without(1).release(1).with_key("a")

    assert ref == Ref(1, 2)


def test_ids_generation_wraps_over_nought() -> None:
    ids = Ids.adopt({1: (MAX_GENERATION, FREE)}, limit=LIMIT)

    assert ids.with_key("a")[1] == Ref(1, 1)


def test_ids_one_number_reused_repeats_no_generation_within_its_range() -> None:
    ids = Ids(limit=1)
    seen = set()
    for number in range(MAX_GENERATION):
        ids, ref = ids.with_key(f"key{number}")
        seen.add(ref)
        ids = ids.without(1).release(1)

    assert seen == {Ref(1, generation) for generation in range(1, MAX_GENERATION + 1)}


def test_ids_exhausted_names_the_key_and_says_what_to_do() -> None:
    ids = holding("a", "b", "c", "d", "e").without(2)

    with pytest.raises(LbctlError, match=r"no id is left for 'f': all 5 are taken, 1 of them") as caught:
        ids.with_key("f")

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
    before = ids.exported()

    ids.with_key("c")
    ids.without(1).release(1)

    assert ids.exported() == before
    assert ids.retired == frozenset()


def test_ids_adopted_finds_keys_by_identity_and_tells_the_unclaimed() -> None:
    ids = Ids.adopt({3: (7, identity("a")), 4: (2, identity("gone")), 1: (9, FREE), 2: (0, FREE)}, limit=LIMIT)

    assert ids.ref("a") == Ref(3, 7)
    assert ids.unclaimed(["a", "new"]) == frozenset({4})
    assert ids.with_key("new")[1] == Ref(1, 10)
    assert 2 not in ids.rows


def test_ids_unclaimed_leaves_out_the_retired() -> None:
    assert holding("a", "b", "c").without(2).unclaimed(["a"]) == frozenset({3})


@given(keys=st.lists(st.text(max_size=20), max_size=20, unique=True), data=st.data())
def test_ids_adoption_round_trips(keys: list[str], data: st.DataObject) -> None:
    ids = holding(*keys, limit=20)
    for number in data.draw(st.sets(st.sampled_from(sorted(ids.rows)))) if keys else ():
        ids = ids.without(number).release(number)

    adopted = Ids.adopt(ids.exported(), limit=20)

    assert adopted == ids
    assert [adopted.ref(key) for key in keys] == [ids.ref(key) for key in keys]


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
            self.ids, ref = self.ids.with_key(key)
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
        self.ids = Ids.adopt(self.ids.exported(), limit=LIMIT)
        for number in self.ids.unclaimed(self.live):
            self.ids = self.ids.without(number)

    @invariant()
    def no_two_live_keys_share_an_id(self) -> None:
        assert len({ref.id for ref in self.live.values()}) == len(self.live)
        assert all(1 <= ref.id <= LIMIT for ref in self.live.values())

    @invariant()
    def every_live_key_is_found(self) -> None:
        assert {key: self.ids.ref(key) for key in self.live} == self.live
        assert self.ids.unclaimed(self.live) == frozenset()

    @invariant()
    def rows_tell_the_holder(self) -> None:
        for key, ref in self.live.items():
            assert self.ids.rows[ref.id] == Row(ref.generation, identity(key))


IdsMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestIdsInAnyOrder = IdsMachine.TestCase
