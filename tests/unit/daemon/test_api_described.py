"""The control API is what its own description says: every operation of it, with whatever the description allows and forbids,
over the real socket to a daemon on fakes. What is asked and what must come of it is made from the description alone, so that an
operation that is new needs no line here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from requests.adapters import BaseAdapter
from schemathesis import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import response_schema_conformance
from urllib3 import HTTPResponse

from lbctl.cli.client import _UnixConnection
from lbctl.daemon.api import make_api
from lbctl.daemon.api.telling import NDJSON
from lbctl.daemon.audit import AuditLog
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.port import Event
from tests.unit.cli.canned import Canned
from tests.unit.daemon.served import daemon_on_fakes, served

Operation = APIOperation[Any, Any, Any, Any]
FILE = """\
interfaces: {eth0: {address: 192.0.2.10/24}}
services:
  pacs: {vip: 192.0.2.100, preset: dicom, pool: images}
  feed: {vip: 192.0.2.101, preset: hl7, pool: engine}
pools:
  images: {kind: archive, storage: private, backends: {a: {address: 192.0.2.11}, b: {address: 192.0.2.12}}}
  engine: {kind: hl7, policy: failover, backends: {a: {address: 192.0.2.21}, b: {address: 192.0.2.22}}}
"""
THOROUGH = settings(
    max_examples=20, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
STREAM_S = 0.3
"""For the first line of a stream that holds something: one that was asked for nothing never says anything."""


NOBODY_S = AuditLog(Path("/nonexistent"))


class Busy(FakeDataplane):
    """There is always something to tell of."""

    def events(self) -> Sequence[Event]:
        flow = Event(time_ns=1, ifindex=2, vlan=0, reason="syn", service=0, backend=0, frame_bytes=60, headers=b"")
        return flow, replace(flow, reason="denied")


class OverSocket(BaseAdapter):
    """Carries requests to a Unix socket. Of a stream, the first line that holds something."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        connection = _UnixConnection(self._path)
        body: Any = request.body.encode() if isinstance(request.body, str) else request.body
        connection.request(request.method or "", request.path_url, body=body, headers=dict(request.headers))
        told = connection.getresponse()
        is_stream = told.headers.get_content_type() == NDJSON
        content = _first_line(connection, told) if is_stream else told.read()
        connection.close()
        found = requests.Response()
        found.status_code, found.reason, found.request, found.url = told.status, told.reason, request, request.url or ""
        found.headers.update(told.headers.items())
        found.raw = HTTPResponse(body=content, status=told.status, headers=dict(told.headers.items()))
        found._content = content
        return found

    def close(self) -> None:
        """Each request has its own connection."""


def _first_line(connection: Any, told: Any) -> bytes:
    connection.sock.allow(STREAM_S)
    try:
        return next((line for line in iter(told.readline, b"") if line.strip()), b"")
    except TimeoutError:
        return b""


@schemathesis.deserializer(NDJSON)
def _line(_context: Any, response: Any) -> Any:
    return json.loads(response.content)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[requests.Session]:
    """To a daemon whose pools are of each kind that has operations of its own."""
    directory = tmp_path_factory.mktemp("described")
    daemon = daemon_on_fakes(directory, text=FILE, dataplane=Busy())
    with served(daemon.operator, directory / "sock") as path, requests.Session() as session:
        session.mount("http://", OverSocket(path))
        yield session


def operations() -> list[Operation]:
    """All that the description has."""
    description = make_api(Canned(), NOBODY_S).openapi()
    found: Iterator[Any] = schemathesis.openapi.from_dict(description).get_all_operations()
    return [result.ok() for result in found]


def asked() -> Iterator[Any]:
    """Each operation with what is allowed, and with what is not if it takes anything."""
    for operation in operations():
        takes = operation.definition.raw.keys() & {"parameters", "requestBody"}
        for mode in GenerationMode if takes else (GenerationMode.POSITIVE,):
            yield pytest.param(operation, mode, id=f"{operation.label}, {mode.value}")


@pytest.mark.parametrize(("operation", "mode"), list(asked()))
def test_operation_is_as_described(session: requests.Session, operation: Operation, mode: GenerationMode) -> None:
    """No failure of the server, and no status, kind of content or content that the description has not."""

    @THOROUGH
    @given(case=operation.as_strategy(mode))
    def holds(case: Any) -> None:
        response = case.call(base_url="http://lbctl", session=session)
        empty = [] if response.content.strip() else [response_schema_conformance]
        case.validate_response(response, excluded_checks=empty)

    holds()


def test_description_has_every_operation_that_there_is() -> None:
    found = [route for route in make_api(Canned(), NOBODY_S).routes if isinstance(route, APIRoute)]
    routes = {(method, route.path) for route in found for method in route.methods or ()}
    assert {(operation.method.upper(), operation.path) for operation in operations()} == routes
