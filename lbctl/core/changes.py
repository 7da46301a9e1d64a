"""What differs between two declarations, key by key, by the names that the file has. Pure.

Presets, defaults and overrides are taken together, for that is what a declaration is. What holds for all backends of a pool is
told once, as a key of the pool, where one would write it. Where order means nothing, another order is no change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from lbctl.core.durations import seconds_text
from lbctl.core.effects.wording import counted, listed, named, prefix_text
from lbctl.core.failover import has_one
from lbctl.core.model import (
    Agent,
    Announce,
    Backend,
    Check,
    Declaration,
    DicomEchoCheck,
    Director,
    Interface,
    Pool,
    Service,
    TrafficClass,
)


class ChangeKind(StrEnum):
    """What becomes of a key."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key that differs. Of something that is added or removed as a whole the value is a summary."""

    key: str
    before: str | None
    after: str | None

    @property
    def kind(self) -> ChangeKind:
        """As the two values tell."""
        if self.before is None:
            return ChangeKind.ADDED
        return ChangeKind.REMOVED if self.after is None else ChangeKind.CHANGED

    def __str__(self) -> str:
        return f"{self.key}: {self.before or '(none)'} -> {self.after or '(none)'}"


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Thing = TypeVar("_Thing", bound=_Named)
Values = Mapping[str, str | None]
"""By key, as one would write them; ``None``: not there."""
_OF_THE_POOL = ("check.", "agent", "connection_limit", "resume_at")
"""Keys of a backend that may as well be written in its pool."""


def changes(before: Declaration, after: Declaration) -> tuple[Change, ...]:
    """All of them, by section in the order of the file; what is removed comes after what is there."""
    return (
        *_section("interfaces", before.interfaces, after.interfaces, _interface, _described_interface),
        *_section("services", before.services, after.services, _service, _described_service),
        *_pools(before.pools, after.pools),
        *_section("classes", before.classes, after.classes, _class, _described_class),
        *_order("classes", before.classes, after.classes),
        *_differing("director", _director(before.director), _director(after.director)),
    )


def _section(
    section: str,
    before: Sequence[_Thing],
    after: Sequence[_Thing],
    values: Callable[[_Thing], Values],
    described: Callable[[_Thing], str],
) -> Iterator[Change]:
    """Of things that are known by their names."""
    were = {thing.name: thing for thing in before}
    for thing in after:
        was = were.pop(thing.name, None)
        key = f"{section}.{thing.name}"
        if was is None:
            yield Change(key=key, before=None, after=described(thing))
        elif was != thing:
            yield from _differing(key, values(was), values(thing))
    for thing in were.values():
        yield Change(key=f"{section}.{thing.name}", before=described(thing), after=None)


def _differing(key: str, before: Values, after: Values) -> Iterator[Change]:
    for name in [*after, *(name for name in before if name not in after)]:
        if before.get(name) != after.get(name):
            yield Change(key=f"{key}.{name}", before=before.get(name), after=after.get(name))


def _order(key: str, before: Sequence[_Named], after: Sequence[_Named]) -> Iterator[Change]:
    """Of those that stay, where it means something."""
    both = {thing.name for thing in before} & {thing.name for thing in after}
    was, is_now = ([thing.name for thing in things if thing.name in both] for things in (before, after))
    if was != is_now:
        yield Change(key=f"{key} (order)", before=named(was), after=named(is_now))


# Pools and backends ---------------------------------------------------------------------------------------------------


def _pools(before: Sequence[Pool], after: Sequence[Pool]) -> Iterator[Change]:
    were = {pool.name: pool for pool in before}
    for pool in after:
        was = were.pop(pool.name, None)
        if was is None:
            yield Change(key=f"pools.{pool.name}", before=None, after=_described_pool(pool))
        elif was != pool:
            yield from _pool_changes(was, pool)
    for pool in were.values():
        yield Change(key=f"pools.{pool.name}", before=_described_pool(pool), after=None)


def _pool_changes(before: Pool, after: Pool) -> Iterator[Change]:
    key = f"pools.{after.name}"
    shared = _shared_by_all(before, after)
    yield from _differing(key, _pool(before), _pool(after))
    yield from _class_weights(key, before, after)
    for name, (was, is_now) in shared.items():
        yield Change(key=f"{key}.{name}", before=was, after=is_now)

    def values(backend: Backend) -> Values:
        return {name: value for name, value in _backend(backend).items() if name not in shared}

    yield from _section(f"{key}.backends", before.backends, after.backends, values, _described_backend)
    if has_one(before) and has_one(after):
        yield from _order(f"{key}.backends", before.backends, after.backends)


def _shared_by_all(before: Pool, after: Pool) -> Mapping[str, tuple[str | None, str | None]]:
    """The keys that may be the pool's, that all of its backends have alike, and that change for all."""
    if min(len(before.backends), len(after.backends)) < 2 or before.backends == after.backends:
        return {}
    was, is_now = _uniform(before), _uniform(after)
    names = [name for name in is_now if name in was and name.startswith(_OF_THE_POOL)]
    return {name: (was[name], is_now[name]) for name in names if was[name] != is_now[name]}


