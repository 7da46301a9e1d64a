"""What a spec means once presets, kinds and overrides are taken together. Used by the rules and by resolution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import TypeVar

from lbctl.config.nics import nic_of
from lbctl.config.presets import PRESETS, CheckType, Preset, default_check_type, default_idle_timeout_s
from lbctl.config.schema import (
    AgentSpec,
    BackendSpec,
    CheckSpec,
    ClassSpec,
    FileSpec,
    InterfaceSpec,
    NoAgent,
    PoolSpec,
    ServiceSpec,
)
from lbctl.core.model import (
    Address,
    Agent,
    AttachMode,
    CheckTiming,
    DicomEchoCheck,
    Network,
    Policy,
    PoolKind,
    Protocol,
    Storage,
)

_T = TypeVar("_T")

_DEFAULT_ECHO = DicomEchoCheck(port=104)
_DEFAULT_AGENT = Agent(port=3333)


def addresses_of(interface: InterfaceSpec) -> tuple[IPv4Interface | IPv6Interface, ...]:
    """The director's own on an interface, one of a family at most."""
    return tuple(own for own in (interface.address, interface.address6) if own is not None)


def subnet_for(interface: InterfaceSpec, address: Address) -> Network | None:
    """An interface's subnet of the family of an address, if it has one."""
    own = interface.address if address.version == 4 else interface.address6
    return own.network if own else None


def interface_of(address: Address, interfaces: Mapping[str, InterfaceSpec]) -> str | None:
    """The interface in whose subnet an address is."""
    found = ((name, subnet_for(spec, address)) for name, spec in interfaces.items())
    return next((name for name, subnet in found if subnet and address in subnet), None)


def mode_of(name: str, interfaces: Mapping[str, InterfaceSpec]) -> AttachMode:
    """How the program is attached to the NIC of an interface: as any interface of that NIC demands."""
    modes = (spec.mode for other, spec in interfaces.items() if nic_of(other) == nic_of(name))
    return next((mode for mode in modes if mode is not AttachMode.AUTO), AttachMode.AUTO)


def family_of(pool: PoolSpec) -> int | None:
    """4 or 6; ``None`` if a pool's backends are of both, which is a mistake by itself, or if there are none."""
    families = {backend.address.version for backend in pool.backends.values()}
    return families.pop() if len(families) == 1 else None


def sources_in(found: ClassSpec, family: int) -> tuple[Network, ...]:
    """The prefixes of one family that a class's connections come from."""
    if found.sources is None:
        return (IPv4Network("0.0.0.0/0") if family == 4 else IPv6Network("::/0"),)
    return tuple(prefix for prefix in found.sources if prefix.version == family)


def class_weight(pool: PoolSpec, class_name: str, backend: str) -> int:
    """A backend's weight in a class: the one written there, else its own."""
    return pool.classes[class_name].get(backend, pool.backends[backend].weight)


def preset_of(service: ServiceSpec) -> Preset | None:
    """The preset that a service names."""
    return PRESETS[service.preset] if service.preset else None


def protocol_of(service: ServiceSpec) -> Protocol:
    """The preset's, else as declared, else TCP."""
    preset = preset_of(service)
    return preset.protocol if preset else service.protocol or Protocol.TCP


def ports_of(service: ServiceSpec) -> tuple[int, ...]:
    """As declared, else the preset's."""
    preset = preset_of(service)
    return service.ports or (preset.ports if preset else ())


def idle_timeout_s_of(service: ServiceSpec, *, kind: PoolKind) -> float:
    """As declared, else the preset's, else by the kind of pool."""
    if service.idle_timeout is not None:
        return service.idle_timeout
    preset = preset_of(service)
    return preset.idle_timeout_s if preset else default_idle_timeout_s(kind, protocol_of(service))


def own_services_of(spec: FileSpec, pool: str) -> list[ServiceSpec]:
    """The services that name a pool."""
    return [service for service in spec.services.values() if service.pool == pool]


def services_of(spec: FileSpec, pool: str) -> list[ServiceSpec]:
    """The services that a pool answers: its own, then those whose pool falls back on it (as `Declaration.services_of`)."""
    leaning = {name for name, other in spec.pools.items() if other.fallback == pool}
    return own_services_of(spec, pool) + [
        service for service in spec.services.values() if service.pool in leaning and service.pool != pool
    ]


