"""Health: rise and fall, the first probe, flags, and the cause of being down."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.health import (
    BackendBecameBusy,
    BackendGotRelieved,
    BackendWentDown,
    BackendWentUp,
    CheckWasAccepted,
    CheckWasRejected,
    DownCause,
    DownCauseChanged,
    Health,
    HealthEvent,
    Status,
    observe,
)
from lbctl.core.model import CheckTiming
from lbctl.core.verdict import Outcome, ProbeResult

TIMING = CheckTiming(fall=2, rise=3)
ALIVE = [Outcome.HEALTHY, Outcome.BUSY, Outcome.MISCONFIGURED]
FAILURES = [Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.TIMEOUT, Outcome.FAILED]


def run(health: Health, *outcomes: Outcome, start_s: float = 10.0) -> tuple[Health, list[HealthEvent]]:
    """Observe one probe a second; the detail is the outcome's name and the second."""
    events: list[HealthEvent] = []
    for number, outcome in enumerate(outcomes):
        now = start_s + number
        result = ProbeResult(outcome=outcome, detail=f"{outcome} at {now:.0f}")
        health, happened = observe(health, result, timing=TIMING, now=now)
        events += happened
    return health, events


@pytest.mark.parametrize("outcome", ALIVE)
def test_health_first_probe_alive_is_up_at_once(outcome: Outcome) -> None:
    health, events = run(Health(since_s=0.0), outcome)

    assert health.accepts_new
    assert health.since_s == 10.0
    assert events[0] == BackendWentUp(reason=f"{outcome} at 10")


@pytest.mark.parametrize("outcome", FAILURES)
def test_health_first_probe_failed_is_down_at_once(outcome: Outcome) -> None:
    health, events = run(Health(since_s=0.0), outcome)

    assert health.status is Status.DOWN
    assert [type(event) for event in events] == [BackendWentDown]


def test_health_never_probed_accepts_nothing() -> None:
    assert not Health(since_s=0.0).accepts_new


def test_health_failures_below_fall_stay_up_and_are_shown() -> None:
    health, events = run(Health.adopted(True, now=0.0), Outcome.TIMEOUT)

    assert health.accepts_new
    assert health.streak == 1
    assert health.reason == "timeout at 10"
    assert events == []


def test_health_failures_interrupted_start_counting_anew() -> None:
    outcomes = [Outcome.TIMEOUT, Outcome.HEALTHY, Outcome.TIMEOUT, Outcome.BUSY, Outcome.TIMEOUT]
    health, _ = run(Health.adopted(True, now=0.0), *outcomes)

    assert health.accepts_new


def test_health_failures_reach_fall_goes_down_with_the_latest_reason() -> None:
    health, events = run(Health.adopted(True, now=0.0), Outcome.REFUSED, Outcome.TIMEOUT)

    assert not health.accepts_new
    assert health.since_s == 11.0
    assert events == [BackendWentDown(cause=DownCause.APPLICATION, reason="timeout at 11")]


def test_health_successes_reach_rise_goes_up() -> None:
    down, _ = run(Health(since_s=0.0), Outcome.FAILED)

    still_down, nothing = run(down, Outcome.HEALTHY, Outcome.HEALTHY, start_s=20.0)
    up, events = run(still_down, Outcome.HEALTHY, start_s=30.0)

    assert (still_down.status, still_down.reason, nothing) == (Status.DOWN, "failed at 10", [])
    assert (up.status, up.cause, up.since_s) == (Status.UP, None, 30.0)
    assert events == [BackendWentUp(reason="healthy at 30")]


def test_health_successes_interrupted_start_counting_anew() -> None:
    down, _ = run(Health(since_s=0.0), Outcome.FAILED)
    outcomes = [Outcome.HEALTHY, Outcome.HEALTHY, Outcome.TIMEOUT, Outcome.HEALTHY, Outcome.HEALTHY]

    health, events = run(down, *outcomes, start_s=20.0)

    assert (health.status, health.reason, health.since_s) == (Status.DOWN, "timeout at 22", 10.0)
    assert events == []


@pytest.mark.parametrize("outcome", [Outcome.BUSY, Outcome.MISCONFIGURED])
def test_health_alive_but_not_healthy_counts_towards_rise(outcome: Outcome) -> None:
    health, _ = run(Health.adopted(False, now=0.0), outcome, outcome, outcome)

    assert health.accepts_new


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [
        (Outcome.REFUSED, DownCause.TRANSPORT),
        (Outcome.UNREACHABLE, DownCause.TRANSPORT),
        (Outcome.TIMEOUT, DownCause.APPLICATION),
        (Outcome.FAILED, DownCause.APPLICATION),
    ],
)
def test_health_down_tells_the_cause(outcome: Outcome, cause: DownCause) -> None:
    health, events = run(Health.adopted(True, now=0.0), outcome, outcome)

    assert health.cause is cause
    assert events == [BackendWentDown(cause=cause, reason=f"{outcome} at 11")]


def test_health_down_other_evidence_changes_the_cause_once() -> None:
    outcomes = [Outcome.TIMEOUT, Outcome.TIMEOUT, Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.REFUSED]
    health, events = run(Health.adopted(True, now=0.0), *outcomes)

    assert events[1:] == [DownCauseChanged(cause=DownCause.TRANSPORT, reason="unreachable at 13")]
    assert (health.reason, health.since_s) == ("refused at 14", 11.0)


