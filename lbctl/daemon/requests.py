"""What holds for every request of the control API: bounded bodies, errors that say what to do, and who asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from lbctl.daemon.audit import Actor, AuditLog, outcome_of
from lbctl.daemon.models import Done, Problem
from lbctl.daemon.sockets import Peer
from lbctl.errors import ConfigError, ConflictError, LbctlError, UsageError

MAX_BODY = 4096
"""Bytes of a request's body; the largest one names a backend ..."""
MAX_TEXT_BODY = 4 << 20
"""... but for those that carry a configuration, whose line ends and quotes are escaped."""
_WITH_TEXT = frozenset(("/v1/plan", "/v1/apply"))
_SEE_LOG = "see the daemon's log: journalctl -u lbctl"
_SEE_API = "the API is described at /openapi.json"


class BoundedBodies:
    """A body is read into memory before it is understood, so its length must be told, and small."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is bounded, and refuse the rest."""
        if scope["type"] != "http" or _is_bounded(Request(scope)):
            await self._app(scope, receive, send)
            return
        refusal = _problem(
            413,
            f"{scope['method']} {scope['path']}: a body may have {_limit(scope['path'])} bytes, told in advance",
            _SEE_API,
        )
        await refusal(scope, receive, send)


def _is_bounded(request: Request) -> bool:
    told = int(request.headers.get("content-length", "0"))  # a number: uvicorn's parser saw to that
    return told <= _limit(request.url.path) and "transfer-encoding" not in request.headers


def _limit(path: str) -> int:
    return MAX_TEXT_BODY if path in _WITH_TEXT else MAX_BODY


def explain_errors(app: FastAPI) -> None:
    """Whatever goes wrong, the answer is a `Problem`."""

    @app.exception_handler(LbctlError)
    async def refused(request: Request, error: LbctlError) -> JSONResponse:
        has_hints = isinstance(error, ConfigError)  # one with each mistake
        return _problem(_status_of(error), error.message, error.hint or ("" if has_hints else _SEE_LOG))

    @app.exception_handler(RequestValidationError)
    async def not_as_described(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
        return _problem(422, f"{request.method} {request.url.path}: {faults}", _SEE_API)

    @app.exception_handler(HTTPException)
    async def no_such_resource(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}"
        return _problem(error.status_code, message, _SEE_API, headers=error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return _problem(500, f"the daemon failed at {request.method} {request.url.path}: {error!r}", _SEE_LOG)


def _status_of(error: LbctlError) -> int:
    if isinstance(error, ConflictError):
        return 409
    if isinstance(error, ConfigError):
        return 422
    return 404 if isinstance(error, UsageError) else 500


def _problem(status: int, message: str, hint: str, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(Problem(message=message, hint=hint).model_dump(), status_code=status, headers=headers)


async def actor_of(request: Request) -> Actor:
    """Who asks, as the kernel told of the socket's other end. The name may be in a directory far away, and probes do not wait
    for its answer."""
    peer: Peer = request.scope["extensions"]["lbctl.peer"]
    return Actor(name=await asyncio.to_thread(lambda: peer.name), uid=peer.uid, pid=peer.pid)


async def audited(request: Request, action: str, target: str, act: Awaitable[str]) -> Done:
    """Await a change, and note who made it, or tried to."""
    audit: AuditLog = request.app.state.audit
    actor = await actor_of(request)
    try:
        message = await act
    except BaseException as error:  # unforeseen ones, too, and the daemon's end: some of it may have been done
        audit.record(actor, action, target, outcome=outcome_of(error), is_done=False)
        raise
    audit.record(actor, action, target, outcome=message)
    return Done(message=message)
