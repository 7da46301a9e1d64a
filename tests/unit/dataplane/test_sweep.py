"""Which flows have ended."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lbctl.core.tables import reference
from lbctl.dataplane import sweep
from lbctl.dataplane.layout import FLOW, SERVICES, FlowState
from lbctl.dataplane.port import IdleLimits

HZ = 250
HOUR = 3600 * HZ
BACKENDS = 16
LIMITS = IdleLimits(open_s={1: 3600.0, 2: 30.0, 3: 5.0}, default_s=600.0, closing_s=120.0, reset_s=10.0)

LIVE = np.zeros(BACKENDS, np.bool_)
GENERATIONS = np.zeros(BACKENDS, np.uint32)
LIVE[[1, 2]], GENERATIONS[[1, 2, 3]] = True, (7, 8, 9)
"""Backends 1 and 2 are there, 3 was freed."""


def flow(
    *, idle: int, now: int = HOUR * 10, service: int = 1, state: int = FlowState.OPEN, backend: int = reference(1, 7)
) -> tuple[Any, ...]:
    return backend, (now - idle) & 0xFFFFFFFF, service, state, *bytes(len(FLOW.names or ()) - 4)


def flows(*entries: tuple[Any, ...]) -> NDArray[Any]:
    return np.array(list(entries), FLOW)


def ended(*entries: tuple[Any, ...], now: int = HOUR * 10, limits: IdleLimits = LIMITS) -> list[bool]:
    found: list[bool] = sweep.find_ended(
        flows(*entries), now=now, limits=sweep.limits_in_ticks(limits, HZ), live=LIVE, generations=GENERATIONS
    ).tolist()
    return found


@pytest.mark.parametrize(
    ("service", "state", "limit_s"),
    [
        pytest.param(1, FlowState.OPEN, 3600, id="open"),
        pytest.param(1, FlowState.CLOSING, 120, id="closing"),
        pytest.param(1, FlowState.RESET, 10, id="reset"),
        pytest.param(2, FlowState.OPEN, 30, id="short service, open"),
        pytest.param(2, FlowState.CLOSING, 30, id="short service, closing no longer than open"),
        pytest.param(2, FlowState.RESET, 10, id="short service, reset"),
        pytest.param(3, FlowState.RESET, 5, id="shortest service, reset no longer than open"),
        pytest.param(4, FlowState.OPEN, 600, id="service without a limit of its own"),
        pytest.param(4, FlowState.CLOSING, 120, id="the same, closing"),
        pytest.param(SERVICES - 1, FlowState.OPEN, 600, id="last service"),
        pytest.param(SERVICES, FlowState.OPEN, 600, id="service beyond the table"),
        pytest.param(1, 77, 10, id="state that nobody knows"),
    ],
)
def test_sweep_flow_ends_just_after_its_limit(service: int, state: int, limit_s: int) -> None:
    last = flow(idle=limit_s * HZ, service=service, state=state)
    over = flow(idle=limit_s * HZ + 1, service=service, state=state)

    assert ended(last, over) == [False, True]


@pytest.mark.parametrize("now", [0, 1, 5 * HZ, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_sweep_jiffies_that_wrap_make_no_difference(now: int) -> None:
    entries = [flow(idle=idle, now=now, state=FlowState.RESET) for idle in (0, 10 * HZ, 10 * HZ + 1, HOUR)]

    assert ended(*entries, now=now) == [False, False, True, True]
    assert sweep.idle_ticks(flows(*entries), now).tolist() == [0, 10 * HZ, 10 * HZ + 1, HOUR]


@pytest.mark.parametrize("now", [0, 1000, 0xFFFFFFFF])
def test_sweep_flow_touched_after_the_clock_was_read_is_not_old(now: int) -> None:
    assert sweep.idle_ticks(flows(flow(idle=-3, now=now)), now).tolist() == [0]


@pytest.mark.parametrize(
    ("backend", "is_ended"),
    [
        pytest.param(reference(1, 7), False, id="live"),
        pytest.param(reference(1, 6), True, id="generation before"),
        pytest.param(reference(2, 7), True, id="generation of another"),
        pytest.param(reference(3, 9), True, id="freed"),
        pytest.param(reference(4, 0), True, id="never used"),
        pytest.param(0, True, id="nobody"),
        pytest.param(reference(60_000, 1), True, id="id beyond the table"),
    ],
)
def test_sweep_flow_of_a_backend_that_is_gone_ends_at_once(backend: int, is_ended: bool) -> None:
    assert ended(flow(idle=0, backend=backend)) == [is_ended]


@pytest.mark.parametrize(("is_pressed", "is_ended"), [(False, [False] * 3), (True, [False, True, False])])
def test_sweep_flow_of_a_single_packet_ends_early_only_if_its_backend_is_pressed(
    is_pressed: bool, is_ended: list[bool]
) -> None:
    entries = flows(flow(idle=60 * HZ), flow(idle=60 * HZ + 1), flow(idle=60 * HZ + 1))
    entries["is_unproven"] = [1, 1, 0]

    found = sweep.find_ended(
        entries, now=HOUR * 10, limits=sweep.limits_in_ticks(LIMITS, HZ), live=LIVE, generations=GENERATIONS,
        unproven_ticks=60 * HZ, pressed=LIVE & is_pressed,
    )  # fmt: skip

    assert found.tolist() == is_ended


def test_sweep_no_flows_at_all_is_no_fault() -> None:
    assert ended() == []
    assert sweep.count_by(flows()["backend"]) == {}
    assert sweep.returned(flows()).tolist() == []


@given(st.lists(st.sampled_from([reference(1, 7), reference(2, 8), reference(2, 9)]), max_size=40))
def test_sweep_counts_by_a_field_are_exact(backends: list[int]) -> None:
    found = sweep.count_by(flows(*(flow(idle=0, backend=backend) for backend in backends))["backend"])

    assert found == {backend: backends.count(backend) for backend in set(backends)}


def test_sweep_counts_as_open_only_what_the_client_has_not_ended() -> None:
    states = [FlowState.OPEN, FlowState.OPEN, FlowState.CLOSING, FlowState.RESET]
    entries = [flow(idle=0, state=state, backend=reference(n, 7)) for state in states for n in (1, 2)]

    assert sweep.count_open(flows(*entries)) == {reference(1, 7): 2, reference(2, 7): 2}


@pytest.mark.parametrize("hz", [100, 250, 300, 1000])
def test_sweep_limits_are_in_ticks_of_this_kernel(hz: int) -> None:
    table = sweep.limits_in_ticks(LIMITS, hz)

    assert table.shape == (3, SERVICES)
    assert table[:, 1].tolist() == [3600 * hz, 120 * hz, 10 * hz]


# How far both ends have come -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wraps", "first", "latest", "progress"),
    [
        pytest.param(0, 1_000, 1_000, 0, id="nothing yet"),
        pytest.param(0, 1_000, 501_000, 500_000, id="plain"),
        pytest.param(0, 0xFFFF_FF00, 0x100, 0x200, id="past the end of the sequence numbers"),
        pytest.param(1, 1_000, 1_000, 1 << 32, id="once round"),
        pytest.param(3, 5, 4, 4 * (1 << 32) - 1, id="almost four times round"),
        pytest.param(0xFFFF, 0, 0xFFFF_FFFF, (1 << 48) - 1, id="as far as it goes"),
    ],
)
def test_sweep_progress_is_the_way_from_the_first_position_over_all_wraps(
    wraps: int, first: int, latest: int, progress: int
) -> None:
    found = flows(flow(idle=0), flow(idle=0))
    found["acked_wraps"][0], found["first_acked"][0], found["acked"][0] = wraps, first, latest
    found["next_wraps"][1], found["first_next"][1], found["next"][1] = wraps, first, latest

    assert sweep.returned(found).tolist() == [progress, 0]
    assert sweep.sent(found).tolist() == [0, progress]
