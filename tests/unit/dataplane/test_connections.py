"""The backends' connections as the daemon corrects them; the rows are the program's, and its count is written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lbctl.dataplane.connections import NO_LIMIT, Connections
from lbctl.dataplane.layout import CONNECTIONS

ROWS = 4
WRAP = 1 << 32
NEAR_WRAP = [0, 3, WRAP - 2, WRAP - 1, WRAP, 5 * WRAP - 1]
"""What the program has counted since the row was made: its low half is what counts."""


def rows(*, opened: int = 0) -> NDArray[Any]:
    entries = np.zeros(ROWS, CONNECTIONS)
    entries["opened"] = opened
    return entries


@pytest.mark.parametrize("opened", NEAR_WRAP)
def test_connections_of_a_row_that_goes_to_another_server_begin_at_nought(opened: int) -> None:
    entries = rows(opened=opened)
    entries["is_full"] = 1
    connections = Connections(entries)

    connections.begin(2)
    entries["opened"][2] += 3

    assert connections.live()[2] == 3
    assert not entries["is_full"][2]


def test_connections_of_a_new_table_have_no_limit_and_those_of_an_old_one_keep_theirs() -> None:
    entries = rows()
    entries["limit"][1] = 10
    Connections(entries)

    assert entries["limit"].tolist() == [NO_LIMIT, 10, NO_LIMIT, NO_LIMIT]


def test_connections_without_a_limit_are_far_from_where_the_programs_differences_overflow() -> None:
    """It subtracts in 32 bits with a sign, and what lives may be below nought for a moment."""
    far = np.array([-1_000_000, 0, 1_000_000], np.int64)

    assert (np.abs(NO_LIMIT - far) < 1 << 31).all()


@pytest.mark.parametrize("opened", NEAR_WRAP)
def test_connections_that_ended_without_a_packet_are_taken_off(opened: int) -> None:
    entries = rows(opened=opened)
    connections = Connections(entries)
    connections.begin(1)
    entries["opened"][1] += 5

    connections.ended({1: 2})

    assert connections.live().tolist()[1] == 3
    assert int(entries["opened"][1]) == opened + 5


def test_connections_below_nought_for_a_moment_are_said_to_be_none() -> None:
    connections = Connections(rows())
    connections.ended({1: 2})

    assert connections.live().tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("ended", "is_full"), [(1, True), (2, False), (3, False)])
def test_connections_of_a_full_backend_resume_when_a_correction_brings_them_down(ended: int, is_full: bool) -> None:
    entries = rows()
    connections = Connections(entries)
    connections.set_limit(1, limit=10, resume=8)
    entries["opened"][1], entries["is_full"][1] = 10, 1

    connections.ended({1: ended})

    assert (bool(connections.is_full()[1]), bool(entries["is_full"][1])) == (is_full, is_full)


@pytest.mark.parametrize(("truth", "is_full"), [(10, True), (9, True), (8, False), (4, False)])
def test_connections_of_a_full_backend_resume_when_the_count_settles_lower(truth: int, is_full: bool) -> None:
    entries = rows()
    connections = Connections(entries)
    connections.set_limit(1, limit=10, resume=8)
    entries["opened"][1], entries["is_full"][1] = 10, 1

    connections.settle({1: truth}, opened_before=connections.opened())

    assert bool(entries["is_full"][1]) is is_full


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=ROWS, max_size=ROWS))
def test_connections_settle_where_nothing_came_or_went(found: list[tuple[int, int]]) -> None:
    """(what the program counted, what stands in the flow table) of each backend."""
    entries = rows()
    connections = Connections(entries)
    entries["opened"] = [counted for counted, _ in found]
    before = connections.opened()
    entries["opened"][0] += 1

    connections.settle({i: there for i, (_, there) in enumerate(found) if there}, opened_before=before)

    assert connections.live().tolist() == [found[0][0] + 1, *(there for _, there in found[1:])]
