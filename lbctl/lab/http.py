"""HTTP from inside a node: small requests for the lab's own use, and DICOMweb retrieval as a viewer does it."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from lbctl.errors import LabError
from lbctl.lab.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP response; ``body`` is whole."""

    status: int
    content_type: str
    body: bytes


def get(
    node: Node,
    address: IPv4Address,
    path: str,
    *,
    port: int = 8042,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> Reply:
    """GET over a connection of its own. `LabError` if no whole answer comes."""
    return _ask(node, address, "GET", path, port=port, headers=headers or {}, timeout_s=timeout_s)


def put(
    node: Node, address: IPv4Address, path: str, *, body: bytes, port: int = 8042, timeout_s: float = 30.0
) -> Reply:
    """PUT over a connection of its own. `LabError` if no whole answer comes."""
    return _ask(node, address, "PUT", path, port=port, headers={}, timeout_s=timeout_s, body=body)


def _ask(
    node: Node,
    address: IPv4Address,
    method: str,
    path: str,
    *,
    port: int,
    headers: Mapping[str, str],
    timeout_s: float,
    body: bytes | None = None,
) -> Reply:
    with node.enter(), closing(http.client.HTTPConnection(str(address), port, timeout=timeout_s)) as connection:
        try:
            connection.request(method, path, body=body, headers={"Connection": "close", **headers})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise LabError(f"{node.name}: {method} http://{address}:{port}{path}: {error!r}") from error
        return Reply(status=response.status, content_type=response.getheader("Content-Type", ""), body=answer)


def get_over_socket(path: Path, resource: str, *, timeout_s: float = 15.0) -> bytes:
    """GET over a Unix socket. `LabError` if nobody answers there, or not with 200."""
    with closing(_UnixConnection(path, timeout_s=timeout_s)) as connection:
        try:
            connection.request("GET", resource)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise LabError(f"GET {resource} over {path}: {error!r}") from error
    if response.status != 200:
        raise LabError(f"GET {resource} over {path}: {response.status}: {body[:500].decode(errors='replace')}")
    return body


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, *, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answers(node: Node, address: IPv4Address, path: str, *, port: int = 8042) -> bool:
    """Whether a GET gives 200."""
    try:
        return get(node, address, path, port=port, timeout_s=2.0).status == 200
    except LabError:
        return False


def retrieve_study(node: Node, address: IPv4Address, study_uid: str, *, port: int = 8042) -> tuple[bytes, ...]:
    """WADO-RS RetrieveStudy (PS3.18 section 10.4): the instances of a study, each as the bytes of a DICOM file."""
    wanted = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    reply = get(node, address, f"/dicom-web/studies/{study_uid}", port=port, headers={"Accept": wanted})
    if reply.status != 200:
        return ()
    return _parts(reply)


def _parts(reply: Reply) -> tuple[bytes, ...]:
    boundary = reply.content_type.partition("boundary=")[2].split(";")[0].strip().strip('"')
    pieces = reply.body.split(f"--{boundary}".encode())[1:-1]
    return tuple(piece.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for piece in pieces)
