"""The table of conditions, row by row, and which signal prevails."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.capacity import Capacity
from lbctl.core.health import DownCause, Health, Status
from lbctl.core.model import Backend, ResetOnDown
from lbctl.core.standing import Condition, Override, Signals, Standing, standing
from lbctl.core.tables import BackendState
from lbctl.core.verdict import AgentWord, Outcome, ProbeResult
from tests.unit.core.declarations import pool

BACKEND = replace(pool("archives", {"pacs1": 11}).backends[0], connection_limit=10, resume_at=8)

ALL_TAKEN = "all 10 connections are taken; new ones again from 8 down"
UP = Health(status=Status.UP, since_s=0.0, reason="echo in 3 ms")
BUSY = replace(UP, is_busy=True, reason="association limit reached")
MISCONFIGURED = replace(UP, is_misconfigured=True, reason="called AE title not recognised")
DOWN = Health(status=Status.DOWN, since_s=0.0, reason="connection refused", cause=DownCause.TRANSPORT)
WRONG = replace(DOWN, cause=DownCause.APPLICATION, reason="no A-ASSOCIATE-AC")
UNKNOWN = Health(since_s=0.0)
FULL = Capacity()
QUARTER = Capacity(percent=25, smoothed_percent=25.0, target_percent=25)
EMPTY = Capacity(percent=0, smoothed_percent=0.0, target_percent=0)
WORD_DRAIN = replace(EMPTY, word=AgentWord.DRAIN)
WORD_DOWN = replace(EMPTY, word=AgentWord.DOWN)
DRAINED, HALTED = Override.DRAINED, Override.HALTED


def signals(
    health: Health = UP,
    capacity: Capacity = FULL,
    *,
    said: Override | None = None,
    neighbour: str = "reachable",
    full: bool = False,
    given: int | None = None,
    ramp: int = 100,
) -> Signals:
    return Signals(
        health=health,
        capacity=capacity,
        override=said,
        is_resolved=neighbour not in ("failed", "incomplete"),
        neighbour=neighbour,
        is_full=full,
        given_weight=given,
        ramp_percent=ramp,
    )


def judged(found: Signals, *, weight: int = 100) -> Standing:
    return standing(replace(BACKEND, weight=weight), found)


ROWS = {
    "up": (signals(), Condition.UP, BackendState.UP, 10_000, "echo in 3 ms"),
    "up at a quarter": (signals(UP, QUARTER), Condition.UP, BackendState.UP, 2_500, "echo in 3 ms"),
    "busy": (signals(BUSY), Condition.BUSY, BackendState.UP, 10_000, "association limit reached"),
    "misconfigured": (
        signals(MISCONFIGURED), Condition.MISCONFIGURED, BackendState.UP, 10_000, "called AE title not recognised",
    ),
    "drained": (signals(said=DRAINED), Condition.DRAINING, BackendState.DRAINING, 0, "drained by an operator"),
    "drained before it was probed": (
        signals(UNKNOWN, said=DRAINED), Condition.DRAINING, BackendState.DRAINING, 0, "drained by an operator",
    ),
    "drained and down": (
        signals(DOWN, said=DRAINED), Condition.DRAINING, BackendState.DEAD, 0,
        "drained by an operator; also down: connection refused",
    ),
    "drained and unresolved": (
        signals(said=DRAINED, neighbour="failed"), Condition.DRAINING, BackendState.DEAD, 0, "drained by an operator",
    ),
    "halted": (signals(said=HALTED), Condition.HALTED, BackendState.HALTED, 0, "halted by an operator"),
    "halted and down": (
        signals(DOWN, said=HALTED), Condition.HALTED, BackendState.HALTED, 0,
        "halted by an operator; also down: connection refused",
    ),
    "halted and unresolved": (
        signals(said=HALTED, neighbour="failed"), Condition.HALTED, BackendState.HALTED, 0, "halted by an operator",
    ),
    "full": (
        signals(full=True), Condition.FULL, BackendState.UP, 10_000, ALL_TAKEN,
    ),
    "full, and its agent says a quarter": (
        signals(UP, QUARTER, full=True), Condition.FULL, BackendState.UP, 2_500, ALL_TAKEN,
    ),
    "full and busy": (
        signals(BUSY, full=True), Condition.FULL, BackendState.UP, 10_000, ALL_TAKEN,
    ),
    "full and drained": (
        signals(full=True, said=DRAINED), Condition.DRAINING, BackendState.DRAINING, 0, "drained by an operator",
    ),
    "full, and its agent says drain": (
        signals(UP, WORD_DRAIN, full=True), Condition.DRAINING, BackendState.DRAINING, 0, "its agent says drain",
    ),
    "full and down": (signals(DOWN, full=True), Condition.DOWN, BackendState.DEAD, 0, "connection refused"),
    "agent says drain": (signals(UP, WORD_DRAIN), Condition.DRAINING, BackendState.DRAINING, 0, "its agent says drain"),
    "agent says down": (signals(UP, WORD_DOWN), Condition.DRAINING, BackendState.DRAINING, 0, "its agent says down"),
    "agent reports nought": (signals(UP, EMPTY), Condition.DRAINING, BackendState.DRAINING, 0, "its agent reports 0 %"),
    "unknown": (signals(UNKNOWN), Condition.UNKNOWN, BackendState.DRAINING, 0, "not probed yet"),
    "not resolved yet": (
        signals(neighbour="incomplete"), Condition.UNRESOLVED, BackendState.DOWN, 0,
        "192.0.2.11 does not answer ARP (its entry is incomplete)",
    ),
    "unresolved": (
        signals(neighbour="failed"), Condition.UNRESOLVED, BackendState.DEAD, 0,
        "192.0.2.11 does not answer ARP (its entry is failed)",
    ),
    "unresolved and down": (
        signals(DOWN, neighbour="failed"), Condition.UNRESOLVED, BackendState.DEAD, 0,
        "192.0.2.11 does not answer ARP (its entry is failed)",
    ),
    "down": (signals(DOWN), Condition.DOWN, BackendState.DEAD, 0, "connection refused"),
    "down, but it answers": (signals(WRONG), Condition.DOWN, BackendState.DOWN, 0, "no A-ASSOCIATE-AC"),
    "down, and its agent says drain": (
        signals(DOWN, WORD_DRAIN), Condition.DOWN, BackendState.DEAD, 0, "connection refused",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("found", "condition", "state", "weight", "reason"), ROWS.values(), ids=ROWS)
def test_standing_of_these_signals_is_as_in_the_table(
    found: Signals, condition: Condition, state: BackendState, weight: int, reason: str
) -> None:
    assert judged(found) == Standing(condition=condition, state=state, weight=weight, reason=reason)


def after(outcome: Outcome, cause: DownCause) -> Health:
    """Down, and this is how the latest probe ended."""
    return replace(DOWN, cause=cause, last_result=ProbeResult(outcome=outcome, detail=outcome))


REFUSED = after(Outcome.REFUSED, DownCause.TRANSPORT)
UNREACHABLE = after(Outcome.UNREACHABLE, DownCause.TRANSPORT)
SILENT = after(Outcome.TIMEOUT, DownCause.APPLICATION)
FAILED = after(Outcome.FAILED, DownCause.APPLICATION)
MUTE = signals(UNREACHABLE, neighbour="failed")
RESETS = {
    # signals: states if reset_on_down is never, transport, always; and if its silence is doubted
    "refused": (signals(REFUSED), (3, 4, 4), (3, 4, 4)),
    "unreachable": (signals(UNREACHABLE), (3, 4, 4), (3, 3, 3)),
    "no answer to ARP": (MUTE, (3, 4, 4), (3, 3, 3)),
    "no answer to the probe": (signals(SILENT), (3, 3, 4), (3, 3, 3)),
    "a wrong answer": (signals(FAILED), (3, 3, 4), (3, 3, 4)),
    "not resolved yet": (signals(neighbour="incomplete"), (3, 3, 3), (3, 3, 3)),
    "up": (signals(UP), (1, 1, 1), (1, 1, 1)),
    "drained": (signals(UP, said=DRAINED), (2, 2, 2), (2, 2, 2)),
    "halted": (signals(UP, said=HALTED), (5, 5, 5), (5, 5, 5)),
    "halted and refused": (signals(REFUSED, said=HALTED), (5, 5, 5), (5, 5, 5)),
    "halted and mute": (signals(UNREACHABLE, said=HALTED, neighbour="failed"), (5, 5, 5), (5, 5, 5)),
}


@pytest.mark.parametrize(("found", "states", "doubted"), RESETS.values(), ids=RESETS)
def test_standing_resets_as_the_pool_says_and_never_by_doubtful_silence(
    found: Signals, states: tuple[int, ...], doubted: tuple[int, ...]
) -> None:
    for is_doubted, expected in ((False, states), (True, doubted)):
        judged = [
            standing(replace(BACKEND, reset_on_down=word), replace(found, is_silence_doubted=is_doubted)).state
            for word in (ResetOnDown.NEVER, ResetOnDown.TRANSPORT, ResetOnDown.ALWAYS)
        ]
        assert judged == list(expected)


def test_standing_declared_weight_of_nought_drains_whatever_the_agent_says() -> None:
    expected = Standing(condition=Condition.DRAINING, reason="its weight is 0", state=BackendState.DRAINING, weight=0)
    assert {judged(signals(UP, capacity), weight=0) for capacity in (FULL, QUARTER, WORD_DRAIN)} == {expected}


def test_standing_of_one_with_an_ipv6_address_tells_what_it_does_not_answer() -> None:
    backend = pool("archives", {"pacs1": 11}, version=6).backends[0]

    found = standing(backend, signals(neighbour="failed"))

    assert found.reason == "2001:db8::b does not answer neighbour solicitations (its entry is failed)"


def test_standing_every_condition_that_follows_from_signals_has_a_row() -> None:
    """A backend that was removed has no signals, and who stands by depends on others."""
    follows_otherwise = {Condition.REMOVED, Condition.STANDBY}
    assert {condition for _, condition, *_ in ROWS.values()} == set(Condition) - follows_otherwise


EVERY_SIGNALS = [
    signals(health, capacity, said=said, full=full, neighbour=neighbour)
    for health, capacity, said, full, neighbour in product(
        (UP, BUSY, MISCONFIGURED, DOWN, UNKNOWN),
        (FULL, QUARTER, EMPTY, WORD_DRAIN, WORD_DOWN),
        (None, *Override),
        (False, True),
        ("reachable", "stale", "failed"),
    )
]
EVERY = [judged(found, weight=weight) for weight in (0, 1, 100) for found in EVERY_SIGNALS]


def test_standing_weight_is_positive_exactly_while_up() -> None:
    assert all((found.weight > 0) == (found.state is BackendState.UP) for found in EVERY)


def test_standing_condition_alone_tells_whether_new_connections_come() -> None:
    taking = {Condition.UP, Condition.BUSY, Condition.FULL, Condition.MISCONFIGURED}
    assert all((found.condition in taking) == (found.state is BackendState.UP) for found in EVERY)


def test_standing_always_has_a_reason_for_keeping_connections_away() -> None:
    assert [found for found in EVERY if found.state is not BackendState.UP and not found.reason] == []


def test_standing_is_halted_exactly_by_an_operators_word() -> None:
    """The pool's `reset_on_down` may be never: a halt resets all the same."""
    for found in EVERY_SIGNALS:
        assert (judged(found).state is BackendState.HALTED) == (found.override is HALTED)


