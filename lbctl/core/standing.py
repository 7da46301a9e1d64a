"""What all that is known of a backend amounts to: one condition for people, one state and one weight for the tables.

| condition      | new connections | live connections         | said when                                            | probed |
| -------------- | --------------- | ------------------------ | ---------------------------------------------------- | ------ |
| up             | by weight       | go on                    | probes succeed                                       | yes    |
| busy           | by weight       | go on                    | the server says that it is full for now              | yes    |
| full           | none            | go on                    | it has as many connections as ``connection_limit``   | yes    |
| misconfigured  | by weight       | go on                    | the server rejects the *check*, not its clients      | yes    |
| draining       | none            | go on, except where only | an operator, or the backend's agent, or weight 0     | yes    |
|                |                 | one may receive: another |                                                      |        |
|                |                 | takes over, and they are |                                                      |        |
|                |                 | reset                    |                                                      |        |
| halted         | none            | reset on both sides      | an operator                                          | yes    |
| standby        | none            | reset on both sides      | another of its pool is the active one                | yes    |
| removed        | none            | go on until they end;    | the file no longer has the backend                   | no     |
|                |                 | reset if it was active   |                                                      |        |
|                |                 | in a pool with failover |                                                      |        |
| unknown        | none            | go on                    | not probed yet                                       | yes    |
| unresolved     | none            | reset, see below         | it answers neither ARP nor neighbour solicitations   | yes    |
| down           | none            | reset, see below         | probes fail                                          | yes    |

Live connections of a backend that is down go on to its last MAC unless ``reset_on_down`` of its pool says that their clients
are to be told by a reset: on transport evidence by default. What was answered (a refusal) is evidence by itself; silence is
only while others on the same interface are heard, for else it may be the director that is cut off.

Full is what the program finds, from one connection to the next; the slots stay as they are, and others are asked for room.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lbctl.core.capacity import Capacity, weight
from lbctl.core.health import DownCause, Health, Status
from lbctl.core.model import Backend, ResetOnDown
from lbctl.core.tables import BackendState
from lbctl.core.verdict import Outcome


class Condition(StrEnum):
    """A backend's condition, as ``lbctl status`` names it."""

    UP = "up"
    BUSY = "busy"
    FULL = "full"
    MISCONFIGURED = "misconfigured"
    DRAINING = "draining"
    HALTED = "halted"
    STANDBY = "standby"
    REMOVED = "removed"
    UNKNOWN = "unknown"
    UNRESOLVED = "unresolved"
    DOWN = "down"


class Override(StrEnum):
    """What an operator said of a backend."""

    DRAINED = "drained"
    HALTED = "halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """``weight`` is in hundredths of the declared unit, 0 unless ``state`` is up; ``reason`` is one line for people.
    ``given_weight`` and ``ramp_percent`` are as in `Signals`."""

    condition: Condition
    reason: str
    state: BackendState
    weight: int
    given_weight: int | None = None
    ramp_percent: int = 100

    @property
    def takes_new(self) -> bool:
        """Whether new connections go there. A full one keeps its weight, for it will take some again."""
        return self.weight > 0 and self.condition is not Condition.FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """All that is known of one backend. ``neighbour`` is the kernel's name for the state of its entry among the neighbours."""

    health: Health
    capacity: Capacity
    override: Override | None
    is_resolved: bool
    neighbour: str
    is_silence_doubted: bool = False
    """Nobody else on its interface was heard either when it fell silent."""
    is_full: bool = False
    given_weight: int | None = None
    """An operator's, in place of the declared one."""
    ramp_percent: int = 100
    """How far its slow start has come."""

    @property
    def is_silent(self) -> bool:
        """Whether it answers neither ARP (nor solicitations) nor, at the latest look, a probe."""
        result = self.health.last_result
        is_unreachable = result is not None and result.outcome in (Outcome.UNREACHABLE, Outcome.TIMEOUT)
        return self.neighbour == "failed" or not self.is_resolved or is_unreachable


def standing(backend: Backend, signals: Signals) -> Standing:
    """Weigh the signals: what keeps new connections away goes first, an operator's word before all."""
    condition, reason = _condition(backend, signals)
    takes_new = condition in (Condition.UP, Condition.BUSY, Condition.FULL, Condition.MISCONFIGURED)
    return Standing(
        condition=condition,
        reason=reason,
        state=BackendState.UP if takes_new else _state_without_new(backend, signals),
        weight=_weight(backend, signals) if takes_new else 0,
        given_weight=signals.given_weight,
        ramp_percent=signals.ramp_percent,
    )


def _weight(backend: Backend, signals: Signals) -> int:
    return weight(_base(backend, signals), signals.capacity, ramp_percent=signals.ramp_percent)


def _base(backend: Backend, signals: Signals) -> int:
    """What capacity and slow start are percentages of."""
    return backend.weight if signals.given_weight is None else signals.given_weight


def _condition(backend: Backend, signals: Signals) -> tuple[Condition, str]:
    health = signals.health
    if signals.override is not None:
        return _OVERRIDDEN[signals.override], _and_also(f"{signals.override} by an operator", signals)
    if not signals.is_resolved:
        return Condition.UNRESOLVED, _why_unresolved(backend, signals)
    if health.status is Status.DOWN:
        return Condition.DOWN, health.reason
    if health.status is Status.UNKNOWN:
        return Condition.UNKNOWN, health.reason
    if _weight(backend, signals) == 0:
        return Condition.DRAINING, _why_weightless(backend, signals)
    if signals.is_full:
        limit = backend.connection_limit
        return Condition.FULL, f"all {limit} connections are taken; new ones again from {backend.resume_at} down"
    return _alive(health), health.reason


_OVERRIDDEN = {Override.HALTED: Condition.HALTED, Override.DRAINED: Condition.DRAINING}


def _why_unresolved(backend: Backend, signals: Signals) -> str:
    question = "ARP" if backend.address.version == 4 else "neighbour solicitations"
    return f"{backend.address} does not answer {question} (its entry is {signals.neighbour})"


def _alive(health: Health) -> Condition:
    if health.is_misconfigured:
        return Condition.MISCONFIGURED
    return Condition.BUSY if health.is_busy else Condition.UP


def _and_also(reason: str, signals: Signals) -> str:
    return f"{reason}; also down: {signals.health.reason}" if signals.health.status is Status.DOWN else reason


def _why_weightless(backend: Backend, signals: Signals) -> str:
    if _base(backend, signals) == 0:
        return "its weight is 0" + ("" if signals.given_weight is None else " by an operator")
    capacity = signals.capacity
    return f"its agent says {capacity.word}" if capacity.is_withheld else "its agent reports 0 %"


def _state_without_new(backend: Backend, signals: Signals) -> BackendState:
    """Down also frees a client's ports for a connection to somebody else; dead also resets the clients that are left."""
    if signals.override is Override.HALTED:
        return BackendState.HALTED
    is_down = signals.health.status is Status.DOWN
    is_mute = signals.neighbour == "failed"
    has_evidence = is_mute or (is_down and signals.health.cause is DownCause.TRANSPORT)
    is_reason = has_evidence or (is_down and backend.reset_on_down is ResetOnDown.ALWAYS)
    is_doubtful = signals.is_silent and signals.is_silence_doubted
    if is_reason and not is_doubtful and backend.reset_on_down is not ResetOnDown.NEVER:
        return BackendState.DEAD
    return BackendState.DOWN if is_down or not signals.is_resolved else BackendState.DRAINING