def policy_of(pool: PoolSpec) -> Policy:
    """As declared, else by the kind of pool: what receives ordered messages has one active backend."""
    return pool.policy or (Policy.FAILOVER if pool.kind is PoolKind.HL7 else Policy.BALANCE)


def is_private(pool: PoolSpec) -> bool:
    """Whether each archive of a pool has a storage of its own. (``storage`` of anything else is a mistake by itself.)"""
    return pool.kind is PoolKind.ARCHIVE and pool.storage is Storage.PRIVATE


def limits_of(pool: PoolSpec, backend: BackendSpec) -> tuple[int, int]:
    """Connection limit and resume threshold of a backend: its own keys, then its pool's; (0, 0) without a limit."""
    limit = backend.connection_limit or pool.connection_limit
    return (limit, _first(backend.resume_at, pool.resume_at, limit - 1)) if limit else (0, 0)


def probed_service(services: Iterable[ServiceSpec]) -> ServiceSpec | None:
    """The service whose first port the checks of a pool go to: its first TCP one, since every check speaks TCP."""
    return next((service for service in services if protocol_of(service) is Protocol.TCP), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveCheck:
    """A backend's check, complete but for the port, which is ``None`` if no service gives one."""

    type: CheckType
    port: int | None
    calling_ae: str
    called_ae: str
    timing: CheckTiming


def effective_check(pool: PoolSpec, backend: BackendSpec, services: Sequence[ServiceSpec]) -> EffectiveCheck:
    """Defaults of preset or kind, then the pool's keys, then the backend's."""
    inner, outer = backend.check or CheckSpec(), pool.check or CheckSpec()
    probed = probed_service(services)
    return EffectiveCheck(
        type=_first(inner.type, outer.type, default_type(pool, services)),
        port=inner.port or outer.port or (ports_of(probed)[0] if probed and ports_of(probed) else None),
        calling_ae=_first(inner.calling_ae, outer.calling_ae, _DEFAULT_ECHO.calling_ae),
        called_ae=_first(inner.called_ae, outer.called_ae, _DEFAULT_ECHO.called_ae),
        timing=_timing(inner, outer),
    )


def default_type(pool: PoolSpec, services: Sequence[ServiceSpec]) -> CheckType:
    """The check of a pool that does not say which: by its first service's preset, else by its kind."""
    probed = probed_service(services)
    preset = preset_of(probed) if probed else None
    return preset.check if preset else default_check_type(pool.kind)


def _timing(inner: CheckSpec, outer: CheckSpec) -> CheckTiming:
    default = CheckTiming()
    interval_s = _first(inner.interval, outer.interval, default.interval_s)
    return CheckTiming(
        interval_s=interval_s,
        timeout_s=_first(inner.timeout, outer.timeout, min(default.timeout_s, interval_s * 0.6)),
        fall=_first(inner.fall, outer.fall, default.fall),
        rise=_first(inner.rise, outer.rise, default.rise),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveAgent:
    """A backend's load agent; ``port`` is ``None`` if neither pool nor backend names it."""

    port: int | None
    interval_s: float
    timeout_s: float


def effective_agent(pool: PoolSpec, backend: BackendSpec) -> EffectiveAgent | None:
    """The pool's keys, then the backend's; ``None`` without an agent, and with ``agent: none``."""
    if isinstance(backend.agent, NoAgent) or (backend.agent is None and pool.agent is None):
        return None
    inner, outer = backend.agent or AgentSpec(), pool.agent or AgentSpec()
    interval_s = _first(inner.interval, outer.interval, _DEFAULT_AGENT.interval_s)
    timeout_s = _first(inner.timeout, outer.timeout, min(_DEFAULT_AGENT.timeout_s, interval_s * 0.8))
    return EffectiveAgent(port=inner.port or outer.port, interval_s=interval_s, timeout_s=timeout_s)


def _first(*candidates: _T | None) -> _T:
    return next(candidate for candidate in candidates if candidate is not None)
