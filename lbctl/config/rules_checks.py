"""Rules about health checks and load agents, looked at as each backend gets them. Each yields mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lbctl.config.draft import Draft
from lbctl.config.effective import (
    EffectiveCheck,
    default_type,
    effective_agent,
    effective_check,
    ports_of,
    preset_of,
    services_of,
)
from lbctl.config.mistakes import Mistake
from lbctl.config.presets import CheckType
from lbctl.config.schema import AgentSpec, BackendSpec, CheckSpec, PoolSpec, ServiceSpec
from lbctl.core.durations import seconds_text


def check_checks(draft: Draft) -> Iterator[Mistake]:
    """All rules of this module. A fault of a pool is found at each of its backends, and is the same mistake."""
    for pool_name, pool in draft.spec.pools.items():
        services = services_of(draft.spec, pool_name)
        for name, backend in _differing(pool):
            subject = _Subject(draft, pool_name, name, pool, backend)
            yield from _timing(subject, effective_check(pool, backend, services))
            yield from _ae_titles(subject, services)
            yield from _agent(subject)
            if services and draft.is_whole("services"):
                yield from _port(subject, services)


def _differing(pool: PoolSpec) -> Iterator[tuple[str, BackendSpec]]:
    """The backends with a check or an agent of their own, and one of those that have just their pool's."""
    is_told = False
    for name, backend in pool.backends.items():
        has_own = backend.check is not None or backend.agent is not None
        if has_own or not is_told:
            yield name, backend
        is_told = is_told or not has_own


@dataclass(frozen=True, slots=True)
class _Subject:
    """One backend with its pool, and where a key of its check or agent is written."""

    draft: Draft
    pool_name: str
    name: str
    pool: PoolSpec
    backend: BackendSpec

    def place(self, part: str, key: str) -> tuple[str, ...]:
        """The path of a key that is in force: the backend's own if it has one or its pool could not, else the pool's."""
        own: CheckSpec | AgentSpec | None = getattr(self.backend, part)
        if own is not None and (getattr(own, key) is not None or getattr(self.pool, part) is None):
            return ("pools", self.pool_name, "backends", self.name, part, key)
        return ("pools", self.pool_name, part, key)


def _timing(subject: _Subject, check: EffectiveCheck) -> Iterator[Mistake]:
    timing = check.timing
    if timing.timeout_s >= timing.interval_s:
        yield _too_long(subject, "check", timing.timeout_s, timing.interval_s)


def _too_long(subject: _Subject, part: str, timeout_s: float, interval_s: float) -> Mistake:
    message = f"{part} timeout {seconds_text(timeout_s)} is not shorter than the interval {seconds_text(interval_s)}"
    hint = "shorten the timeout or lengthen the interval, so that one probe ends before the next begins"
    return subject.draft.mistake(subject.place(part, "timeout"), message, hint=hint)


def _ae_titles(subject: _Subject, services: list[ServiceSpec]) -> Iterator[Mistake]:
    """AE titles on a check that sends none would be ignored in silence."""
    outer, inner = subject.pool.check or CheckSpec(), subject.backend.check or CheckSpec()
    pool_type = outer.type or default_type(subject.pool, services)
    layers = [
        (outer, pool_type, ("pools", subject.pool_name, "check")),
        (inner, inner.type or pool_type, ("pools", subject.pool_name, "backends", subject.name, "check")),
    ]
    for spec, kind, path in layers:
        for key in ("calling_ae", "called_ae"):
            if kind is CheckType.TCP and getattr(spec, key) is not None:
                message = f"'{key}' means nothing to a tcp check"
                hint = "remove it, or write 'type: dicom-echo'"
                yield subject.draft.mistake((*path, key), message, hint=hint)


def _port(subject: _Subject, services: list[ServiceSpec]) -> Iterator[Mistake]:
    check = effective_check(subject.pool, subject.backend, services)
    is_spelt = subject.draft.is_spelt("pools", subject.pool_name)
    if check.port is None and all(ports_of(service) for service in services) and is_spelt:
        message = "a pool of UDP services needs a check with a port, because every check speaks TCP"
        hint = "add 'check: {type: tcp, port: …}' with a TCP port that these servers listen on"
        yield subject.draft.mistake(("pools", subject.pool_name, "check"), message, hint=hint)
    tls_ports = {
        port for service in services if (preset := preset_of(service)) and preset.is_tls for port in preset.ports
    }
    if check.type is CheckType.DICOM_ECHO and check.port in tls_ports:
        message = f"a dicom-echo cannot speak TLS, and port {check.port} does"
        hint = "use 'type: tcp', or give 'port:' a DICOM port without TLS"
        yield subject.draft.mistake(subject.place("check", "type"), message, hint=hint)


def _agent(subject: _Subject) -> Iterator[Mistake]:
    agent = effective_agent(subject.pool, subject.backend)
    if agent is None:
        return
    if agent.port is None and subject.draft.is_spelt("pools", subject.pool_name):
        hint = "add 'port:' to the pool's agent or to this backend's, usually 3333"
        yield subject.draft.mistake(subject.place("agent", "port"), "the agent has no port", hint=hint)
    if agent.timeout_s >= agent.interval_s:
        yield _too_long(subject, "agent", agent.timeout_s, agent.interval_s)
