"""The control API: HTTP/JSON on the Unix socket. Its OpenAPI description is generated, at ``/openapi.json``."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse

from lbctl import __version__
from lbctl.daemon.models import Done, Flows, Problem, Status
from lbctl.daemon.sockets import Peer
from lbctl.errors import LbctlError, UsageError

_log = logging.getLogger(__name__)
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "The object named does not exist."},
    500: {"model": Problem, "description": "The daemon could not do it."},
}


class Controls(Protocol):
    """What the handlers may ask of the daemon."""

    def status(self) -> Status:
        """Everything, as of now."""
        ...

    def flows(self, limit: int) -> Flows:
        """Live flows."""
        ...

    def set_drained(self, label: str, *, drained: bool) -> str:
        """Drain or enable a backend; what that did, in words. `UsageError` if there is no such backend."""
        ...


def make_api(controls: Controls) -> FastAPI:
    """The application with its routes."""
    app = FastAPI(title="lbctl", version=__version__, docs_url=None, redoc_url=None, responses=_PROBLEMS)

    @app.exception_handler(LbctlError)
    async def explain(request: Request, error: LbctlError) -> JSONResponse:
        status = 404 if isinstance(error, UsageError) else 500
        return JSONResponse(Problem(message=error.message, hint=error.hint).model_dump(), status_code=status)

    @app.get("/v1/status", summary="Everything that `lbctl status` shows")
    async def status() -> Status:
        return controls.status()

    @app.get("/v1/flows", summary="Live flows, in no order")
    async def flows(limit: Annotated[int, Query(ge=1, le=100_000)] = 1000) -> Flows:
        return controls.flows(limit)

    @app.post("/v1/backends/{pool}/{name}/drain", summary="No new connections to a backend; live ones go on")
    async def drain(pool: str, name: str, request: Request) -> Done:
        return _done(request, controls.set_drained(f"{pool}/{name}", drained=True))

    @app.post("/v1/backends/{pool}/{name}/enable", summary="End a drain")
    async def enable(pool: str, name: str, request: Request) -> Done:
        return _done(request, controls.set_drained(f"{pool}/{name}", drained=False))

    return app


def _done(request: Request, message: str) -> Done:
    peer: Peer = request.scope["extensions"]["lbctl.peer"]
    _log.info("%s, by %s (pid %d)", message, peer.name, peer.pid)
    return Done(message=message)
