"""What a backend's load agent says becomes a percentage of its declared weight: a small, pure controller.

Reports are smoothed by time, small differences are ignored, steps are bounded, and words (drain, down) act at once. An
agent that falls silent is told of once, and then what it said is no longer trusted: the weight returns to the declared
one. One `Capacity` per backend; events do not name the backend, whoever calls knows whose agent it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lbctl.core.verdict import AgentReport, AgentSilence, AgentWord


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacitySettings:
    """How the controller follows an agent. With the defaults, and a report every 0.5 s, any change is exactly in effect
    at the third report."""

    time_constant_s: float = 0.3
    """Of the exponential smoothing: after this time 63 % of a change is believed."""
    deadband_points: int = 2
    """A report that differs by less from the one in effect changes nothing, save that 0 and 100 are always meant."""
    max_step_points: int = 50
    """The most that one observation moves the percentage."""
    missed_until_silent: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What is known of one backend's capacity. A backend without an agent keeps the defaults.

    ``percent`` (whole points, 0–100) is in effect; it moves to ``target_percent``, the latest report that counts, by way
    of ``smoothed_percent``. ``word`` is the word in force (``None`` until one is said). Times are monotonic seconds;
    ``silent_since_s`` is the first of the latest ``missed`` answers. ``is_silent``: that it is silent has been told.
    ``is_adopted``: ``percent`` is only what the kernel's tables let one guess, until the agent is heard or silent.
    """

    percent: int = 100
    smoothed_percent: float = 100.0
    target_percent: int = 100
    word: AgentWord | None = None
    last_report_s: float | None = None
    silent_since_s: float | None = None
    missed: int = 0
    is_silent: bool = False
    is_adopted: bool = False

    @classmethod
    def adopted(cls, percent: int) -> Capacity:
        """The capacity to start from when the kernel already holds the backend's weight.

        It stays until the agent is heard or silent; what is heard first replaces the guess at once. The target is the
        declared weight, not ``percent``: that may be the middle of a step, and an agent that only ever says "up" would
        leave it there.
        """
        return cls(percent=percent, smoothed_percent=float(percent), is_adopted=True)

    @property
    def is_withheld(self) -> bool:
        """Whether the agent's word keeps new connections away."""
        return self.word in (AgentWord.DRAIN, AgentWord.DOWN)

    @property
    def label(self) -> str:
        """One or two words for a status table: "75 %", "agent: drain", "agent: down", "agent silent"."""
        if self.is_silent:
            return "agent silent"
        return f"agent: {self.word}" if self.is_withheld else f"{self.percent} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityChanged:
    """The percentage in effect moved."""

    before_percent: int
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentChangedWord:
    """The agent drained its backend, declared it down, or up again."""

    word: AgentWord


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentWentSilent:
    """The agent missed several answers in a row; from now on it is ignored."""

    missed: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpoke:
    """An agent that was silent answers again, after ``silent_for_s`` seconds."""

    silent_for_s: float


CapacityEvent = CapacityChanged | AgentChangedWord | AgentWentSilent | AgentSpoke

_DEFAULTS = CapacitySettings()


def weight(declared: int, capacity: Capacity, *, ramp_percent: int = 100) -> int:
    """The weight for the slots, in hundredths of the declared unit. Integers, so that directors agree. ``ramp_percent`` (1 to
    100) is how far a slow start has come: it makes a weight smaller, and never 0."""
    full = declared * capacity.percent
    return max(1, full * ramp_percent // 100) if full else 0


def observe(
    capacity: Capacity, answer: AgentReport | AgentSilence, *, now: float, settings: CapacitySettings = _DEFAULTS
) -> tuple[Capacity, tuple[CapacityEvent, ...]]:
    """The capacity after the agent was asked once more, and what happened.

    A percentage moves the target. A word stays in force until another is said, as in HAProxy's agent-check: "drain" and
    "down" mean 0 at once, "up" leads back to the target step by step.
    """
    if isinstance(answer, AgentSilence):
        after, events = _after_silence(capacity, answer, now, settings)
    else:
        after, events = _after_report(capacity, answer, now, settings)
    if after.percent != capacity.percent:
        events = (*events, CapacityChanged(before_percent=capacity.percent, percent=after.percent))
    return after, events


def _after_silence(
    capacity: Capacity, silence: AgentSilence, now: float, settings: CapacitySettings
) -> tuple[Capacity, tuple[CapacityEvent, ...]]:
    missed = capacity.missed + 1
    since_s = now if capacity.silent_since_s is None else capacity.silent_since_s
    waiting = replace(capacity, missed=missed, silent_since_s=since_s)
    if missed < settings.missed_until_silent:
        return waiting, ()
    ignored = replace(waiting, is_silent=True, is_adopted=False, word=None, target_percent=100, smoothed_percent=100.0)
    events = () if capacity.is_silent else (AgentWentSilent(missed=missed, detail=silence.detail),)
    return _step(ignored, settings), events


def _after_report(
    capacity: Capacity, report: AgentReport, now: float, settings: CapacitySettings
) -> tuple[Capacity, tuple[CapacityEvent, ...]]:
    events: list[CapacityEvent] = []
    if capacity.is_silent and capacity.silent_since_s is not None:
        events.append(AgentSpoke(silent_for_s=now - capacity.silent_since_s))
    word = report.word or capacity.word
    if word is not None and word is not (capacity.word or AgentWord.UP):
        events.append(AgentChangedWord(word=word))
    heard = replace(
        capacity,
        word=word,
        target_percent=_target(capacity.target_percent, report.percent, settings),
        missed=0,
        silent_since_s=None,
        is_silent=False,
        is_adopted=False,
        last_report_s=now,
    )
    if heard.is_withheld:
        return replace(heard, percent=0, smoothed_percent=0.0), tuple(events)
    if capacity.is_adopted and report.percent is not None:
        return replace(heard, percent=heard.target_percent, smoothed_percent=float(heard.target_percent)), tuple(events)
    elapsed_s = math.inf if capacity.last_report_s is None else now - capacity.last_report_s
    return _step(_smooth(heard, elapsed_s, settings), settings), tuple(events)


def _target(current: int, reported: int | None, settings: CapacitySettings) -> int:
    if reported is None:
        return current
    is_noise = abs(reported - current) < settings.deadband_points and reported not in (0, 100)
    return current if is_noise else reported


def _smooth(capacity: Capacity, elapsed_s: float, settings: CapacitySettings) -> Capacity:
    """Move the smoothed value by the time elapsed since the last report; once near the target, be exactly there."""
    believed = 1 - math.exp(-elapsed_s / settings.time_constant_s)
    smoothed = capacity.smoothed_percent + believed * (capacity.target_percent - capacity.smoothed_percent)
    if abs(smoothed - capacity.target_percent) < settings.deadband_points:
        smoothed = float(capacity.target_percent)
    return replace(capacity, smoothed_percent=smoothed)


def _step(capacity: Capacity, settings: CapacitySettings) -> Capacity:
    """Move the percentage in effect to the smoothed one, at most one step."""
    wanted = round(capacity.smoothed_percent) - capacity.percent
    step = max(-settings.max_step_points, min(settings.max_step_points, wanted))
    return replace(capacity, percent=capacity.percent + step)
