"""Talks to the daemon: HTTP over its Unix socket."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from lbctl.core.model import Address
from lbctl.daemon.models import Problem
from lbctl.errors import DaemonUnreachableError, LbctlError, UsageError

TIMEOUT_S = 15.0
_Answer = TypeVar("_Answer", bound=BaseModel)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("lbctl", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))


def get(path: Path, resource: str, answer: type[_Answer]) -> _Answer:
    """Read a resource. `DaemonUnreachableError` if nobody answers, else the daemon's own error."""
    return _request(path, "GET", resource, answer)


def post(path: Path, resource: str, answer: type[_Answer]) -> _Answer:
    """Make the daemon do something."""
    return _request(path, "POST", resource, answer)


def put(path: Path, resource: str, content: BaseModel, answer: type[_Answer]) -> _Answer:
    """Make a resource hold this."""
    return _request(path, "PUT", resource, answer, content=content)


def delete(path: Path, resource: str, answer: type[_Answer]) -> _Answer:
    """Make a resource be no more."""
    return _request(path, "DELETE", resource, answer)


def stream(path: Path, resource: str, line: type[_Answer]) -> Iterator[_Answer]:
    """Read a resource that comes line by line, until the daemon ends it. Empty lines only tell that the
    daemon lives."""
    connection = _UnixConnection(path)
    try:
        connection.request("GET", resource)
        response = connection.getresponse()
        if response.status >= 400:
            raise _problem(response.status, response.read())
        while told := response.readline():
            if told.strip():
                yield line.model_validate_json(told)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(path, error) from error
    finally:
        connection.close()


def backend_resource(label: str, action: str) -> str:
    """The resource of an action on ``POOL/BACKEND``."""
    pool, separator, name = label.partition("/")
    if not (pool and separator and name) or "/" in name:
        raise UsageError(f"{label!r} does not name a backend", hint="write POOL/BACKEND; `lbctl status` lists them")
    return f"/v1/backends/{quote(pool, safe='')}/{quote(name, safe='')}/{action}"


def assignment_resource(pool: str, source: Address) -> str:
    """The resource of a source's assignment in a pool."""
    if not pool or "/" in pool:
        raise UsageError(f"{pool!r} does not name a pool", hint="`lbctl status` lists them")
    return f"/v1/pools/{quote(pool, safe='')}/assignments/{source}"


def _request(
    path: Path, method: str, resource: str, answer: type[_Answer], *, content: BaseModel | None = None
) -> _Answer:
    body = content.model_dump_json() if content else None
    headers = {"Content-Type": "application/json"} if content else {}
    connection = _UnixConnection(path)
    try:
        connection.request(method, resource, body=body, headers=headers)
        response = connection.getresponse()
        told = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(path, error) from error
    finally:
        connection.close()
    if response.status >= 400:
        raise _problem(response.status, told)
    return answer.model_validate_json(told)


def _unreachable(path: Path, error: Exception) -> DaemonUnreachableError:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return DaemonUnreachableError(
            f"no lbctl daemon answers on {path}",
            hint="start it: systemctl start lbctl; or name another socket with --socket. Forwarding does not depend on it.",
        )
    if isinstance(error, PermissionError):
        return DaemonUnreachableError(f"you may not use {path}", hint="become root, or a member of the group lbctl")
    return DaemonUnreachableError(
        f"the daemon on {path} does not answer: {error}", hint="see its log: journalctl -u lbctl"
    )


def _problem(status: int, body: bytes) -> LbctlError:
    try:
        problem = Problem.model_validate_json(body)
    except ValidationError:
        return LbctlError(f"the daemon answered {status}: {body[:200].decode(errors='replace')}")
    kind = UsageError if status < 500 else LbctlError
    return kind(problem.message, hint=problem.hint)
