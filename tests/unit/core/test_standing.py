"""The table of conditions, row by row, and which signal prevails."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from lbctl.core.capacity import Capacity
from lbctl.core.health import DownCause, Health, Status
from lbctl.core.model import Backend
from lbctl.core.standing import Condition, Signals, Standing, standing
from lbctl.core.tables import BackendState
from lbctl.core.verdict import AgentWord
from tests.unit.core.declarations import pool

BACKEND = pool("archives", {"pacs1": 11}).backends[0]

UP = Health(status=Status.UP, since_s=0.0, reason="echo in 3 ms")
BUSY = replace(UP, is_busy=True, reason="association limit reached")
MISCONFIGURED = replace(UP, is_misconfigured=True, reason="called AE title not recognised")
DOWN = Health(status=Status.DOWN, since_s=0.0, reason="connection refused", cause=DownCause.TRANSPORT)
UNKNOWN = Health(since_s=0.0)
FULL = Capacity()
QUARTER = Capacity(percent=25, smoothed_percent=25.0, target_percent=25)
EMPTY = Capacity(percent=0, smoothed_percent=0.0, target_percent=0)
WORD_DRAIN = replace(EMPTY, word=AgentWord.DRAIN)
WORD_DOWN = replace(EMPTY, word=AgentWord.DOWN)


def signals(
    health: Health = UP, capacity: Capacity = FULL, *, drained: bool = False, neighbour: str = "reachable"
) -> Signals:
    return Signals(
        health=health,
        capacity=capacity,
        is_drained=drained,
        is_resolved=neighbour != "failed",
        neighbour=neighbour,
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
    "drained": (signals(drained=True), Condition.DRAINING, BackendState.DRAINING, 0, "drained by an operator"),
    "drained before it was probed": (
        signals(UNKNOWN, drained=True), Condition.DRAINING, BackendState.DRAINING, 0, "drained by an operator",
    ),
    "drained and down": (
        signals(DOWN, drained=True), Condition.DRAINING, BackendState.DOWN, 0,
        "drained by an operator; also down: connection refused",
    ),
    "drained and unresolved": (
        signals(drained=True, neighbour="failed"), Condition.DRAINING, BackendState.DOWN, 0, "drained by an operator",
    ),
    "agent says drain": (signals(UP, WORD_DRAIN), Condition.DRAINING, BackendState.DRAINING, 0, "its agent says drain"),
    "agent says down": (signals(UP, WORD_DOWN), Condition.DRAINING, BackendState.DRAINING, 0, "its agent says down"),
    "agent reports nought": (signals(UP, EMPTY), Condition.DRAINING, BackendState.DRAINING, 0, "its agent reports 0 %"),
    "unknown": (signals(UNKNOWN), Condition.UNKNOWN, BackendState.DRAINING, 0, "not probed yet"),
    "unresolved": (
        signals(neighbour="failed"), Condition.UNRESOLVED, BackendState.DOWN, 0,
        "192.0.2.11 does not answer ARP (its entry is failed)",
    ),
    "unresolved and down": (
        signals(DOWN, neighbour="failed"), Condition.UNRESOLVED, BackendState.DOWN, 0,
        "192.0.2.11 does not answer ARP (its entry is failed)",
    ),
    "down": (signals(DOWN), Condition.DOWN, BackendState.DOWN, 0, "connection refused"),
    "down, and its agent says drain": (
        signals(DOWN, WORD_DRAIN), Condition.DOWN, BackendState.DOWN, 0, "connection refused",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("found", "condition", "state", "weight", "reason"), ROWS.values(), ids=ROWS)
def test_standing_of_these_signals_is_as_in_the_table(
    found: Signals, condition: Condition, state: BackendState, weight: int, reason: str
) -> None:
    assert judged(found) == Standing(condition=condition, state=state, weight=weight, reason=reason)


def test_standing_declared_weight_of_nought_drains_whatever_the_agent_says() -> None:
    expected = Standing(condition=Condition.DRAINING, reason="its weight is 0", state=BackendState.DRAINING, weight=0)
    assert {judged(signals(UP, capacity), weight=0) for capacity in (FULL, QUARTER, WORD_DRAIN)} == {expected}


def test_standing_every_condition_but_removed_has_a_row() -> None:
    """A backend that was removed has no signals: nobody asks."""
    assert {condition for _, condition, *_ in ROWS.values()} == set(Condition) - {Condition.REMOVED}


EVERY = [
    judged(signals(health, capacity, drained=drained, neighbour=neighbour), weight=weight)
    for health, capacity, drained, neighbour, weight in product(
        (UP, BUSY, MISCONFIGURED, DOWN, UNKNOWN),
        (FULL, QUARTER, EMPTY, WORD_DRAIN, WORD_DOWN),
        (False, True),
        ("reachable", "stale", "failed"),
        (0, 1, 100),
    )
]


def test_standing_weight_is_positive_exactly_while_up() -> None:
    assert all((found.weight > 0) == (found.state is BackendState.UP) for found in EVERY)


def test_standing_condition_alone_tells_whether_new_connections_come() -> None:
    taking = {Condition.UP, Condition.BUSY, Condition.MISCONFIGURED}
    assert all((found.condition in taking) == (found.state is BackendState.UP) for found in EVERY)


def test_standing_always_has_a_reason_for_keeping_connections_away() -> None:
    assert [found for found in EVERY if found.state is not BackendState.UP and not found.reason] == []


def test_standing_of_a_weight_is_in_hundredths_of_the_declared_one() -> None:
    declared: Backend = replace(BACKEND, weight=3)
    assert standing(declared, signals(UP, QUARTER)).weight == 75
