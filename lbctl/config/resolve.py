"""A valid draft becomes a `Declaration`: presets, defaults and overrides are settled here, once."""

from __future__ import annotations

from typing import TypeVar

from lbctl.config.effective import (
    EffectiveCheck,
    effective_agent,
    effective_check,
    idle_timeout_s_of,
    interface_of,
    limits_of,
    mode_of,
    policy_of,
    ports_of,
    protocol_of,
    services_of,
)
from lbctl.config.presets import CheckType
from lbctl.config.schema import BackendSpec, CheckSpec, DirectorSpec, FileSpec, InterfaceSpec, PoolSpec, ServiceSpec
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
    TcpCheck,
    TrafficClass,
)

_T = TypeVar("_T")


def resolve(spec: FileSpec) -> Declaration:
    """The declaration that a file without mistakes stands for."""
    for gone in _POOLS.keys() - spec.pools.keys():
        _POOLS.pop(gone, None)
    return Declaration(
        interfaces=tuple(
            Interface(
                name=name,
                address=interface.address,
                address6=interface.address6,
                mode=mode_of(name, spec.interfaces),
            )
            for name, interface in spec.interfaces.items()
        ),
        services=_services(spec),
        pools=tuple(_known_pool(spec, name, pool) for name, pool in spec.pools.items()),
        director=_director(spec.director or DirectorSpec()),
        classes=tuple(
            TrafficClass(name=name, sources=found.sources or (), ports=found.ports or ())
            for name, found in spec.classes.items()
        ),
    )


def _director(director: DirectorSpec) -> Director:
    return Director(tcp_flows=director.tcp_flows, udp_flows=director.udp_flows, wrong_port=director.wrong_port)


def _services(spec: FileSpec) -> tuple[Service, ...]:
    return tuple(
        Service(
            name=name,
            vip=service.vip,
            ports=ports_of(service),
            protocol=protocol_of(service),
            pool=service.pool,
            interface=_interface_of(spec, service),
            idle_timeout_s=idle_timeout_s_of(service, kind=spec.pools[service.pool].kind),
            announce=service.announce,
            allow=service.allow or (),
        )
        for name, service in spec.services.items()
    )


def _interface_of(spec: FileSpec, service: ServiceSpec) -> str:
    """Where the VIP is; a routed one has no place of its own, and stands where its pool's first backend is."""
    first = next(iter(spec.pools[service.pool].backends.values()))
    address = first.address if service.announce is Announce.ROUTED else service.vip
    return service.interface or _required(interface_of(address, spec.interfaces))


_Causes = tuple[PoolSpec, list[str], list[ServiceSpec], dict[str, InterfaceSpec]]
_POOLS: dict[str, tuple[_Causes, Pool]] = {}
"""The latest of each name, with all that it follows from."""


def _known_pool(spec: FileSpec, name: str, pool: PoolSpec) -> Pool:
    """A pool that is declared as it was before, and all around it, is the same object. (The order of its backends, and of the
    interfaces, is told beside them, for dictionaries of another order are equal.)"""
    causes = (pool, [*pool.backends, *spec.interfaces], services_of(spec, name), spec.interfaces)
    known = _POOLS.get(name)
    if known is None or known[0] != causes:
        _POOLS[name] = known = (causes, _pool(spec, name, pool))
    return known[1]


def _pool(spec: FileSpec, name: str, pool: PoolSpec) -> Pool:
    return Pool(
        name=name,
        kind=pool.kind,
        storage=pool.storage,
        backends=_backends(spec, name, pool),
        policy=policy_of(pool),
        failback=pool.failback,
        fallback=pool.fallback,
        on_empty=pool.on_empty,
        reassign=pool.reassign,
        class_weights=pool.classes,
    )


def _backends(spec: FileSpec, pool_name: str, pool: PoolSpec) -> tuple[Backend, ...]:
    """Backends that say the same of their check have one check between them."""
    services = services_of(spec, pool_name)
    checks: dict[CheckSpec | None, Check] = {}
    for backend in pool.backends.values():
        if backend.check not in checks:
            checks[backend.check] = _check(effective_check(pool, backend, services))
    return tuple(
        _backend(spec, (pool_name, pool), (name, backend), check=checks[backend.check])
        for name, backend in pool.backends.items()
    )


def _backend(spec: FileSpec, of: tuple[str, PoolSpec], named: tuple[str, BackendSpec], *, check: Check) -> Backend:
    (pool_name, pool), (name, backend) = of, named
    connection_limit, resume_at = limits_of(pool, backend)
    return Backend(
        pool=pool_name,
        name=name,
        address=backend.address,
        interface=_required(interface_of(backend.address, spec.interfaces)),
        weight=backend.weight,
        check=check,
        agent=_agent(pool, backend),
        reset_on_down=pool.reset_on_down,
        connection_limit=connection_limit,
        resume_at=resume_at,
    )


def _check(check: EffectiveCheck) -> Check:
    port = _required(check.port)
    if check.type is CheckType.TCP:
        return TcpCheck(port=port, timing=check.timing)
    return DicomEchoCheck(port=port, calling_ae=check.calling_ae, called_ae=check.called_ae, timing=check.timing)


def _agent(pool: PoolSpec, backend: BackendSpec) -> Agent | None:
    agent = effective_agent(pool, backend)
    if agent is None:
        return None
    return Agent(port=_required(agent.port), interval_s=agent.interval_s, timeout_s=agent.timeout_s)


def _required(value: _T | None) -> _T:
    assert value is not None, "a rule of lbctl.config ensures this"
    return value
