"""Talks to the daemon: HTTP over its Unix socket."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from lbctl.core.model import Address
from lbctl.core.targets import Host, OneBackend, Target, WholePool
from lbctl.daemon.models import Problem
from lbctl.errors import ConfigError, ConflictError, DaemonUnreachableError, LbctlError, UnansweredError, UsageError

TIMEOUT_S = 15.0
"""For a whole answer, and for each line of a stream."""
APPLY_TIMEOUT_S = 120.0
"""A change waits for the one before it, for the compiler, and for other owners of its VIPs."""
PLAN_TIMEOUT_S = 60.0
"""A large file takes a while to read."""
PLAN = "/v1/plan"
"""A question, too large for a GET."""
CONFLICT, UNPROCESSABLE = 409, 422
MAX_ANSWER = 256 << 20
MAX_LINE = 1 << 20
"""Bytes; whatever answers there is not believed to need more."""
_CHUNK = 1 << 16
# `http.client` lets the last two escape for lengths and chunks whose sizes are no sizes.
_NOT_HTTP = (OSError, http.client.HTTPException, ValueError, OverflowError)
_Answer = TypeVar("_Answer", bound=BaseModel)


class _Socket(socket.socket):
    """All waiting until `allow` is called again takes its time-out together, however little comes at a time."""

    def allow(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self.settimeout(seconds)

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        self.settimeout(max(0.001, self._until - time.monotonic()))
        return super().recv_into(*arguments, **named)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__("lbctl", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = self._waiting = _Socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._waiting.allow(self._timeout_s)
        self.sock.connect(str(self._path))

    def wait_on(self) -> None:
        """The daemon has said something; what it says next may take its time again."""
        self._waiting.allow(self._timeout_s)  # ``sock`` is gone once the answer has no length


def get(path: Path, resource: str, answer: type[_Answer]) -> _Answer:
    """Read a resource. `DaemonUnreachableError` if nobody answers, else the daemon's own error."""
    return _request(path, "GET", resource, answer)


def post(
    path: Path,
    resource: str,
    answer: type[_Answer],
    *,
    content: BaseModel | None = None,
    timeout_s: float = TIMEOUT_S,
) -> _Answer:
    """Make the daemon do something. `UnansweredError`, on Ctrl-C, too: it may be done all the same."""
    return _request(path, "POST", resource, answer, content=content, timeout_s=timeout_s)


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
            raise _problem(response.status, _content(response))
        while told := _line(connection, response):
            if told.strip():
                yield _understood(told, line)
    except _NOT_HTTP as error:
        raise _unreachable(path, error) from error
    finally:
        connection.close()


def backend_resource(label: str, action: str) -> str:
    """The resource of an action on ``POOL/BACKEND``."""
    pool, separator, name = label.partition("/")
    if not (pool and separator and name) or "/" in name:
        raise UsageError(f"{label!r} does not name a backend", hint="write POOL/BACKEND; `lbctl status` lists them")
    return f"/v1/backends/{quote(pool, safe='')}/{quote(name, safe='')}/{action}"


def target_resource(target: Target) -> str:
    """The resource of a backend, a pool or a host."""
    match target:
        case OneBackend():
            return f"/v1/backends/{quote(target.pool, safe='')}/{quote(target.name, safe='')}"
        case WholePool():
            return f"/v1/pools/{quote(target.pool, safe='')}"
        case Host():
            return f"/v1/hosts/{target.address}"


def assignment_resource(pool: str, source: Address) -> str:
    """The resource of a source's assignment in a pool."""
    if not pool or "/" in pool:
        raise UsageError(f"{pool!r} does not name a pool", hint="`lbctl status` lists them")
    return f"/v1/pools/{quote(pool, safe='')}/assignments/{source}"


