"""Alarms end when their cause does: growth within a window, out of counters that only grow."""

from __future__ import annotations

from lbctl.daemon.recent import Recent


def test_recent_before_the_first_sample_is_nothing() -> None:
    assert Recent[str](window_s=60).growth({"loop": 31}) == {"loop": 0}


def test_recent_counts_what_came_since_the_sample_and_new_names_in_full() -> None:
    recent = Recent[str](window_s=60)
    recent.note({"loop": 31}, now=100)
    assert recent.growth({"loop": 33, "unresolved": 4}) == {"loop": 2, "unresolved": 4}


def test_recent_forgets_what_is_older_than_the_window() -> None:
    recent = Recent[str](window_s=60)
    for now in range(100, 300, 10):
        recent.note({"loop": 10 if now < 150 else 15}, now=now)
        expected = 5 if 150 <= now < 210 else 0
        assert recent.growth({"loop": 10 if now < 150 else 15}) == {"loop": expected}


def test_recent_of_a_counter_that_began_anew_is_not_negative() -> None:
    recent = Recent[str](window_s=60)
    recent.note({"loop": 31}, now=100)
    assert recent.growth({"loop": 2}) == {"loop": 0}
