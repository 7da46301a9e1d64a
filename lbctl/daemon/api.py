"""The control API: HTTP/JSON on the Unix socket. Its OpenAPI description is generated, at ``/openapi.json``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lbctl import __version__
from lbctl.daemon.models import MAX_NAME, Assignee, Assignments, Done, Flows, Problem, Status
from lbctl.daemon.sockets import Peer
from lbctl.errors import LbctlError, UsageError

_log = logging.getLogger(__name__)
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "The object named does not exist, or is of another kind."},
    413: {"model": Problem, "description": "The request's body is too large, or does not tell its length."},
    422: {"model": Problem, "description": "A parameter is not as described."},
    500: {"model": Problem, "description": "The daemon could not do it."},
}
MAX_FLOWS = 10_000
"""More rows would keep the daemon from its probes while they are written."""
MAX_BODY = 4096
"""Bytes of a request's body; the largest one names a backend."""

_Name = Annotated[str, Path(max_length=MAX_NAME)]
_SEE_LOG = "see the daemon's log: journalctl -u lbctl"
_SEE_API = "the API is described at /openapi.json"


class Controls(Protocol):
    """What the handlers may ask of the daemon."""

    def status(self) -> Status:
        """Everything, as of now."""
        ...

    def flows(self, limit: int, backend: str | None) -> Flows:
        """Live flows, of one backend (``pool/name``) or of all. Called in another thread."""
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

    async def assign(self, pool: str, source: IPv4Address, backend: str) -> str:
        """Send a source's new connections to this backend of the pool."""
        ...

    async def unassign(self, pool: str, source: IPv4Address) -> str:
        """Forget a source's assignment: its next connection makes another."""
        ...


def make_api(controls: Controls) -> FastAPI:
    """The application with its routes."""
    app = FastAPI(title="lbctl", version=__version__, docs_url=None, redoc_url=None, responses=_PROBLEMS)
    _explain_errors(app)
    _bound_bodies(app)
    _tell(app, controls)
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
    async def assign(pool: _Name, source: IPv4Address, assignee: Assignee, request: Request) -> Done:
        return _done(request, await controls.assign(pool, source, assignee.backend))

    @app.delete(resource, summary="Forget a source's assignment")
    async def unassign(pool: _Name, source: IPv4Address, request: Request) -> Done:
        return _done(request, await controls.unassign(pool, source))


def _bound_bodies(app: FastAPI) -> None:
    """A body is read into memory before it is understood, so its length must be told, and small."""

    @app.middleware("http")
    async def bounded(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        told = int(request.headers.get("content-length", "0"))  # a number: uvicorn's parser saw to that
        if told <= MAX_BODY and "transfer-encoding" not in request.headers:
            return await answer(request)
        return _problem(
            413, f"{request.method} {request.url.path}: a body may have {MAX_BODY} bytes, told in advance", _SEE_API
        )


def _explain_errors(app: FastAPI) -> None:
    """Whatever goes wrong, the answer is a `Problem`."""

    @app.exception_handler(LbctlError)
    async def refused(request: Request, error: LbctlError) -> JSONResponse:
        return _problem(404 if isinstance(error, UsageError) else 500, error.message, error.hint or _SEE_LOG)

    @app.exception_handler(RequestValidationError)
    async def not_as_described(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
        return _problem(422, f"{request.method} {request.url.path}: {faults}", _SEE_API)

    @app.exception_handler(HTTPException)
    async def no_such_resource(request: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, f"{request.method} {request.url.path}: {error.detail}", _SEE_API)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return _problem(500, f"the daemon failed at {request.method} {request.url.path}: {error!r}", _SEE_LOG)


def _problem(status: int, message: str, hint: str) -> JSONResponse:
    return JSONResponse(Problem(message=message, hint=hint).model_dump(), status_code=status)


def _done(request: Request, message: str) -> Done:
    peer: Peer = request.scope["extensions"]["lbctl.peer"]
    _log.info("%s, by %s (pid %d)", message, peer.name, peer.pid)
    return Done(message=message)
