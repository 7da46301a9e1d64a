"""The control API over its real socket: what it answers, how it refuses, and how it describes itself."""

from __future__ import annotations

import http.client
import json
import logging
import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi.openapi.models import OpenAPI

from lbctl.daemon.api import make_api
from lbctl.daemon.daemon import Daemon
from lbctl.daemon.models import Assignments, Done, Flows, Problem, Status
from lbctl.daemon.requests import MAX_BODY
from lbctl.errors import KernelError
from tests.unit.cli import samples
from tests.unit.cli.canned import Canned
from tests.unit.daemon.served import daemon_on_fakes, served


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return daemon_on_fakes(tmp_path)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a daemon that no test changes."""
    directory = tmp_path_factory.mktemp("unchanged")
    with served(daemon_on_fakes(directory).operator, directory / "sock") as serving:
        yield serving


@pytest.fixture
def path(daemon: Daemon, tmp_path: Path) -> Iterator[Path]:
    with served(daemon.operator, tmp_path / "sock") as serving:
        yield serving


@pytest.fixture(scope="module")
def canned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a daemon that answers a command with what it was told."""
    with served(Canned(), tmp_path_factory.mktemp("canned") / "sock") as serving:
        yield serving


def ask(path: Path, method: str, resource: str, body: str | Iterator[bytes] | None = None) -> tuple[int, str]:
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection("lbctl")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(10)
    connection.sock.connect(str(path))
    try:
        connection.request(method, resource, body=body, headers={"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def problem(path: Path, method: str, resource: str, body: str | Iterator[bytes] | None = None) -> tuple[int, Problem]:
    """What must be a `Problem`, in nothing but its fields."""
    status, told = ask(path, method, resource, body)
    assert json.loads(told).keys() == {"message", "hint"}
    return status, Problem.model_validate_json(told)


def test_status_is_what_the_model_says(unchanged: Path) -> None:
    status, body = ask(unchanged, "GET", "/v1/status")
    assert status == 200
    found = Status.model_validate_json(body)
    assert [backend.name for backend in found.pools[0].backends] == ["a", "b"]
    assert found.daemon.pid == os.getpid()
    assert found.interfaces[0].mode == "detached"


def test_flows_of_one_backend_are_asked_for_by_its_name(unchanged: Path) -> None:
    status, body = ask(unchanged, "GET", "/v1/flows?limit=1&backend=p%2Fa")
    assert (status, Flows.model_validate_json(body)) == (200, Flows(flows=(), truncated=False))
    assert ask(unchanged, "GET", f"/v1/flows?backend={'p' * 200}")[0] == 422


def test_flows_are_what_the_model_says(unchanged: Path) -> None:
    status, body = ask(unchanged, "GET", "/v1/flows?limit=5")
    assert (status, Flows.model_validate_json(body)) == (200, Flows(flows=(), truncated=False))


def test_drain_takes_effect_is_stored_and_logged_with_its_author(
    path: Path, daemon: Daemon, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert ask(path, "POST", "/v1/backends/p/a/drain")[0] == 200
    assert json.loads((tmp_path / "state" / "overrides.json").read_text()) == {"drained": ["p/a"], "halted": []}
    assert [row.state for row in daemon.operator.reporter.status().pools[0].backends] == ["draining", "unresolved"]
    author = f"by {pwd.getpwuid(os.getuid()).pw_name} (pid {os.getpid()})"
    assert (
        f"p/a drained: no new connections, live ones go on; warning: nobody in its pool takes new connections now, {author}"
        in caplog.text
    )
    again = Done.model_validate_json(ask(path, "POST", "/v1/backends/p/a/drain")[1])
    assert again.message == "p/a was drained already"
    assert ask(path, "POST", "/v1/backends/p/a/enable")[0] == 200
    assert json.loads((tmp_path / "state" / "overrides.json").read_text()) == {"drained": [], "halted": []}


@pytest.mark.parametrize(
    ("label", "hint"),
    [("p/aa", "did you mean p/a?"), ("zzz/yyy", "the backends are: p/a, p/b"), ("p/b%20", "did you mean p/b?")],
)
def test_drain_of_an_unknown_backend_suggests_the_nearest(unchanged: Path, label: str, hint: str) -> None:
    status, told = problem(unchanged, "POST", f"/v1/backends/{label}/drain")
    assert status == 404
    assert told.message.startswith("there is no backend ")
    assert told.hint == hint


def test_drain_that_cannot_be_stored_changes_nothing(path: Path, daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    status, told = problem(path, "POST", "/v1/backends/p/a/drain")
    assert status == 500
    assert "overrides.json cannot be written" in told.message
    assert "nothing was changed" in told.hint
    assert daemon.operator.reporter.status().pools[0].backends[0].state != "draining"


# Commands -------------------------------------------------------------------------------------------------------------

ASSIGNMENT = "/v1/pools/p/assignments/192.0.2.201"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("POST", "/v1/backends/p/a/drain"), "drain p/a"),
        (("POST", "/v1/backends/p/a/halt"), "halt p/a"),
        (("POST", "/v1/backends/p/a/enable"), "enable p/a"),
        (("POST", "/v1/backends/p/a/activate"), "activate p/a"),
        (("PUT", ASSIGNMENT, '{"backend": "a"}'), "assign p 192.0.2.201 a"),
        (("DELETE", ASSIGNMENT), "unassign p 192.0.2.201"),
        (("DELETE", "/v1/pools/p/assignments/2001:db8::c9"), "unassign p 2001:db8::c9"),
    ],
)
def test_command_reaches_the_daemon_as_it_was_meant_and_is_logged(
    canned: Path, caplog: pytest.LogCaptureFixture, asked: tuple[str, ...], told: str
) -> None:
    caplog.set_level(logging.INFO)
    status, answer = ask(canned, *asked)
    assert (status, Done.model_validate_json(answer)) == (200, Done(message=told))
    assert f"{told}, by {pwd.getpwuid(os.getuid()).pw_name} (pid {os.getpid()})" in caplog.messages


@pytest.mark.parametrize(("query", "pool"), [("", None), ("?pool=images", "images"), ("?pool=empty", "empty")])
def test_assignments_are_what_the_model_says(canned: Path, query: str, pool: str | None) -> None:
    status, body = ask(canned, "GET", f"/v1/assignments{query}")
    assert (status, Assignments.model_validate_json(body)) == (200, samples.assignments(pool))


def test_assignments_of_an_unknown_pool_are_a_problem(canned: Path) -> None:
    status, told = problem(canned, "GET", "/v1/assignments?pool=zzz")
    assert (status, told.message) == (404, "there is no pool zzz")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (None, "body: Field required"),
        ("{", "JSON decode error"),
        ("[]", "body: Input should be"),
        ("{}", "backend: Field required"),
        ('{"backend": ""}', "backend: String should have at least 1 character"),
        ('{"backend": 7}', "backend: Input should be a valid string"),
        (json.dumps({"backend": "a" * 64}), "backend: String should have at most 63 characters"),
        ('{"backend": "a", "weight": 1}', "weight: Extra inputs are not permitted"),
    ],
)
def test_assignment_to_what_is_no_backend_is_a_problem_that_says_why(
    canned: Path, body: str | None, fault: str
) -> None:
    status, told = problem(canned, "PUT", ASSIGNMENT, body)
    assert status == 422
    assert fault in told.message


