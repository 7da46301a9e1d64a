"""What one probe found. Probes produce these values; the health state machine consumes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How one probe ended. A probe never raises for an unhealthy target."""

    HEALTHY = "healthy"
    REFUSED = "refused"
    """TCP RST in answer to the SYN: nothing listens there. Transport evidence."""
    UNREACHABLE = "unreachable"
    """No route, no neighbour, ICMP error. Transport evidence."""
    TIMEOUT = "timeout"
    """No answer in time; ``detail`` says at which step."""
    FAILED = "failed"
    """The server answered, but not as the protocol demands."""
    BUSY = "busy"
    """The server says that it is full for now (A-ASSOCIATE-RJ 02/03/02). Not down."""
    MISCONFIGURED = "misconfigured"
    """The server rejects *this check* for good (unknown AE title). Not down."""

    @property
    def is_alive(self) -> bool:
        """Whether the server may take new connections after this outcome."""
        return self in (Outcome.HEALTHY, Outcome.BUSY, Outcome.MISCONFIGURED)

    @property
    def is_transport_evidence(self) -> bool:
        """Whether the outcome shows that no connection to the server can be alive."""
        return self in (Outcome.REFUSED, Outcome.UNREACHABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """One probe's finding: the outcome, one line for people (no patient data), and the latency of the protocol's own
    round trip in seconds (``None`` when there was no answer)."""

    outcome: Outcome
    detail: str
    latency_s: float | None = None


class AgentWord(StrEnum):
    """A state word of the agent-check protocol."""

    UP = "up"
    DRAIN = "drain"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """One line of a load agent. ``percent`` (0–100, of the declared weight) and ``word`` may each be absent."""

    percent: int | None = None
    word: AgentWord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSilence:
    """The agent did not answer, or not in the protocol; ``detail`` is one line for people."""

    detail: str
