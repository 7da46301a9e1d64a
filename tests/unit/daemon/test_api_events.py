"""The control API's stream of events, over its real socket."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from pathlib import Path

from lbctl.daemon.models import EventStatus
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.port import Event
from lbctl.errors import KernelError
from tests.unit.daemon.served import daemon_on_fakes, served
from tests.unit.daemon.test_api import problem


def stream(path: Path, resource: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """A connection on which a resource comes line by line."""
    connection = http.client.HTTPConnection("lbctl")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(10)
    connection.sock.connect(str(path))
    connection.request("GET", resource)
    return connection, connection.getresponse()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)  # the pause between two looks


def test_events_are_objects_line_by_line_and_end_with_the_connection(tmp_path: Path) -> None:
    dataplane = FakeDataplane()
    with served(daemon_on_fakes(tmp_path, dataplane=dataplane).operator, tmp_path / "sock") as path:
        connection, response = stream(path, "/v1/events?flows=true&drops=false")
        assert (response.status, response.getheader("content-type")) == (200, "application/x-ndjson")
        assert response.readline() == b"\n"
        assert dataplane.watched == {"flows"}
        told = Event(
            time_ns=0, ifindex=2, vlan=0, reason="syn", service=0, backend=0, frame_bytes=60, headers=bytes(14)
        )
        dataplane.told.append(told)
        line = response.readline()
        while not line.strip():
            line = response.readline()
        assert EventStatus.model_validate_json(line).reason == "syn"
        response.close()
        connection.close()
        eventually(lambda: not dataplane.watched)


def test_events_of_many_watchers_end_when_the_last_one_goes(tmp_path: Path) -> None:
    dataplane = FakeDataplane()
    with served(daemon_on_fakes(tmp_path, dataplane=dataplane).operator, tmp_path / "sock") as path:
        streams = [stream(path, f"/v1/events?flows={flows}") for flows in ("true", "false")]
        eventually(lambda: dataplane.watched == {"flows", "drops"})
        for connection, response in streams:
            assert dataplane.watched
            response.close()
            connection.close()
        eventually(lambda: not dataplane.watched)


def test_events_that_the_kernel_refuses_are_a_problem(tmp_path: Path) -> None:
    class Refusing(FakeDataplane):
        def watch(self, *, flows: bool, drops: bool) -> None:
            raise KernelError("writing a map entry: no memory")

    with served(daemon_on_fakes(tmp_path, dataplane=Refusing()).operator, tmp_path / "sock") as path:
        status, told = problem(path, "GET", "/v1/events")
    assert (status, told.message) == (500, "writing a map entry: no memory")