def _request(
    path: Path,
    method: str,
    resource: str,
    answer: type[_Answer],
    *,
    content: BaseModel | None = None,
    timeout_s: float = TIMEOUT_S,
) -> _Answer:
    changes = method != "GET" and resource != PLAN
    body = content.model_dump_json() if content else None
    headers = {"Content-Type": "application/json"} if content else {}
    connection = _UnixConnection(path, timeout_s=timeout_s)
    try:
        connection.request(method, resource, body=body, headers=headers)
        response = connection.getresponse()
        told = _content(response)
    except _NOT_HTTP as error:
        raise _unreachable(path, error, changes=changes) from error
    except KeyboardInterrupt:
        if not changes:
            raise
        raise UnansweredError(f"interrupted before the daemon answered; {_MAY_BE_DONE}", hint=_LOOK) from None
    finally:
        connection.close()
    if response.status >= 400:
        raise _problem(response.status, told, changes=changes)
    return _understood(told, answer)


def _content(response: http.client.HTTPResponse) -> bytes:
    """The whole body. `http.client.HTTPException` if there is no end of it."""
    told = bytearray()
    while chunk := response.read1(_CHUNK):
        told += chunk
        if len(told) > MAX_ANSWER:
            raise http.client.HTTPException(f"its answer has more than {MAX_ANSWER >> 20} MiB")
    if response.length:
        raise http.client.IncompleteRead(bytes(told), response.length)
    return bytes(told)


def _line(connection: _UnixConnection, response: http.client.HTTPResponse) -> bytes:
    connection.wait_on()
    told = response.readline(MAX_LINE + 1)
    if len(told) > MAX_LINE:
        raise http.client.HTTPException(f"a line of its answer has more than {MAX_LINE >> 20} MiB")
    return told


def _understood(told: bytes, answer: type[_Answer]) -> _Answer:
    try:
        return answer.model_validate_json(told)
    except ValidationError as error:
        raise LbctlError(
            f"the daemon's answer is not understood: {error.error_count()} faults, the first is {_fault(error)}",
            hint="is the daemon of another version? see: lbctl --version, and systemctl restart lbctl",
        ) from error


def _fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return ascii(": ".join([*map(str, fault["loc"]), fault["msg"]])[:200])


_MAY_BE_DONE = "what it was asked for may be done all the same"
_LOOK = "see what became of it: lbctl status"


def _unreachable(path: Path, error: Exception, *, changes: bool = False) -> DaemonUnreachableError:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return DaemonUnreachableError(
            f"no lbctl daemon answers on {path}",
            hint="start it: systemctl start lbctl; or name another socket with --socket. Forwarding does not depend on it.",
        )
    if isinstance(error, PermissionError):
        return DaemonUnreachableError(f"you may not use {path}", hint="become root, or a member of the group lbctl")
    told, hint = f"the daemon on {path} does not answer: {error}", "see its log: journalctl -u lbctl"
    if changes:
        return UnansweredError(f"{told}; {_MAY_BE_DONE}", hint=f"{_LOOK}; and {hint}")
    return DaemonUnreachableError(told, hint=hint)


def _problem(status: int, body: bytes, *, changes: bool = False) -> LbctlError:
    """What the daemon says is wrong. Where it is its server that speaks, it is ending, or has too many requests at once."""
    try:
        problem = Problem.model_validate_json(body)
    except ValidationError:
        told = f"the daemon answered {status}: {body[:200].decode(errors='replace')!a}"
        if changes and status >= 500:
            return UnansweredError(f"{told}; {_MAY_BE_DONE}", hint=_LOOK)
        return DaemonUnreachableError(told, hint="try again") if status >= 500 else LbctlError(told)
    return _kind(status, problem)(problem.message, hint=problem.hint)


def _kind(status: int, problem: Problem) -> type[LbctlError]:
    """Whoever wrote a configuration is told what to do with each of its mistakes; there is no hint for all of them."""
    if status == UNPROCESSABLE and not problem.hint:
        return ConfigError
    return ConflictError if status == CONFLICT else UsageError if status < 500 else LbctlError
