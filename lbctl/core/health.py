"""Whether a backend may take new connections, as its probes tell: a state machine with rise and fall.

Pure: one `Health` per backend, `observe` takes the next probe's result and returns the next `Health` and what happened.
Events do not name the backend; whoever calls knows whose probe it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from lbctl.core.model import CheckTiming
from lbctl.core.verdict import Outcome, ProbeResult


class Status(StrEnum):
    """What the probes of a backend amount to."""

    UNKNOWN = "unknown"
    """Never probed. Takes no new connections."""
    UP = "up"
    DOWN = "down"


class DownCause(StrEnum):
    """What kind of evidence the most recent failure of a backend that is down gave."""

    TRANSPORT = "transport"
    """Refused or unreachable: no connection to it can be alive, so its clients may be reset."""
    APPLICATION = "application"
    """Anything else: connections may still be alive and are left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is known of one backend's health.

    ``since_s`` is when ``status`` began (monotonic seconds). ``streak`` counts the latest consecutive results that speak
    against ``status``. ``reason`` is one line for people; for a backend that is down, or failing, it is the most recent
    failure's. ``cause`` is set exactly while the backend is down.
    ``run_began_s`` and ``run_latest_s`` are when the first and the latest ended of the latest probes that all found it
    alive, or all not; ``None`` before the first. A failure counts as one of when its probe began: less the time-out.
    ``is_remembered``: it was up before the director was booted, and was not probed since.
    """

    status: Status = Status.UNKNOWN
    reason: str = "not probed yet"
    since_s: float
    streak: int = 0
    cause: DownCause | None = None
    is_busy: bool = False
    is_misconfigured: bool = False
    is_remembered: bool = False
    last_result: ProbeResult | None = None
    run_began_s: float | None = None
    run_latest_s: float | None = None

    @classmethod
    def adopted(cls, accepts_new: bool, *, now: float) -> Health:
        """The health to start from when the kernel already holds the backend.

        It counts as history: rise and fall apply to the first probe. One that accepts nothing is taken to be down on
        application evidence, the kind that cuts nobody's connection.
        """
        return cls(
            status=Status.UP if accepts_new else Status.DOWN,
            reason="as found in the kernel, not probed yet",
            since_s=now,
            cause=None if accepts_new else DownCause.APPLICATION,
        )

    @classmethod
    def remembered(cls, *, now: float) -> Health:
        """The health to start from after a reboot, of a backend that was up before it: it may take new connections, but the
        first probe decides, as of one without history."""
        return cls(status=Status.UP, reason="was up before the reboot, not probed yet", since_s=now, is_remembered=True)

    @property
    def is_silently_down(self) -> bool:
        """Whether it is down, and its latest probe was not answered by anybody, or answered again."""
        if self.status is not Status.DOWN or self.last_result is None:
            return False
        return self.last_result.outcome in (Outcome.TIMEOUT, Outcome.UNREACHABLE) or self.is_heard

    @property
    def is_heard(self) -> bool:
        """Whether its latest probe found it alive."""
        return self.last_result is not None and self.last_result.outcome.is_alive

    def was_alive_while(self, other: Health) -> bool:
        """Whether its probes succeeded while those of another, which fail now, failed: then it is not the director that hears
        nobody."""
        runs = (self.run_began_s, self.run_latest_s, other.run_began_s, other.run_latest_s)
        if not self.is_heard or other.is_heard or None in runs:
            return False
        began_s, latest_s, failed_first_s, failed_latest_s = (each or 0.0 for each in runs)
        return began_s < failed_latest_s and latest_s > failed_first_s

    @property
    def accepts_new(self) -> bool:
        """Whether new connections may go to the backend."""
        return self.status is Status.UP


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendWentUp:
    """The backend takes new connections from now on."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendWentDown:
    """The backend takes no new connections from now on."""

    cause: DownCause
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DownCauseChanged:
    """The backend is still down, but the evidence is of the other kind now."""

    cause: DownCause
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendBecameBusy:
    """The backend says that it is full for now; it stays up."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendGotRelieved:
    """The backend is no longer full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckWasRejected:
    """The backend rejects the check for good, as an unknown AE title; it stays up, the configuration is at fault."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckWasAccepted:
    """The backend no longer rejects the check."""


HealthEvent = (
    BackendWentUp
    | BackendWentDown
    | DownCauseChanged
    | BackendBecameBusy
    | BackendGotRelieved
    | CheckWasRejected
    | CheckWasAccepted
)


def observe(
    health: Health, result: ProbeResult, *, timing: CheckTiming, now: float
) -> tuple[Health, tuple[HealthEvent, ...]]:
    """The health after one more probe, and what happened.

    The first probe of a backend without history decides at once; after that ``timing.fall`` failures in a row take it
    down and ``timing.rise`` successes in a row bring it up. Busy and misconfigured are successes: the server is alive.
    """
    step = _after_success if result.outcome.is_alive else _after_failure
    before = health.last_result
    goes_on = before is not None and before.outcome.is_alive is result.outcome.is_alive
    after = replace(
        step(health, result, timing, now),
        last_result=result,
        run_began_s=health.run_began_s if goes_on else now,
        run_latest_s=now if result.outcome.is_alive else now - timing.timeout_s,
        is_remembered=False,
    )
    return after, (*_status_events(health, after), *_flag_events(health, after))


def _after_success(health: Health, result: ProbeResult, timing: CheckTiming, now: float) -> Health:
    flagged = replace(
        health,
        is_busy=result.outcome is Outcome.BUSY,
        is_misconfigured=result.outcome is Outcome.MISCONFIGURED,
    )
    if health.status is Status.UP:
        return replace(flagged, streak=0, reason=result.detail)
    if health.status is Status.DOWN and health.streak + 1 < timing.rise:
        return replace(health, streak=health.streak + 1)  # the reason stays: why it is still down
    return replace(flagged, status=Status.UP, streak=0, reason=result.detail, cause=None, since_s=now)


def _after_failure(health: Health, result: ProbeResult, timing: CheckTiming, now: float) -> Health:
    failing = replace(health, reason=result.detail)
    if health.status is Status.UP and health.streak + 1 < timing.fall and not health.is_remembered:
        return replace(failing, streak=health.streak + 1)  # busy or not is as last said
    return replace(
        failing,
        status=Status.DOWN,
        streak=0,
        cause=_cause(health, result, timing),
        since_s=health.since_s if health.status is Status.DOWN else now,
        is_busy=False,
        is_misconfigured=False,
    )


def _cause(health: Health, result: ProbeResult, timing: CheckTiming) -> DownCause:
    """Transport evidence resets clients, so one such result alone is not believed where ``fall`` asks for more; nor is it
    enough for a backend that was adopted as down, which may have live connections. One without history has none. Once
    believed, silence does not take it back: of a host that is gone, the kernel says unreachable or nothing by turns."""
    if result.outcome is Outcome.TIMEOUT and health.cause is not None:
        return health.cause
    before = health.last_result
    is_repeated = before is not None and before.outcome.is_transport_evidence
    is_believed = is_repeated or timing.fall == 1 or health.status is Status.UNKNOWN
    is_believed |= health.cause is DownCause.TRANSPORT
    return DownCause.TRANSPORT if result.outcome.is_transport_evidence and is_believed else DownCause.APPLICATION


def _status_events(before: Health, after: Health) -> tuple[HealthEvent, ...]:
    if after.cause is None:
        return (BackendWentUp(reason=after.reason),) if before.status is not Status.UP else ()
    if before.status is not Status.DOWN:
        return (BackendWentDown(cause=after.cause, reason=after.reason),)
    if before.cause is not after.cause:
        return (DownCauseChanged(cause=after.cause, reason=after.reason),)
    return ()


def _flag_events(before: Health, after: Health) -> tuple[HealthEvent, ...]:
    """Nothing is told of the flags of a backend that goes down: that it went down says it all."""
    if after.status is Status.DOWN:
        return ()
    events: list[HealthEvent] = []
    if after.is_busy != before.is_busy:
        events.append(BackendBecameBusy(reason=after.reason) if after.is_busy else BackendGotRelieved())
    if after.is_misconfigured != before.is_misconfigured:
        events.append(CheckWasRejected(reason=after.reason) if after.is_misconfigured else CheckWasAccepted())
    return tuple(events)
