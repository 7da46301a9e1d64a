"""The control API: HTTP/JSON on the Unix socket. Its OpenAPI description is generated, at ``/openapi.json``."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import IPvAnyAddress

from lbctl import __version__
from lbctl.core.model import Address
from lbctl.daemon.models import MAX_NAME, Assignee, Assignments, Done, EventStatus, Flows, Problem, Status
from lbctl.daemon.requests import BoundedBodies, explain_errors, log_command

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "The object named does not exist, or is of another kind."},
    413: {"model": Problem, "description": "The request's body is too large, or does not tell its length."},
    422: {"model": Problem, "description": "A parameter is not as described."},
    500: {"model": Problem, "description": "The daemon could not do it."},
}
MAX_FLOWS = 10_000
"""More rows would keep the daemon from its probes while they are written."""
NDJSON = "application/x-ndjson"

_Name = Annotated[str, Path(max_length=MAX_NAME)]


class Controls(Protocol):
    """What the handlers may ask of the daemon."""

    def status(self) -> Status:
        """Everything, as of now."""
        ...

    def flows(self, limit: int, backend: str | None) -> Flows:
        """Live flows, of one backend (``pool/name``) or of all. Called in another thread."""
        ...

    def events(self, *, flows: bool, drops: bool) -> AsyncIterator[tuple[EventStatus, ...]]:
        """Batches of events from now on, the first one and others perhaps empty. Raises `KernelError` before the first."""
        ...

    async def drain(self, label: str) -> str:
        """No new connections to a backend. Like all that follow: what that did, in words; `UsageError` if it cannot be."""
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

    def assignments(self, pool: str | None) -> Assignments:
        """Of one pool with private storage, or of all. Called in another thread."""
        ...

    async def assign(self, pool: str, source: Address, backend: str) -> str:
        """Send a source's new connections to this backend of the pool."""
        ...

    async def unassign(self, pool: str, source: Address) -> str:
        """Forget a source's assignment: its next connection makes another."""
        ...


def make_api(controls: Controls) -> FastAPI:
    """The application with its routes."""
    app = FastAPI(title="lbctl", version=__version__, docs_url=None, redoc_url=None, responses=_PROBLEMS)
    explain_errors(app)
    app.add_middleware(BoundedBodies)
    _tell(app, controls)
    _stream_events(app, controls)
    _command_backends(app, controls)
    _edit_assignments(app, controls)
    return app


def _tell(app: FastAPI, controls: Controls) -> None:
    """What may be asked. That which may be long is made in a thread, one at a time."""
    one_at_a_time = threading.Lock()

    @app.get("/v1/status", summary="Everything that `lbctl status` shows")
    async def status() -> Status:
        return controls.status()

    @app.get("/v1/flows", summary="Live flows, in no order")
    def flows(
        limit: Annotated[int, Query(ge=1, le=MAX_FLOWS)] = 1000,
        backend: Annotated[str | None, Query(max_length=2 * MAX_NAME + 1)] = None,
    ) -> Flows:
        with one_at_a_time:
            return controls.flows(limit, backend)

    @app.get("/v1/assignments", summary="Which source has which backend, in pools with private storage")
    def assignments(pool: Annotated[str | None, Query(max_length=MAX_NAME)] = None) -> Assignments:
        with one_at_a_time:
            return controls.assignments(pool)


def _stream_events(app: FastAPI, controls: Controls) -> None:
    description = (
        f"{NDJSON}: an object a line, as `EventStatus`; an empty line every few seconds while nothing happens."
    )

    @app.get(
        "/v1/events",
        summary="New flows and drops as they happen, until the connection is closed",
        response_class=StreamingResponse,
        responses={200: {"model": EventStatus, "description": description}},
    )
    async def events(flows: bool = True, drops: bool = True) -> StreamingResponse:
        batches = controls.events(flows=flows, drops=drops)
        await anext(batches)  # what goes wrong is told by the status, while that is not sent yet
        return StreamingResponse(_lines(batches), media_type=NDJSON)


async def _lines(batches: AsyncIterator[tuple[EventStatus, ...]]) -> AsyncIterator[str]:
    yield "\n"  # who waits for the first event knows that it will be told
    async for batch in batches:
        yield "".join(f"{event.model_dump_json()}\n" for event in batch) or "\n"


def _command_backends(app: FastAPI, controls: Controls) -> None:
    @app.post("/v1/backends/{pool}/{name}/drain", summary="No new connections to a backend; live ones go on")
    async def drain(pool: _Name, name: _Name, request: Request) -> Done:
        return _done(request, await controls.drain(f"{pool}/{name}"))

    @app.post("/v1/backends/{pool}/{name}/halt", summary="No new connections to a backend; live ones are reset at once")
    async def halt(pool: _Name, name: _Name, request: Request) -> Done:
        return _done(request, await controls.halt(f"{pool}/{name}"))

    @app.post("/v1/backends/{pool}/{name}/enable", summary="End a drain or a halt")
    async def enable(pool: _Name, name: _Name, request: Request) -> Done:
        return _done(request, await controls.enable(f"{pool}/{name}"))

    @app.post("/v1/backends/{pool}/{name}/activate", summary="Make a backend the active one of its pool with failover")
    async def activate(pool: _Name, name: _Name, request: Request) -> Done:
        return _done(request, await controls.activate(f"{pool}/{name}"))


def _edit_assignments(app: FastAPI, controls: Controls) -> None:
    resource = "/v1/pools/{pool}/assignments/{source}"

    @app.put(resource, summary="Assign a source to a backend of a pool with private storage")
    async def assign(pool: _Name, source: IPvAnyAddress, assignee: Assignee, request: Request) -> Done:
        return _done(request, await controls.assign(pool, source, assignee.backend))

    @app.delete(resource, summary="Forget a source's assignment")
    async def unassign(pool: _Name, source: IPvAnyAddress, request: Request) -> Done:
        return _done(request, await controls.unassign(pool, source))


def _done(request: Request, message: str) -> Done:
    log_command(request, message)
    return Done(message=message)
