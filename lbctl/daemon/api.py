"""The control API: HTTP/JSON on the Unix socket. Its OpenAPI description is generated, at ``/openapi.json``."""

from __future__ import annotations

import logging
import threading
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lbctl import __version__
from lbctl.daemon.models import Done, Flows, Problem, Status
from lbctl.daemon.sockets import Peer
from lbctl.errors import LbctlError, UsageError

_log = logging.getLogger(__name__)
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "The object named does not exist."},
    422: {"model": Problem, "description": "A parameter is not as described."},
    500: {"model": Problem, "description": "The daemon could not do it."},
}
MAX_FLOWS = 10_000
"""More rows would keep the daemon from its probes while they are written."""

_SEE_LOG = "see the daemon's log: journalctl -u lbctl"
_SEE_API = "the API is described at /openapi.json"


class Controls(Protocol):
    """What the handlers may ask of the daemon."""

    def status(self) -> Status:
        """Everything, as of now."""
        ...

    def flows(self, limit: int) -> Flows:
        """Live flows. Called in another thread."""
        ...

    async def set_drained(self, label: str, *, drained: bool) -> str:
        """Drain or enable a backend; what that did, in words. `UsageError` if there is no such backend."""
        ...


def make_api(controls: Controls) -> FastAPI:
    """The application with its routes."""
    app = FastAPI(title="lbctl", version=__version__, docs_url=None, redoc_url=None, responses=_PROBLEMS)

    one_at_a_time = threading.Lock()
    _explain_errors(app)

    @app.get("/v1/status", summary="Everything that `lbctl status` shows")
    async def status() -> Status:
        return controls.status()

    @app.get("/v1/flows", summary="Live flows, in no order")
    def flows(limit: Annotated[int, Query(ge=1, le=MAX_FLOWS)] = 1000) -> Flows:  # in a thread: it may take a while
        with one_at_a_time:
            return controls.flows(limit)

    @app.post("/v1/backends/{pool}/{name}/drain", summary="No new connections to a backend; live ones go on")
    async def drain(pool: str, name: str, request: Request) -> Done:
        return _done(request, await controls.set_drained(f"{pool}/{name}", drained=True))

    @app.post("/v1/backends/{pool}/{name}/enable", summary="End a drain")
    async def enable(pool: str, name: str, request: Request) -> Done:
        return _done(request, await controls.set_drained(f"{pool}/{name}", drained=False))

    return app


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
