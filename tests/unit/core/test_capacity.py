"""Capacity: an agent's answers become a percentage of the declared weight."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.core.capacity import (
    AgentChangedWord,
    AgentSpoke,
    AgentWentSilent,
    Capacity,
    CapacityChanged,
    CapacityEvent,
    CapacitySettings,
    observe,
    weight,
)
from lbctl.core.verdict import AgentReport, AgentSilence, AgentWord

INTERVAL_S = 0.5
SILENCE = AgentSilence(detail="no answer within 0.4 s")
DRAIN = AgentReport(word=AgentWord.DRAIN)
DOWN = AgentReport(word=AgentWord.DOWN)
UP = AgentReport(word=AgentWord.UP)

Answer = AgentReport | AgentSilence


def percent(value: int) -> AgentReport:
    return AgentReport(percent=value)


def run(
    capacity: Capacity, answers: Sequence[Answer], *, start_s: float = 100.0, interval_s: float = INTERVAL_S
) -> tuple[Capacity, list[int], list[CapacityEvent]]:
    """The last capacity, the percentage after each answer, and all events."""
    course: list[int] = []
    events: list[CapacityEvent] = []
    for number, answer in enumerate(answers):
        capacity, happened = observe(capacity, answer, now=start_s + number * interval_s)
        course.append(capacity.percent)
        events += happened
    return capacity, course, events


def settled(value: int) -> Capacity:
    return run(Capacity(), [percent(value)] * 8, start_s=50.0)[0]


def words(events: list[CapacityEvent]) -> list[AgentWord]:
    return [event.word for event in events if isinstance(event, AgentChangedWord)]


def test_capacity_without_agent_is_the_declared_weight() -> None:
    assert weight(100, Capacity()) == 10_000
    assert weight(0, Capacity()) == 0


def test_capacity_quarter_reported_is_exact_at_the_third_report() -> None:
    capacity, course, _ = run(settled(100), [percent(25)] * 4)

    assert course[0] >= 50
    assert course[2:] == [25, 25]
    assert weight(100, capacity) == 2_500


@given(before=st.integers(0, 100), after=st.integers(0, 100), jitter_s=st.floats(-0.1, 0.1))
def test_capacity_any_change_is_in_effect_at_the_third_report(before: int, after: int, jitter_s: float) -> None:
    held = settled(before)

    _, course, _ = run(held, [percent(after)] * 3, interval_s=INTERVAL_S + jitter_s)

    is_noise = abs(after - held.percent) < 2 and after not in (0, 100)
    assert course[-1] == (held.percent if is_noise else after)


@given(
    start=st.integers(0, 100),
    answers=st.lists(
        st.one_of(
            st.builds(
                AgentReport, percent=st.none() | st.integers(0, 100), word=st.none() | st.sampled_from(AgentWord)
            ),
            st.just(SILENCE),
        ),
        max_size=40,
    ),
)
def test_capacity_any_answers_keep_its_promises(start: int, answers: list[Answer]) -> None:
    capacity = Capacity.adopted(start)
    for number, answer in enumerate(answers):
        before = capacity
        capacity, events = observe(before, answer, now=number * INTERVAL_S)
        assert 0 <= capacity.percent <= 100
        assert abs(capacity.percent - before.percent) <= 50 or capacity.is_withheld or before.is_adopted
        assert capacity.percent == 0 or not capacity.is_withheld
        assert any(isinstance(event, CapacityChanged) for event in events) == (capacity.percent != before.percent)
        assert capacity.is_silent == (capacity.missed >= 3)
        assert (capacity.silent_since_s is None) == (capacity.missed == 0)


@pytest.mark.parametrize("noise", [59, 61])
def test_capacity_difference_under_two_points_changes_nothing(noise: int) -> None:
    capacity, course, events = run(settled(60), [percent(noise)] * 10)

    assert set(course) == {60}
    assert capacity.target_percent == 60
    assert events == []


def test_capacity_slow_drift_is_followed() -> None:
    _, course, _ = run(settled(60), [percent(value) for value in range(60, 80) for _ in range(2)])

    assert course[-1] in (78, 79)


@pytest.mark.parametrize(("before", "after"), [(1, 0), (99, 100)])
def test_capacity_nought_and_full_are_always_meant(before: int, after: int) -> None:
    assert run(settled(before), [percent(after)] * 3)[1][-1] == after


def test_capacity_single_outlier_is_softened_by_the_step_bound() -> None:
    _, course, _ = run(settled(100), [percent(0), percent(100), percent(100), percent(100)])

    assert min(course) == 50
    assert course[-1] == 100


@pytest.mark.parametrize("report", [DRAIN, DOWN])
def test_capacity_drain_or_down_means_nought_at_once(report: AgentReport) -> None:
    capacity, course, events = run(settled(100), [report, percent(80)])

    assert course == [0, 0]
    assert capacity.is_withheld
    assert capacity.label == f"agent: {report.word}"
    assert events == [
        AgentChangedWord(word=report.word or AgentWord.UP),
        CapacityChanged(before_percent=100, percent=0),
    ]


def test_capacity_up_after_drain_restores_what_was_reported() -> None:
    withheld, _, _ = run(settled(80), [DRAIN])

    capacity, course, events = run(withheld, [UP] * 4)

    assert course[0] <= 50
    assert course[-1] == 80
    assert not capacity.is_withheld
    assert words(events) == [AgentWord.UP]


def test_capacity_percentage_during_drain_is_what_up_leads_to() -> None:
    _, course, _ = run(settled(100), [DRAIN, percent(40), UP, UP, UP])

    assert course[-1] == 40


def test_capacity_word_repeated_is_told_once() -> None:
    _, _, events = run(settled(100), [UP, DRAIN, DRAIN, DOWN, DOWN, UP, UP])

    assert words(events) == [AgentWord.DRAIN, AgentWord.DOWN, AgentWord.UP]


def test_capacity_few_missed_answers_change_nothing() -> None:
    capacity, course, events = run(settled(25), [SILENCE, SILENCE, percent(25)])

    assert course == [25, 25, 25]
    assert events == []
    assert (capacity.missed, capacity.silent_since_s) == (0, None)


def test_capacity_agent_silent_is_told_once_and_then_ignored_step_by_step() -> None:
    capacity, course, events = run(settled(25), [SILENCE] * 6)

    assert course == [25, 25, 75, 100, 100, 100]
    assert [event for event in events if isinstance(event, AgentWentSilent)] == [
        AgentWentSilent(missed=3, detail=SILENCE.detail)
    ]
    assert (capacity.is_silent, capacity.silent_since_s, capacity.label) == (True, 100.0, "agent silent")


def test_capacity_agent_silent_after_drain_is_ignored_like_any_other() -> None:
    capacity, course, _ = run(settled(100), [DRAIN, SILENCE, SILENCE, SILENCE, SILENCE])

    assert course == [0, 0, 0, 50, 100]
    assert not capacity.is_withheld


def test_capacity_agent_speaking_again_is_told_and_believed() -> None:
    silent, _, _ = run(settled(25), [SILENCE] * 6)

    capacity, course, events = run(silent, [percent(25)] * 3, start_s=110.0)

    assert course == [50, 25, 25]
    assert events[0] == AgentSpoke(silent_for_s=10.0)
    assert not capacity.is_silent


@pytest.mark.parametrize("held", [0, 25, 50, 100])
def test_capacity_adopted_keeps_what_the_kernel_holds_until_the_agent_speaks(held: int) -> None:
    adopted = Capacity.adopted(held)

    assert adopted.percent == held
    assert run(adopted, [SILENCE, SILENCE])[1] == [held, held]
    assert run(adopted, [percent(held)])[1] == [held]


@pytest.mark.parametrize("held", [0, 50])
def test_capacity_adopted_in_mid_step_with_an_agent_of_few_words_reaches_full(held: int) -> None:
    assert run(Capacity.adopted(held), [UP] * 3)[1][-1] == 100


def test_capacity_first_report_of_all_is_believed_up_to_one_step() -> None:
    assert run(Capacity(), [percent(70)])[1] == [70]
    assert run(Capacity(), [percent(10), percent(10)])[1] == [50, 10]


def test_capacity_longer_time_constant_smooths_more() -> None:
    slow = CapacitySettings(time_constant_s=5.0)

    capacity, _ = observe(settled(100), percent(50), now=54.0, settings=slow)

    assert 90 < capacity.percent < 100


@given(declared=st.integers(0, 10_000), held=st.integers(0, 100))
def test_weight_any_percentage_is_an_exact_fraction_of_the_declared(declared: int, held: int) -> None:
    assert weight(declared, Capacity.adopted(held)) * 100 == weight(declared, Capacity()) * held


def test_capacity_first_report_after_adoption_replaces_the_guess_at_once() -> None:
    adopted = Capacity.adopted(100)
    heard, _ = observe(adopted, AgentReport(percent=25), now=0.0)
    assert (heard.percent, heard.is_adopted) == (25, False)
