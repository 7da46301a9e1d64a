"""The core's events as lines of the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from lbctl.core.capacity import AgentChangedWord, AgentSpoke, AgentWentSilent, CapacityChanged, CapacityEvent
from lbctl.core.health import (
    BackendBecameBusy,
    BackendGotRelieved,
    BackendWentDown,
    BackendWentUp,
    CheckWasAccepted,
    CheckWasRejected,
    DownCauseChanged,
    HealthEvent,
)
from lbctl.core.plan import SetBackend, SetSlots, Step
from lbctl.daemon.reconcile import Reconciler

_log = logging.getLogger("lbctl.events")


def log_events(label: str, events: Iterable[HealthEvent | CapacityEvent]) -> None:
    """One line an event; what an operator should look at is a warning."""
    for event in events:
        level, text = _line(event)
        _log.log(level, "%s %s", label, text)


def log_steps(steps: Iterable[Step], reconciler: Reconciler) -> None:
    """What an operator may want to find again: who got slots, and which MAC a backend has now."""
    for step in steps:
        if isinstance(step, SetSlots):
            name, size = reconciler.pool_of(step.pool_id)
            _log.info("pool %s: %d of %d slots changed hands", name, len(step.at), size)
            if len(step.at) and not step.after.any():
                _log.error("pool %s: nobody takes new connections", name)
        if isinstance(step, SetBackend) and step.before and step.after and step.before.mac != step.after.mac:
            name = reconciler.labels.get(step.after.identity, str(step.after.address))
            _log.info("%s has MAC %s, before %s", name, _mac(step.after.mac), _mac(step.before.mac))


def log_actives(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Which backend is active in a pool where only one is."""
    for pool, name in after.items():
        former = before.get(pool)
        if former not in (None, name):
            _log.warning("pool %s: %s is active now, before %s, whose connections are reset", pool, name, former)
        elif former is None:
            _log.info("pool %s: %s is active", pool, name)


def _mac(mac: bytes | None) -> str:
    return mac.hex(":") if mac else "none"


def _line(event: HealthEvent | CapacityEvent) -> tuple[int, str]:  # noqa: PLR0911 (one line a kind)
    match event:
        case BackendWentUp():
            return logging.INFO, f"is up: {event.reason}"
        case BackendWentDown() | DownCauseChanged():
            return logging.WARNING, f"is down ({event.cause}): {event.reason}"
        case BackendBecameBusy():
            return logging.WARNING, f"is busy: {event.reason}"
        case BackendGotRelieved():
            return logging.INFO, "is no longer busy"
        case CheckWasRejected():
            return logging.WARNING, f"rejects the check: {event.reason}"
        case CheckWasAccepted():
            return logging.INFO, "accepts the check again"
        case CapacityChanged():
            return logging.INFO, f"capacity: {event.before_percent} % -> {event.percent} %"
        case AgentChangedWord():
            return logging.INFO, f"agent says {event.word}"
        case AgentWentSilent():
            return logging.WARNING, f"agent is silent and ignored from now on: {event.detail}"
        case AgentSpoke():
            return logging.INFO, f"agent answers again, after {event.silent_for_s:.1f} s"
