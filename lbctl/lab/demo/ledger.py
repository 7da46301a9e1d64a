"""What a demonstration expected and what it measured, phase by phase."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from lbctl.lab.capture import Direction, Kind, Tally, Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One thing that had to be so, and whether it was: ``text`` is a sentence, the others are the figures behind it."""

    text: str
    met: bool
    expected: str
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """A table, or lines of text, that an act has produced and that speaks for itself."""

    title: str
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def of_text(cls, title: str, text: str) -> Exhibit:
        """What a command has printed."""
        return cls(title=title, rows=tuple((line.rstrip(),) for line in text.rstrip().splitlines()))


@dataclass(slots=True, kw_only=True)
class Phase:
    """One act of a demonstration. ``connections`` counts new ones by backend; byte counts are the clients' own."""

    name: str
    title: str
    why: str
    """What the act shows, in a sentence."""
    began_s: float = field(default_factory=time.monotonic)
    elapsed_s: float | None = None
    step: str = ""
    """What is happening now."""
    progress: Callable[[], str] | None = None
    """How far that is."""
    result: str = ""
    """What the act has shown, in a line."""
    connections: dict[str, int] = field(default_factory=dict)
    stored_bytes: int = 0
    retrieved_bytes: int = 0
    so_far: Callable[[], Traffic]
    """What has passed the director's NIC since the act began."""
    fates: Counter[str] = field(default_factory=Counter)
    """What became of connections, where that is what an act is about."""
    exhibits: list[Exhibit] = field(default_factory=list)
    traffic: Traffic | None = None
    """The same, when it was over."""
    expectations: list[Expectation] = field(default_factory=list)

    def now(self, step: str, progress: Callable[[], str] | None = None) -> None:
        """Tell what is happening from here on."""
        self.step, self.progress = step, progress

    def expect(self, met: bool, text: str, *, expected: object, seen: object) -> None:
        """Note an expectation and whether it was met."""
        self.expectations.append(Expectation(text=text, met=bool(met), expected=str(expected), seen=str(seen)))

    def expect_equal(self, text: str, *, expected: object, seen: object) -> None:
        """Expect a figure to be exactly so."""
        self.expect(seen == expected, text, expected=expected, seen=seen)

    @property
    def is_over(self) -> bool:
        """Whether the phase has ended."""
        return self.elapsed_s is not None

    @property
    def has_passed(self) -> bool:
        """Whether every expectation so far was met."""
        return all(expectation.met for expectation in self.expectations)

    def received(self, *kinds: Kind) -> Tally:
        """What the director's NIC received of some kinds."""
        return self.traffic.of(Direction.RECEIVED, *kinds) if self.traffic else Tally()

    def sent(self, *kinds: Kind) -> Tally:
        """What the director's NIC sent of some kinds."""
        return self.traffic.of(Direction.SENT, *kinds) if self.traffic else Tally()

    def both_ways(self, *kinds: Kind) -> Tally:
        """What passed the director's NIC of some kinds, in and out."""
        return self.received(*kinds) + self.sent(*kinds)


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Everything that one run of a demonstration wrote down."""

    began_s: float = field(default_factory=time.monotonic)
    set_up_s: float | None = None
    phases: list[Phase] = field(default_factory=list)
    pools: tuple[str, ...] = ()
    """Whose backends are shown."""
    backends: list[dict[str, Any]] = field(default_factory=list)
    """The last ``lbctl status`` rows, for the display."""
    log_tail: str = ""
    """The end of lbctl's log, in case something failed."""

    @property
    def has_passed(self) -> bool:
        """Whether every phase has met its expectations."""
        return bool(self.phases) and all(phase.has_passed for phase in self.phases)

    @property
    def failed(self) -> tuple[tuple[Phase, Expectation], ...]:
        """The expectations that were not met."""
        return tuple((phase, item) for phase in self.phases for item in phase.expectations if not item.met)

    @property
    def acts_s(self) -> float:
        """Seconds that all phases took."""
        return sum(phase.elapsed_s or 0 for phase in self.phases)

    def as_json(self) -> dict[str, Any]:
        """The figures, for a file under ``build/``. Bytes at the NIC include the Ethernet header."""
        return {
            "passed": self.has_passed,
            "set_up_s": self.set_up_s,
            "acts_s": round(self.acts_s, 2),
            "phases": [_phase_as_json(phase) for phase in self.phases],
        }


def _phase_as_json(phase: Phase) -> dict[str, Any]:
    return {
        "name": phase.name,
        "title": phase.title,
        "result": phase.result,
        "elapsed_s": phase.elapsed_s,
        "connections": phase.connections,
        "stored_bytes": phase.stored_bytes,
        "retrieved_bytes": phase.retrieved_bytes,
        "fates": dict(phase.fates),
        "exhibits": [asdict(exhibit) for exhibit in phase.exhibits],
        "director_nic": _traffic_as_json(phase.traffic) if phase.traffic else None,
        "expectations": [
            {"text": item.text, "met": item.met, "expected": item.expected, "seen": item.seen}
            for item in phase.expectations
        ],
    }


def _traffic_as_json(traffic: Traffic) -> dict[str, dict[str, dict[str, int]]]:
    return {
        direction.name.lower(): {
            kind.name.lower(): {"frames": tally.frames, "bytes": tally.octets}
            for kind in Kind
            for tally in (traffic.of(direction, kind),)
        }
        for direction in Direction
    }
