"""Slow start: ten steps of a tenth, and never back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.slow_start import FIRST_PERCENT, percent

SPANS = st.floats(min_value=1.0, max_value=86_400.0)
PARTS = st.floats(min_value=0.0, max_value=2.0)
BEGAN = st.floats(min_value=0.0, max_value=1e7)


@given(span_s=SPANS, began_s=BEGAN, parts=st.lists(PARTS, min_size=2, max_size=9))
def test_percent_grows_with_time_from_a_tenth_to_all_in_tenths(
    span_s: float, began_s: float, parts: list[float]
) -> None:
    found = [percent(span_s=span_s, began_s=began_s, now=began_s + part * span_s) for part in sorted(parts)]
    assert found == sorted(found)
    assert set(found) <= set(range(10, 101, 10))


@given(span_s=SPANS, began_s=BEGAN)
def test_percent_is_all_when_the_time_is_over_and_not_before(span_s: float, began_s: float) -> None:
    assert percent(span_s=span_s, began_s=began_s, now=began_s) == FIRST_PERCENT
    assert percent(span_s=span_s, began_s=began_s, now=began_s + 1.001 * span_s) == 100
    assert percent(span_s=span_s, began_s=began_s, now=began_s + 0.99 * span_s) == 90


def test_percent_takes_nine_steps_of_equal_length_before_all() -> None:
    found = [percent(span_s=90.0, began_s=5.0, now=5.0 + second) for second in range(91)]
    assert found == [10 * (1 + second // 10) for second in range(90)] + [100]


@given(span_s=SPANS, began_s=BEGAN, ahead_s=st.floats(min_value=0.1, max_value=1e6))
def test_percent_of_one_that_has_not_begun_is_the_first_step(span_s: float, began_s: float, ahead_s: float) -> None:
    """Not yet, or by the clock of another boot."""
    assert percent(span_s=span_s, began_s=None, now=began_s) == FIRST_PERCENT
    assert percent(span_s=span_s, began_s=began_s + ahead_s, now=began_s) == FIRST_PERCENT
