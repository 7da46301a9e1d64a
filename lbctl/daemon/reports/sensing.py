"""What the clients' own packets tell of the traffic that the director does not carry: how fast bytes come back, how
handshakes go. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lbctl.daemon.models import Handshakes
from lbctl.daemon.reports.recent import NO_TRAFFIC, RATE_S, WINDOW_S, Recent, Sample, grown
from lbctl.dataplane.layout import HANDSHAKE_UNIT_S
from lbctl.dataplane.port import Counters, Traffic

_TOTALS = {
    "packets": "packets",
    "bytes": "bytes",
    "new_connections": "connections",
    "returned_bytes": "returned",
    "sent_bytes": "sent",
}
_RATES = {"returned_per_s": "returned", "sent_per_s": "sent"}


@dataclass(frozen=True, kw_only=True)
class Sensed:
    """The counters of this moment (monotonic seconds), held against those of the last minute."""

    counters: Counters
    recent: Recent
    now: float

    def services(self, numbers: Sequence[int]) -> dict[str, Any]:
        """What services with these counters received, and how fast, by the names of `TrafficStatus`."""
        return self._traffic(self.counters.services, self._rate_base.counters.services, numbers)

    def backend(self, number: int) -> dict[str, Any]:
        """The same of a backend."""
        return self._traffic(self.counters.backends, self._rate_base.counters.backends, [number])

    def _traffic(
        self, now: Mapping[int, Traffic], before: Mapping[int, Traffic], numbers: Sequence[int]
    ) -> dict[str, Any]:
        span_s = self.now - self._rate_base.at
        totals = {
            field: sum(getattr(now.get(number, NO_TRAFFIC), name) for number in numbers)
            for field, name in _TOTALS.items()
        }
        rates = {
            field: round(sum(grown(now, before, number, name) for number in numbers) / span_s, 1) if span_s > 0 else 0.0
            for field, name in _RATES.items()
        }
        return {**totals, **rates}

    @cached_property
    def _rate_base(self) -> Sample:
        return self.recent.before(RATE_S, now=self.now) or Sample(at=self.now, counters=self.counters)

    @cached_property
    def _minute_base(self) -> Sample:
        return self.recent.before(WINDOW_S, now=self.now) or Sample(at=self.now, counters=self.counters)

    def reason(self, name: str) -> int:
        """Packets that left by one way in the last minute."""
        return grown(self.counters.reasons, self._minute_base.counters.reasons, name, "packets")

    def looped(self, number: int) -> int:
        """Packets that a backend sent back in the last minute."""
        return grown(self.counters.backends, self._minute_base.counters.backends, number, "looped")

    def denied(self, numbers: Sequence[int]) -> int:
        """Packets that services did not let in in the last minute."""
        before = self._minute_base.counters.services
        return sum(grown(self.counters.services, before, number, "denied") for number in numbers)

    def handshakes(self, number: int) -> Handshakes:
        """Of a backend."""
        traffic = self.counters.backends.get(number, NO_TRAFFIC)
        before = self._minute_base.counters
        unfinished, unfinished_recently = self.recent.unfinished(self.counters, number, now=self.now)
        times = _growth(self.counters.handshakes.get(number, ()), before.handshakes.get(number, ()))
        return Handshakes(
            begun=traffic.begun,
            completed=traffic.completed,
            repeated=traffic.repeated,
            repeated_recently=grown(self.counters.backends, before.backends, number, "repeated"),
            unfinished=unfinished,
            unfinished_recently=unfinished_recently,
            median_s=quantile_s(times, 0.5),
            p95_s=quantile_s(times, 0.95),
        )


def _growth(now: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    """Of a histogram, which may be new."""
    return tuple(max(0, count - since) for count, since in zip(now, before or (0,) * len(now), strict=True))


def quantile_s(buckets: Sequence[int], part: float) -> float | None:
    """The time that this part of the handshakes took at most, to within its bucket, where they are taken to lie evenly on the
    logarithmic scale; ``None`` if there are none."""
    rank = part * sum(buckets)
    if not rank:
        return None
    below = 0
    for bucket, count in enumerate(buckets):
        if count and below + count >= rank:
            seconds: float = 2 ** (bucket + (rank - below) / count) * HANDSHAKE_UNIT_S
            return float(f"{seconds:.3g}")
        below += count
    return None
