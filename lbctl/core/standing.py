"""What all that is known of a backend amounts to: one condition for people, one state and one weight for the tables.

| condition      | new connections | live connections         | said when                                            |
| -------------- | --------------- | ------------------------ | ---------------------------------------------------- |
| up             | by weight       | go on                    | probes succeed                                       |
| busy           | by weight       | go on                    | the server says that it is full for now              |
| misconfigured  | by weight       | go on                    | the server rejects the *check*, not its clients      |
| draining       | none            | go on                    | an operator, or the backend's agent, or weight 0     |
| removed        | none            | go on until they end     | the file no longer has the backend                   |
| unknown        | none            | go on                    | not probed yet                                       |
| unresolved     | none            | go on to the last MAC    | the neighbour does not answer ARP                    |
| down           | none            | go on to the last MAC    | probes fail                                          |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lbctl.core.capacity import Capacity, weight
from lbctl.core.health import Health, Status
from lbctl.core.model import Backend
from lbctl.core.tables import BackendState


class Condition(StrEnum):
    """A backend's condition, as ``lbctl status`` names it."""

    UP = "up"
    BUSY = "busy"
    MISCONFIGURED = "misconfigured"
    DRAINING = "draining"
    REMOVED = "removed"
    UNKNOWN = "unknown"
    UNRESOLVED = "unresolved"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """``weight`` is in hundredths of the declared unit, 0 unless ``state`` is up; ``reason`` is one line for people."""

    condition: Condition
    reason: str
    state: BackendState
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """All that is known of one backend. ``neighbour`` is the kernel's name for the state of its ARP entry."""

    health: Health
    capacity: Capacity
    is_drained: bool
    is_resolved: bool
    neighbour: str


def standing(backend: Backend, signals: Signals) -> Standing:
    """Weigh the signals: what keeps new connections away goes first, an operator's word before all."""
    condition, reason = _condition(backend, signals)
    takes_new = condition in (Condition.UP, Condition.BUSY, Condition.MISCONFIGURED)
    return Standing(
        condition=condition,
        reason=reason,
        state=BackendState.UP if takes_new else _state_without_new(signals),
        weight=weight(backend.weight, signals.capacity) if takes_new else 0,
    )


def _condition(backend: Backend, signals: Signals) -> tuple[Condition, str]:
    health = signals.health
    if signals.is_drained:
        return Condition.DRAINING, _and_also("drained by an operator", signals)
    if not signals.is_resolved:
        return Condition.UNRESOLVED, f"{backend.address} does not answer ARP (its entry is {signals.neighbour})"
    if health.status is Status.DOWN:
        return Condition.DOWN, health.reason
    if health.status is Status.UNKNOWN:
        return Condition.UNKNOWN, health.reason
    if weight(backend.weight, signals.capacity) == 0:
        return Condition.DRAINING, _why_weightless(backend, signals.capacity)
    if health.is_misconfigured:
        return Condition.MISCONFIGURED, health.reason
    return (Condition.BUSY if health.is_busy else Condition.UP), health.reason


def _and_also(reason: str, signals: Signals) -> str:
    return f"{reason}; also down: {signals.health.reason}" if signals.health.status is Status.DOWN else reason


def _why_weightless(backend: Backend, capacity: Capacity) -> str:
    if backend.weight == 0:
        return "its weight is 0"
    return f"its agent says {capacity.word}" if capacity.is_withheld else "its agent reports 0 %"


def _state_without_new(signals: Signals) -> BackendState:
    """Down also frees a client's ports for a connection to somebody else."""
    is_gone = not signals.is_resolved or signals.health.status is Status.DOWN
    return BackendState.DOWN if is_gone else BackendState.DRAINING
