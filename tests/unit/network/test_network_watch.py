"""Whom the watch asks in each round, and when it calls a neighbour silent."""

from __future__ import annotations

import pytest

from lbctl.network.watch import EVERYBODY, Acquaintance

OLD = bytes.fromhex("020000000001")
NEW = bytes.fromhex("020000000002")


def test_acquaintance_unknown_is_asked_of_everybody() -> None:
    assert Acquaintance().next_recipient() == EVERYBODY


def test_acquaintance_that_answers_is_only_ever_asked_by_unicast() -> None:
    acquaintance = Acquaintance()
    acquaintance.heard_from(OLD)
    for _ in range(20):
        assert acquaintance.next_recipient() == OLD
        acquaintance.heard_from(OLD)


def test_acquaintance_that_missed_one_request_is_asked_of_everybody_next() -> None:
    acquaintance = Acquaintance(mac=OLD)
    assert [acquaintance.next_recipient() for _ in range(4)] == [OLD, EVERYBODY, EVERYBODY, EVERYBODY]


def test_acquaintance_long_silent_is_asked_in_one_round_of_four() -> None:
    acquaintance = Acquaintance(mac=OLD)
    rounds = [acquaintance.next_recipient() for _ in range(104)]
    assert rounds[4:].count(EVERYBODY) == 25
    assert OLD not in rounds[1:]


def test_acquaintance_silent_is_reported_once_a_silence() -> None:
    acquaintance = Acquaintance(mac=OLD)

    def reports() -> int:
        count = 0
        for _ in range(100):
            acquaintance.next_recipient()
            count += acquaintance.has_just_fallen_silent
        return count

    assert reports() == 1
    acquaintance.heard_from(OLD)
    assert reports() == 1


def test_acquaintance_in_doubt_is_asked_for_by_asking_everybody_until_it_answers() -> None:
    acquaintance = Acquaintance(mac=OLD)
    acquaintance.doubt()
    assert [acquaintance.next_recipient() for _ in range(3)] == [EVERYBODY] * 3
    assert not acquaintance.heard_from(OLD)
    assert acquaintance.next_recipient() == OLD


def test_doubt_in_a_silence_does_not_report_it_again() -> None:
    acquaintance = Acquaintance(mac=OLD)
    for _ in range(20):
        acquaintance.next_recipient()
    acquaintance.doubt()
    acquaintance.next_recipient()
    assert not acquaintance.has_just_fallen_silent


@pytest.mark.parametrize("known", [OLD, None])
def test_heard_from_after_a_silence_is_news(known: bytes | None) -> None:
    """The kernel has given the neighbour up meanwhile, and looks for it only now and then."""
    acquaintance = Acquaintance(mac=known)
    for _ in range(20):
        acquaintance.next_recipient()
    assert [acquaintance.heard_from(OLD), acquaintance.heard_from(OLD)] == [True, False]


def test_heard_from_tells_a_move_but_not_the_first_answer() -> None:
    acquaintance = Acquaintance()
    assert [acquaintance.heard_from(mac) for mac in (OLD, OLD, NEW, NEW)] == [False, False, True, False]
    assert acquaintance.next_recipient() == NEW
