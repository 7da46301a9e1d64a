"""What the demonstration expected and what it measured, phase by phase."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from lbctl.lab.capture import Direction, Kind, Tally, Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One thing that had to be so, whether it was, and the figure behind it."""

    text: str
    met: bool
    measured: str = ""


@dataclass(slots=True, kw_only=True)
class Phase:
    """One act of the demonstration. ``connections`` counts new ones by archive; byte counts are the clients'."""

    title: str
    began_s: float = field(default_factory=time.monotonic)
    elapsed_s: float | None = None
    step: str = ""
    connections: dict[str, int] = field(default_factory=dict)
    stored_bytes: int = 0
    retrieved_bytes: int = 0
    traffic: Traffic | None = None
    expectations: list[Expectation] = field(default_factory=list)

    def expect(self, met: bool, text: str, measured: str = "") -> None:
        """Note an expectation and whether it was met."""
        self.expectations.append(Expectation(text=text, met=bool(met), measured=measured))

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
        return self._sum(Direction.RECEIVED, kinds)

    def sent(self) -> Tally:
        """What the director's NIC sent."""
        return self._sum(Direction.SENT, tuple(Kind))

    def _sum(self, direction: Direction, kinds: tuple[Kind, ...]) -> Tally:
        if self.traffic is None:
            return Tally()
        return sum((self.traffic.of(direction, kind) for kind in kinds), Tally())


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Everything that one run of the demonstration wrote down."""

    began_s: float = field(default_factory=time.monotonic)
    set_up_s: float | None = None
    phases: list[Phase] = field(default_factory=list)
    backends: list[dict[str, Any]] = field(default_factory=list)
    """The last ``lbctl status`` rows, for the display."""

    @property
    def has_passed(self) -> bool:
        """Whether every phase has met its expectations."""
        return bool(self.phases) and all(phase.has_passed for phase in self.phases)

    def as_json(self) -> dict[str, Any]:
        """The figures, for ``build/demo.json``. Bytes at the NIC include the Ethernet header."""
        return {
            "passed": self.has_passed,
            "set_up_s": self.set_up_s,
            "elapsed_s": round(time.monotonic() - self.began_s, 2),
            "phases": [_phase_as_json(phase) for phase in self.phases],
        }


def _phase_as_json(phase: Phase) -> dict[str, Any]:
    return {
        "title": phase.title,
        "elapsed_s": phase.elapsed_s,
        "connections": phase.connections,
        "stored_bytes": phase.stored_bytes,
        "retrieved_bytes": phase.retrieved_bytes,
        "director_nic": _traffic_as_json(phase.traffic) if phase.traffic else None,
        "expectations": [
            {"text": expectation.text, "met": expectation.met, "measured": expectation.measured}
            for expectation in phase.expectations
        ],
    }


def _traffic_as_json(traffic: Traffic) -> dict[str, dict[str, dict[str, int]]]:
    return {
        direction.name.lower(): {
            kind.name.lower(): {"frames": tally.frames, "bytes": tally.octets}
            for kind in Kind
            if (tally := traffic.of(direction, kind)).frames or kind is Kind.FROM_VIP
        }
        for direction in Direction
    }
