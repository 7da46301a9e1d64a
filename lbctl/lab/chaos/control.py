"""The daemon's control API, as far as the run asks it."""

from __future__ import annotations

import http.client
import json
import os
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from lbctl.errors import LabError

ANSWERED_WITHIN_S = 60.0
OK = 200


def ask(path: Path, resource: str, content: object = None, *, method: str = "POST") -> tuple[int, dict[str, Any]]:
    """The status and what was answered. `LabError` if nobody answers."""
    with closing(_Connection(path)) as connection:
        try:
            body = json.dumps(content) if content is not None else None
            connection.request(method, resource, body=body, headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            said: dict[str, Any] = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise LabError(f"{method} {resource} over {path}: {error!r}") from error
    return answer.status, said


def require(path: Path, resource: str, content: object = None) -> dict[str, Any]:
    """POST what must succeed; `LabError` otherwise."""
    return _require("POST", path, resource, content)


def tell(path: Path, resource: str) -> dict[str, Any]:
    """GET; `LabError` if nobody answers, or there is no such thing."""
    return _require("GET", path, resource)


def put(path: Path, resource: str, content: object) -> dict[str, Any]:
    """PUT what must succeed; `LabError` otherwise."""
    return _require("PUT", path, resource, content)


def delete(path: Path, resource: str) -> dict[str, Any]:
    """DELETE what must succeed; `LabError` otherwise."""
    return _require("DELETE", path, resource)


def _require(method: str, path: Path, resource: str, content: object = None) -> dict[str, Any]:
    status, said = ask(path, resource, content, method=method)
    if status != OK:
        raise LabError(f"{method} {resource}: {status} {said}")
    return said


def plan(path: Path, text: str) -> dict[str, Any]:
    """What a text would change, as ``lbctl plan --json`` tells."""
    return require(path, "/v1/plan", {"text": text, "source": "chaos"})


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("lbctl", timeout=ANSWERED_WITHIN_S)
        self._path = os.fspath(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