def _uniform(pool: Pool) -> Values:
    """What all backends have alike; ``None``: none of them has it."""
    found = [_backend(backend) for backend in pool.backends]
    names = dict.fromkeys(name for values in found for name in values)
    alike = {name: {values.get(name) for values in found} for name in names}
    return {name: next(iter(values)) for name, values in alike.items() if len(values) == 1}


def _class_weights(key: str, before: Pool, after: Pool) -> Iterator[Change]:
    for name in [*after.class_weights, *(name for name in before.class_weights if name not in after.class_weights)]:
        was, is_now = before.class_weights.get(name), after.class_weights.get(name)
        if was is None or is_now is None:
            yield Change(key=f"{key}.classes.{name}", before=_weights(was), after=_weights(is_now))
        else:
            yield from _differing(f"{key}.classes.{name}", _as_text(was), _as_text(is_now))


def _as_text(weights: Mapping[str, int]) -> Values:
    return {name: str(weight) for name, weight in weights.items()}


def _weights(weights: Mapping[str, int] | None) -> str | None:
    if weights is None:
        return None
    return listed(f"{name} {weight}" for name, weight in weights.items()) or "by the backends' own weights"


# Values, as one would write them --------------------------------------------------------------------------------------


def _interface(interface: Interface) -> Values:
    return {
        "address": str(interface.address) if interface.address else None,
        "address6": str(interface.address6) if interface.address6 else None,
        "mode": interface.mode.value,
    }


def _service(service: Service) -> Values:
    """Where a routed VIP is follows from its pool."""
    return {
        "vip": str(service.vip),
        "announce": service.announce.value,
        "ports": listed(service.ports),
        "protocol": service.protocol.value,
        "pool": service.pool,
        "interface": None if service.announce is Announce.ROUTED else service.interface,
        "allow": listed(map(prefix_text, service.allow)) or None,
        "idle_timeout": seconds_text(service.idle_timeout_s),
    }


def _class(found: TrafficClass) -> Values:
    return {"sources": listed(map(prefix_text, found.sources)) or None, "ports": listed(found.ports) or None}


def _director(director: Director) -> Values:
    return {
        "tcp_flows": f"{director.tcp_flows:,}",
        "udp_flows": f"{director.udp_flows:,}",
        "wrong_port": director.wrong_port.value,
    }


def _pool(pool: Pool) -> Values:
    return {
        "kind": pool.kind.value,
        "storage": pool.storage.value if pool.storage else None,
        "reassign": pool.reassign.value,
        "policy": pool.policy.value,
        "failback": pool.failback.value,
        "fallback": pool.fallback,
        "on_empty": pool.on_empty.value,
        "reset_on_down": next((backend.reset_on_down.value for backend in pool.backends), None),
    }


def _backend(backend: Backend) -> Values:
    """A threshold just below its limit is the default, and not worth a word. Where a backend is follows from its address."""
    limit, resume_at = backend.connection_limit, backend.resume_at
    return {
        "address": str(backend.address),
        "weight": str(backend.weight),
        "connection_limit": str(limit) if limit else None,
        "resume_at": str(resume_at) if limit and resume_at != limit - 1 else None,
        **_check(backend.check),
        **_agent(backend.agent),
    }


def _check(check: Check) -> Values:
    is_echo = isinstance(check, DicomEchoCheck)
    return {
        "check.type": "dicom-echo" if is_echo else "tcp",
        "check.port": str(check.port),
        "check.calling_ae": check.calling_ae if isinstance(check, DicomEchoCheck) else None,
        "check.called_ae": check.called_ae if isinstance(check, DicomEchoCheck) else None,
        "check.interval": seconds_text(check.timing.interval_s),
        "check.timeout": seconds_text(check.timing.timeout_s),
        "check.fall": str(check.timing.fall),
        "check.rise": str(check.timing.rise),
    }


def _agent(agent: Agent | None) -> Values:
    return {
        "agent.port": str(agent.port) if agent else None,
        "agent.interval": seconds_text(agent.interval_s) if agent else None,
        "agent.timeout": seconds_text(agent.timeout_s) if agent else None,
    }


# Summaries ------------------------------------------------------------------------------------------------------------


def _described_interface(interface: Interface) -> str:
    return listed(interface.addresses)


def _described_service(service: Service) -> str:
    who = f", only from {listed(map(prefix_text, service.allow))}" if service.allow else ""
    return f"{service.vip} {service.protocol} {listed(service.ports)} to pool {service.pool}{who}"


def _described_class(found: TrafficClass) -> str:
    sources = f"from {listed(map(prefix_text, found.sources))}" if found.sources else "from anywhere"
    return f"{sources} to ports {listed(found.ports)}" if found.ports else sources


def _described_pool(pool: Pool) -> str:
    storage = f", {pool.storage} storage" if pool.storage else ""
    names = named([backend.name for backend in pool.backends])
    return f"{pool.kind}{storage}, {pool.policy}, {counted(len(pool.backends), 'backend')}: {names}"


def _described_backend(backend: Backend) -> str:
    return f"{backend.address}, weight {backend.weight}"
