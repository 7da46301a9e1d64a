"""What happened lately. The kernel's counters only grow, but an alarm must end when its cause does, and a rate is of now."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from lbctl.dataplane.port import Counters, Traffic

WINDOW_S = 60.0
RATE_S = 5.0
"""Rates are over at least so long."""
HANDSHAKE_S = 30.0
"""A handshake that takes longer counts as not completed: a SYN is repeated for the third time after 7 s, for the fifth
after 31 s (RFC 6298 section 5), and few wait for that."""

NO_TRAFFIC = Traffic()
"""Of whom nothing is counted."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The counters at a moment (monotonic seconds)."""

    at: float
    counters: Counters


class Recent:
    """Remembers counters for a minute and a half. Pure."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()

    def note(self, counters: Counters, *, now: float) -> None:
        """Take a sample; one that is older than the window stays until another can stand in for it."""
        last = self._samples[-1].counters if self._samples else counters
        self._samples.append(Sample(at=now, counters=_thrifty(counters, last)))
        while len(self._samples) > 1 and self._samples[1].at <= now - WINDOW_S - HANDSHAKE_S:
            self._samples.popleft()

    def before(self, age_s: float, *, now: float) -> Sample | None:
        """The youngest sample of that age, or the oldest there is."""
        aged = (sample for sample in reversed(self._samples) if sample.at <= now - age_s)
        return next(aged, self._samples[0] if self._samples else None)

    def unfinished(self, counters: Counters, number: int, *, now: float) -> tuple[int, int]:
        """The handshakes of a backend that were not completed in time: in all, and those of the last minute. Whatever was begun
        before a moment and never ends is still outstanding at every later one, so the least of these counts."""
        samples = [*self._samples, Sample(at=now, counters=counters)]
        first = samples[0].at
        total = min(_outstanding(each, number) for each in samples if each.at >= now - HANDSHAKE_S)
        then = min(_outstanding(each, number) for each in samples if each.at <= first + HANDSHAKE_S)
        return total, max(0, total - then) if now - first > HANDSHAKE_S else 0


def _outstanding(sample: Sample, number: int) -> int:
    traffic = sample.counters.backends.get(number, NO_TRAFFIC)
    return max(0, traffic.begun - traffic.completed)


def _thrifty(counters: Counters, before: Counters) -> Counters:
    """The same, with the objects of the sample before where they are equal: most backends of thousands are idle."""
    return replace(
        counters,
        services=_shared(counters.services, before.services),
        backends=_shared(counters.backends, before.backends),
        handshakes=_shared(counters.handshakes, before.handshakes),
    )


def _shared(now: Mapping[_Key, _Value], before: Mapping[_Key, _Value]) -> Mapping[_Key, _Value]:
    return {key: before[key] if before.get(key) == value else value for key, value in now.items()}


def grown(now: Mapping[_Key, Traffic], before: Mapping[_Key, Traffic], key: _Key, name: str) -> int:
    """How much a counter has grown; what was not there before counts in full."""
    since = before.get(key, NO_TRAFFIC)
    growth: int = getattr(now.get(key, NO_TRAFFIC), name) - getattr(since, name)
    return max(0, growth)
