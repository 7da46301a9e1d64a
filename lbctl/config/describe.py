"""A declaration in plain lines: what ``lbctl check`` prints when a file is good."""

from __future__ import annotations

from collections.abc import Iterator

from lbctl.config.numbers import seconds_text
from lbctl.core.model import Agent, Backend, Check, Declaration, DicomEchoCheck, Interface, Pool, Service


def describe(declaration: Declaration) -> list[str]:
    """Services, VIPs, ports, pools, backends, checks and idle limits, as they are after presets and overrides."""
    return [
        "interfaces",
        *(f"  {_interface(interface)}" for interface in declaration.interfaces),
        "services",
        *(f"  {_service(service)}" for service in declaration.services),
        "pools",
        *(f"  {line}" for pool in declaration.pools for line in _pool(pool)),
    ]


def _interface(interface: Interface) -> str:
    return f"{interface.name}: {interface.address}, XDP mode {interface.mode}"


def _service(service: Service) -> str:
    ports = ", ".join(map(str, service.ports))
    where = f"{service.vip} {service.protocol} {ports} on {service.interface}"
    return f"{service.name}: {where} -> {service.pool}, idle limit {seconds_text(service.idle_timeout_s)}"


def _pool(pool: Pool) -> Iterator[str]:
    storage = f", {pool.storage} storage" if pool.storage else ""
    count = f"{len(pool.backends)} backend{'' if len(pool.backends) == 1 else 's'}"
    yield f"{pool.name}: {pool.kind}{storage}, {count}, reset on down: {pool.backends[0].reset_on_down}"
    total = sum(backend.weight for backend in pool.backends)
    for backend in pool.backends:
        yield f"  {_backend(backend, total)}"


def _backend(backend: Backend, total_weight: int) -> str:
    share = f"weight {backend.weight} ({backend.weight / total_weight:.0%})"
    agent = f"; {_agent(backend.agent)}" if backend.agent else ""
    return f"{backend.name}: {backend.address} on {backend.interface}, {share}; {_check(backend.check)}{agent}"


def _check(check: Check) -> str:
    if isinstance(check, DicomEchoCheck):
        what = f"dicom-echo port {check.port}, {check.calling_ae} to {check.called_ae}"
    else:
        what = f"tcp port {check.port}"
    timing = check.timing
    every = f"every {seconds_text(timing.interval_s)}, timeout {seconds_text(timing.timeout_s)}"
    return f"{what}, {every}, fall {timing.fall}, rise {timing.rise}"


def _agent(agent: Agent) -> str:
    return f"agent port {agent.port} every {seconds_text(agent.interval_s)}"
