"""The control API: HTTP/JSON on the Unix socket. Its OpenAPI description is generated, at ``/openapi.json``."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import FastAPI

from lbctl import __version__
from lbctl.daemon.api.applying import Applying, apply_texts
from lbctl.daemon.api.assignments import Assigning, edit_assignments
from lbctl.daemon.api.backends import Commanding, command_backends
from lbctl.daemon.api.changes import Planning, plan_texts
from lbctl.daemon.api.telling import MAX_FLOWS, Telling, stream_events, tell
from lbctl.daemon.audit import AuditLog
from lbctl.daemon.models import Problem
from lbctl.daemon.requests import BoundedBodies, explain_errors

__all__ = ["MAX_FLOWS", "Controls", "make_api"]

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The request's body is not text."},
    404: {"model": Problem, "description": "The object named does not exist, or is of another kind."},
    409: {"model": Problem, "description": "The situation is another one by now: look again."},
    413: {"model": Problem, "description": "The request's body is too large, or does not tell its length."},
    422: {"model": Problem, "description": "A parameter is not as described."},
    500: {"model": Problem, "description": "The daemon could not do it."},
}


class Controls(Telling, Commanding, Assigning, Protocol):
    """What the handlers may ask of the daemon."""


def make_api(
    controls: Controls, audit: AuditLog, applying: Applying | None = None, planning: Planning | None = None
) -> FastAPI:
    """The application with its routes; those about the configuration if there is somebody to do it. Who changes something is
    noted in ``audit``."""
    app = FastAPI(title="lbctl", version=__version__, docs_url=None, redoc_url=None, responses=_PROBLEMS)
    app.state.audit = audit
    explain_errors(app)
    app.add_middleware(BoundedBodies)
    tell(app, controls)
    stream_events(app, controls)
    command_backends(app, controls)
    edit_assignments(app, controls)
    if applying is not None:
        apply_texts(app, applying)
    if planning is not None:
        plan_texts(app, planning)
    return app