@pytest.mark.parametrize(
    ("start", "outcomes", "cause"),
    [
        pytest.param(Health.adopted(True, now=0.0), "timeout refused", DownCause.APPLICATION, id="one refusal"),
        pytest.param(Health.adopted(True, now=0.0), "refused timeout", DownCause.APPLICATION, id="taken back"),
        pytest.param(Health.adopted(True, now=0.0), "timeout refused refused", DownCause.TRANSPORT, id="repeated"),
        pytest.param(Health.adopted(True, now=0.0), "refused unreachable", DownCause.TRANSPORT, id="of either kind"),
        pytest.param(
            Health.adopted(True, now=0.0), "refused refused failed refused", DownCause.APPLICATION, id="doubted since"
        ),
        pytest.param(Health.adopted(False, now=0.0), "refused", DownCause.APPLICATION, id="adopted as down"),
        pytest.param(
            Health.adopted(False, now=0.0), "refused refused", DownCause.TRANSPORT, id="adopted, and repeated"
        ),
        pytest.param(
            Health(since_s=0.0), "refused", DownCause.TRANSPORT, id="first probe of a backend without history"
        ),
    ],
)
def test_health_transport_evidence_counts_when_it_is_repeated(start: Health, outcomes: str, cause: DownCause) -> None:
    health, _ = run(start, *map(Outcome, outcomes.split()))

    assert health.cause is cause


def test_health_cut_off_and_unreachable_or_silent_by_turns_keeps_its_cause() -> None:
    """As a host that is gone looks: the kernel says so only while its neighbour entry is in the state *failed*."""
    by_turns = [Outcome.TIMEOUT, Outcome.UNREACHABLE, Outcome.UNREACHABLE, Outcome.TIMEOUT] * 5
    health, events = run(Health.adopted(True, now=0.0), *by_turns)

    assert health.cause is DownCause.TRANSPORT
    assert [type(event) for event in events] == [BackendWentDown, DownCauseChanged]


def test_health_transport_evidence_counts_at_once_where_one_failure_is_enough() -> None:
    refused = ProbeResult(outcome=Outcome.REFUSED, detail="refused")
    health, _ = observe(Health.adopted(True, now=0.0), refused, timing=CheckTiming(fall=1, rise=3), now=1.0)

    assert health.cause is DownCause.TRANSPORT


def test_health_busy_is_told_once_and_relieved_once() -> None:
    outcomes = [Outcome.BUSY, Outcome.BUSY, Outcome.HEALTHY, Outcome.HEALTHY]
    health, events = run(Health.adopted(True, now=0.0), *outcomes)

    assert not health.is_busy
    assert events == [BackendBecameBusy(reason="busy at 10"), BackendGotRelieved()]


def test_health_misconfigured_is_told_once_and_taken_back_once() -> None:
    outcomes = [Outcome.MISCONFIGURED, Outcome.MISCONFIGURED, Outcome.HEALTHY]
    _, events = run(Health.adopted(True, now=0.0), *outcomes)

    assert events == [CheckWasRejected(reason="misconfigured at 10"), CheckWasAccepted()]


def test_health_busy_backend_going_down_is_busy_no_more() -> None:
    health, events = run(Health.adopted(True, now=0.0), Outcome.BUSY, Outcome.TIMEOUT, Outcome.TIMEOUT)

    assert not health.is_busy
    assert [type(event) for event in events] == [BackendBecameBusy, BackendWentDown]


def test_health_adopted_accepting_survives_one_failed_probe() -> None:
    adopted = Health.adopted(True, now=5.0)

    assert adopted.accepts_new
    assert run(adopted, Outcome.REFUSED)[0].accepts_new
    assert not run(adopted, Outcome.REFUSED, Outcome.REFUSED)[0].accepts_new


def test_health_adopted_not_accepting_needs_rise_and_blames_no_transport() -> None:
    adopted = Health.adopted(False, now=5.0)

    assert not adopted.accepts_new
    assert adopted.cause is DownCause.APPLICATION
    assert not run(adopted, Outcome.HEALTHY, Outcome.HEALTHY)[0].accepts_new


@given(outcomes=st.lists(st.sampled_from(Outcome), min_size=1, max_size=40))
def test_health_any_results_keep_its_promises(outcomes: list[Outcome]) -> None:
    health, events = run(Health(since_s=0.0), *outcomes)

    assert (health.cause is not None) == (health.status is Status.DOWN)
    assert not (health.is_busy or health.is_misconfigured) or health.status is Status.UP
    assert health.last_result is not None
    assert health.last_result.outcome is outcomes[-1]
    changes = [event for event in events if isinstance(event, BackendWentUp | BackendWentDown)]
    assert all(type(one) is not type(other) for one, other in pairwise(changes))
    assert isinstance(changes[-1], BackendWentUp) == health.accepts_new
    if outcomes[-1] in FAILURES:
        assert health.reason == health.last_result.detail


@pytest.mark.parametrize("outcome", FAILURES)
def test_health_remembered_from_before_a_reboot_is_up_until_the_first_probe_decides(outcome: Outcome) -> None:
    remembered = Health.remembered(now=0.0)
    assert remembered.accepts_new

    down, events = run(remembered, outcome)
    up, none = run(remembered, Outcome.HEALTHY, outcome)

    assert down.status is Status.DOWN
    assert [type(event) for event in events] == [BackendWentDown]
    assert up.accepts_new  # from then on one failure is not enough
    assert none == []
