"""Alarms end when their cause does: growth within a window, out of counters that only grow."""

from __future__ import annotations

import pytest

from lbctl.daemon.reports.recent import HANDSHAKE_S, RATE_S, WINDOW_S, Recent, grown
from lbctl.dataplane.port import Counters, Traffic


def counters(**traffic: int) -> Counters:
    """Of backend 1."""
    return Counters(reasons={}, services={}, backends={1: Traffic(**traffic)})


def test_recent_before_the_first_sample_has_nothing_to_hold_against() -> None:
    assert Recent().before(WINDOW_S, now=100) is None


@pytest.mark.parametrize(("age_s", "at"), [(0, 160), (RATE_S, 150), (WINDOW_S, 100), (1000, 100)])
def test_recent_finds_the_youngest_sample_of_an_age_or_the_oldest_there_is(age_s: float, at: float) -> None:
    recent = Recent()
    for now in range(100, 170, 10):
        recent.note(counters(packets=now), now=now)
    found = recent.before(age_s, now=160)
    assert found is not None
    assert (found.at, found.counters.backends[1].packets) == (at, at)


def test_recent_keeps_a_sample_as_old_as_its_window_and_none_older_for_long() -> None:
    recent = Recent()
    for now in range(0, 1000, 10):
        recent.note(counters(packets=now), now=now)
        oldest = recent.before(10_000, now=now)
        assert oldest is not None
        assert now - oldest.at <= WINDOW_S + HANDSHAKE_S + 10
        assert now < 100 or now - oldest.at >= WINDOW_S + HANDSHAKE_S


def test_growth_of_what_is_new_counts_in_full_and_of_what_began_anew_not_at_all() -> None:
    before = {"loop": Traffic(packets=31), "again": Traffic(packets=9)}
    now = {"loop": Traffic(packets=33), "again": Traffic(packets=2), "new": Traffic(packets=4)}
    assert [grown(now, before, name, "packets") for name in ("loop", "again", "new", "gone")] == [2, 0, 4, 0]


# Handshakes -----------------------------------------------------------------------------------------------------------


def test_handshake_on_its_way_is_not_unfinished() -> None:
    recent = Recent()
    recent.note(counters(begun=10, completed=10), now=100)
    recent.note(counters(begun=15, completed=14), now=110)
    assert recent.unfinished(counters(begun=16, completed=16), 1, now=111) == (0, 0)


def test_handshakes_that_never_end_are_unfinished_however_many_others_do() -> None:
    """3 of the 50 that are begun each 10 s are lost, and 2 are on their way whenever one looks."""
    recent = Recent()
    for step in range(30):
        recent.note(counters(begun=50 * step + 2, completed=47 * step), now=10 * step)
    total, recently = recent.unfinished(counters(begun=1502, completed=1410), 1, now=300)
    assert 3 * 26 <= total <= 3 * 28 + 2  # of the first 270 s
    assert 3 * 5 <= recently <= 3 * 7  # of a minute


def test_handshakes_unfinished_before_the_daemon_looked_are_not_of_the_last_minute() -> None:
    recent = Recent()
    for now in range(0, 100, 10):
        recent.note(counters(begun=1000, completed=400), now=now)
    assert recent.unfinished(counters(begun=1000, completed=400), 1, now=100) == (600, 0)
