"""An operator's word on backends."""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI, Request

from lbctl.daemon.api.names import Name
from lbctl.daemon.models import Done
from lbctl.daemon.requests import audited


class Commanding(Protocol):
    """What that does. Each method returns it in words; `UsageError` if it cannot be."""

    async def drain(self, label: str) -> str:
        """No new connections to a backend."""
        ...

    async def halt(self, label: str) -> str:
        """No new connections to a backend, and a reset for each that lives."""
        ...

    async def enable(self, label: str) -> str:
        """End a drain or a halt."""
        ...

    async def activate(self, label: str) -> str:
        """Make a backend the active one of its pool."""
        ...


def command_backends(app: FastAPI, controls: Commanding) -> None:
    """Each as a resource of its own below the backend."""

    @app.post("/v1/backends/{pool}/{name}/drain", summary="No new connections to a backend; live ones go on")
    async def drain(pool: Name, name: Name, request: Request) -> Done:
        label = f"{pool}/{name}"
        return await audited(request, "drain", label, controls.drain(label))

    @app.post("/v1/backends/{pool}/{name}/halt", summary="No new connections to a backend; live ones are reset at once")
    async def halt(pool: Name, name: Name, request: Request) -> Done:
        label = f"{pool}/{name}"
        return await audited(request, "halt", label, controls.halt(label))

    @app.post("/v1/backends/{pool}/{name}/enable", summary="End a drain or a halt")
    async def enable(pool: Name, name: Name, request: Request) -> Done:
        label = f"{pool}/{name}"
        return await audited(request, "enable", label, controls.enable(label))

    @app.post("/v1/backends/{pool}/{name}/activate", summary="Make a backend the active one of its pool with failover")
    async def activate(pool: Name, name: Name, request: Request) -> Done:
        label = f"{pool}/{name}"
        return await audited(request, "activate", label, controls.activate(label))