@pytest.mark.parametrize("body", [" " * (MAX_BODY + 1), iter([b'{"backend": ', b'"a"}'])], ids=["large", "chunked"])
def test_body_that_is_large_or_does_not_tell_its_length_is_refused(canned: Path, body: str | Iterator[bytes]) -> None:
    status, told = problem(canned, "PUT", ASSIGNMENT, body)
    assert (status, told.message) == (413, f"PUT {ASSIGNMENT}: a body may have 4096 bytes, told in advance")


@pytest.mark.parametrize(
    ("method", "resource", "status"),
    [
        ("POST", "/v1/backends/p/a/frobnicate", 404),
        ("POST", f"/v1/backends/p/{'a' * 64}/halt", 422),
        ("GET", f"/v1/assignments?pool={'a' * 64}", 422),
        ("POST", "/v1/backends/p/a%1b[2J/halt", 422),
        ("DELETE", "/v1/pools/p%00/assignments/192.0.2.201", 422),
        ("GET", "/v1/assignments?pool=p%0a", 422),
        ("DELETE", "/v1/pools/p/assignments/192.0.2.0/24", 404),
        ("DELETE", "/v1/pools/p/assignments/modality7", 422),
        ("DELETE", "/v1/pools/p/assignments/2001:db8::/64", 404),
        ("GET", "/v1/events?flows=perhaps", 422),
        ("POST", ASSIGNMENT, 405),
        ("GET", "/v1/flows?limit=0", 422),
        ("GET", "/v1/flows?limit=many", 422),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/status", 405),
        ("GET", "/v1/backends/p/a/drain", 405),
    ],
)
def test_request_that_is_not_as_described_is_a_problem_with_a_hint(
    unchanged: Path, method: str, resource: str, status: int
) -> None:
    found, told = problem(unchanged, method, resource)
    assert found == status
    assert unquote(resource.partition("?")[0]) in told.message
    assert told.hint == "the API is described at /openapi.json"


class Failing(Canned):
    """Cannot tell its status."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def status(self) -> Status:
        raise self._error


@pytest.mark.parametrize("error", [KernelError("writing a map entry: no memory"), ZeroDivisionError("ours")])
def test_failure_of_the_daemon_is_a_problem_with_a_hint(tmp_path: Path, error: Exception) -> None:
    with served(Failing(error), tmp_path / "sock") as failing:
        status, told = problem(failing, "GET", "/v1/status")
    assert status == 500
    assert str(error) in told.message
    assert "log" in told.hint


# The description ------------------------------------------------------------------------------------------------------


@pytest.fixture
def description(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = make_api(daemon.operator, daemon.audit).openapi()
    return found


def test_description_is_served_and_is_openapi_3(path: Path, description: dict[str, Any]) -> None:
    status, body = ask(path, "GET", "/openapi.json")
    assert (status, json.loads(body)) == (200, description)
    assert OpenAPI.model_validate(description).openapi.startswith("3.")


def test_description_refers_only_to_what_it_holds(description: dict[str, Any]) -> None:
    names = {f"#/components/schemas/{name}" for name in description["components"]["schemas"]}
    references = set(references_in(description))
    assert references
    assert references <= names


def references_in(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references_in(value)
    elif isinstance(part, list):
        for value in part:
            yield from references_in(value)


def test_description_of_every_operation_has_words_and_names_problem_as_its_only_error(
    description: dict[str, Any],
) -> None:
    operations = [operation for entry in description["paths"].values() for operation in entry.values()]
    assert len(operations) == 22
    for operation in operations:
        assert len(operation["summary"].split()) > 2
        for code, response in operation["responses"].items():
            (content,) = response["content"].values()
            assert (code == "200") != (content["schema"] == {"$ref": "#/components/schemas/Problem"})
    assert "HTTPValidationError" not in description["components"]["schemas"]


def test_description_of_the_status_explains_its_fields(description: dict[str, Any]) -> None:
    fields = description["components"]["schemas"]["BackendStatus"]["properties"]
    assert fields["share"]["description"] == "Its part of the pool's new connections, 0 to 1."
    assert len([field for field in fields.values() if "description" in field]) > 10
