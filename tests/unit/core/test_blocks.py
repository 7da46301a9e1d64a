"""Where in the slot array a pool's block lies."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.blocks import first_fit
from lbctl.errors import LbctlError

CAPACITY = 40
BLOCKS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=6)
"""Any blocks, also some that overlap: a pool's old and new one are both taken while it moves."""


def is_free(base: int, size: int, taken: list[tuple[int, int]]) -> bool:
    return all(base + size <= start or start + length <= base for start, length in taken)


@given(BLOCKS, st.integers(1, 20))
def test_first_fit_is_the_lowest_gap_or_an_error(taken: list[tuple[int, int]], size: int) -> None:
    gaps = [base for base in range(CAPACITY - size + 1) if is_free(base, size, taken)]
    if gaps:
        assert first_fit(taken, size=size, capacity=CAPACITY) == gaps[0]
    else:
        with pytest.raises(LbctlError, match=rf"no room for a table of {size} slots in an array of {CAPACITY}"):
            first_fit(taken, size=size, capacity=CAPACITY)


@given(BLOCKS, st.randoms(use_true_random=False))
def test_first_fit_order_of_blocks_does_not_matter(taken: list[tuple[int, int]], random: Random) -> None:
    shuffled = random.sample(taken, len(taken))
    assert first_fit(shuffled, size=5, capacity=1000) == first_fit(taken, size=5, capacity=1000)


def test_first_fit_whole_array_is_filled_to_the_last_slot() -> None:
    assert first_fit([(0, 30)], size=10, capacity=40) == 30
