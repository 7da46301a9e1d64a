"""An operator's word on backends: on one, on all of a pool, or on all that a host is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Protocol

from fastapi import Depends, FastAPI, Query, Request

from lbctl.core.targets import Host, OneBackend, Target, WholePool
from lbctl.daemon.api.names import Name, Station
from lbctl.daemon.models import MAX_SLOW_START_S, MIN_SLOW_START_S, Done, TargetStatus, Weighting
from lbctl.daemon.requests import audited

SlowStart = Annotated[float, Query(ge=MIN_SLOW_START_S, le=MAX_SLOW_START_S, allow_inf_nan=False)]
"""Seconds."""


class Commanding(Protocol):
    """What that does. Each changing method returns it in words; `UsageError` if it cannot be."""

    async def target(self, target: Target) -> TargetStatus:
        """The backends that are meant, and what one may wait for."""
        ...

    async def drain(self, target: Target, *, spare_last: bool = False) -> str:
        """No new connections. With ``spare_last``, `ConflictError` if nobody of a pool would take any more."""
        ...

    async def halt(self, target: Target) -> str:
        """No new connections, and a reset for each that lives."""
        ...

    async def enable(self, target: Target, *, slow_start_s: float | None = None) -> str:
        """End a drain or a halt; the share grows for so long."""
        ...

    async def weigh(self, target: Target, weight: int | None) -> str:
        """Another weight than the declared one, or (``None``) that one again."""
        ...

    async def activate(self, label: str) -> str:
        """Make a backend the active one of its pool."""
        ...


def command_backends(app: FastAPI, controls: Commanding) -> None:
    """Each command as a resource of its own below what it is about."""
    for resource, whose, target_of in _TARGETS:
        _tell(app, controls, resource, whose, target_of)
        _stop(app, controls, resource, whose, target_of)
        _start(app, controls, resource, whose, target_of)

    @app.post("/v1/backends/{pool}/{name}/activate", summary="Make a backend the active one of its pool with failover")
    async def activate(pool: Name, name: Name, request: Request) -> Done:
        label = f"{pool}/{name}"
        return await audited(request, "activate", label, controls.activate(label))


def _backend(pool: Name, name: Name) -> Target:
    return OneBackend(pool, name)


def _pool(pool: Name) -> Target:
    return WholePool(pool)


def _host(address: Station) -> Target:
    return Host(address)


_TargetOf = Callable[..., Target]
_TARGETS: tuple[tuple[str, str, _TargetOf], ...] = (
    ("/v1/backends/{pool}/{name}", "a backend", _backend),
    ("/v1/pools/{pool}", "all backends of a pool", _pool),
    ("/v1/hosts/{address}", "a host, in all its pools", _host),
)


def _tell(app: FastAPI, controls: Commanding, resource: str, whose: str, target_of: _TargetOf) -> None:
    meant: Any = Depends(target_of)

    @app.get(resource, summary=f"States and open connections of {whose}")
    async def tell(target: Target = meant) -> TargetStatus:
        return await controls.target(target)


def _stop(app: FastAPI, controls: Commanding, resource: str, whose: str, target_of: _TargetOf) -> None:
    meant: Any = Depends(target_of)

    @app.post(f"{resource}/drain", summary=f"No new connections to {whose}; live ones go on")
    async def drain(request: Request, target: Target = meant, spare_last: bool = False) -> Done:
        return await audited(request, "drain", str(target), controls.drain(target, spare_last=spare_last))

    @app.post(f"{resource}/halt", summary=f"No new connections to {whose}; live ones are reset at once")
    async def halt(request: Request, target: Target = meant) -> Done:
        return await audited(request, "halt", str(target), controls.halt(target))


def _start(app: FastAPI, controls: Commanding, resource: str, whose: str, target_of: _TargetOf) -> None:
    meant: Any = Depends(target_of)

    @app.post(f"{resource}/enable", summary=f"End a drain or a halt of {whose}")
    async def enable(request: Request, target: Target = meant, slow_start_s: SlowStart | None = None) -> Done:
        return await audited(request, "enable", str(target), controls.enable(target, slow_start_s=slow_start_s))

    @app.put(f"{resource}/weight", summary=f"Another weight for {whose}, or the declared one again")
    async def weigh(request: Request, weighting: Weighting, target: Target = meant) -> Done:
        return await audited(request, "weight", str(target), controls.weigh(target, weighting.weight))
