"""Which source has which backend, where storage is private: edited."""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI, Request

from lbctl.core.model import Address
from lbctl.daemon.api.names import Name, Station
from lbctl.daemon.models import Assignee, Done
from lbctl.daemon.requests import audited


class Assigning(Protocol):
    """What that does. Each method returns it in words; `UsageError` if it cannot be."""

    async def assign(self, pool: str, source: Address, backend: str) -> str:
        """Send a source's new connections to this backend of the pool."""
        ...

    async def unassign(self, pool: str, source: Address) -> str:
        """Forget a source's assignment: its next connection makes another."""
        ...


def edit_assignments(app: FastAPI, controls: Assigning) -> None:
    """Each is a resource below its pool."""
    resource = "/v1/pools/{pool}/assignments/{source}"

    @app.put(resource, summary="Assign a source to a backend of a pool with private storage")
    async def assign(pool: Name, source: Station, assignee: Assignee, request: Request) -> Done:
        what = f"{source} to {pool}/{assignee.backend}"
        return await audited(request, "assign", what, controls.assign(pool, source, assignee.backend))

    @app.delete(resource, summary="Forget a source's assignment")
    async def unassign(pool: Name, source: Station, request: Request) -> Done:
        return await audited(request, "unassign", f"{source} of {pool}", controls.unassign(pool, source))