def test_standing_of_a_weight_is_in_hundredths_of_the_declared_one() -> None:
    declared: Backend = replace(BACKEND, weight=3)
    assert standing(declared, signals(UP, QUARTER)).weight == 75


# An operator's weight, and slow starts --------------------------------------------------------------------------------


@given(
    declared=st.integers(0, 256),
    given_weight=st.none() | st.integers(0, 256),
    percent=st.integers(0, 100),
    ramp=st.integers(1, 100),
)
def test_weight_is_the_given_one_or_else_the_declared_one_times_capacity_and_slow_start(
    declared: int, given_weight: int | None, percent: int, ramp: int
) -> None:
    capacity = Capacity(percent=percent, smoothed_percent=float(percent), target_percent=percent)
    found = judged(signals(UP, capacity, given=given_weight, ramp=ramp), weight=declared)
    base = declared if given_weight is None else given_weight
    assert found.weight == (max(1, base * percent * ramp // 100) if base and percent else 0)
    assert found.takes_new == (base > 0 and percent > 0)


def test_weight_of_nought_that_an_operator_gave_is_told_as_his() -> None:
    found = judged(signals(given=0))
    assert (found.condition, found.reason) == (Condition.DRAINING, "its weight is 0 by an operator")
    assert found.state is BackendState.DRAINING
    assert judged(signals(given=7), weight=0).condition is Condition.UP


def test_weight_that_an_operator_gave_does_not_bring_a_drained_or_dead_one_back() -> None:
    for found in (signals(said=DRAINED, given=200), signals(said=HALTED, given=200), signals(DOWN, given=200)):
        assert judged(found).weight == 0
