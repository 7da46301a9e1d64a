"""The control API's resources for backends, pools and hosts: one command, three kinds of targets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lbctl.daemon.models import Done, TargetStatus
from tests.unit.cli.canned import Canned
from tests.unit.daemon.rig import HEALTHY, neighbour
from tests.unit.daemon.served import daemon_on_fakes, served
from tests.unit.daemon.test_api import ask, problem


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a daemon that no test changes."""
    directory = tmp_path_factory.mktemp("unchanged")
    with served(daemon_on_fakes(directory).operator, directory / "sock") as serving:
        yield serving


@pytest.fixture(scope="module")
def canned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a daemon that answers a command with what it was told."""
    with served(Canned(), tmp_path_factory.mktemp("canned") / "sock") as serving:
        yield serving


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("POST", "/v1/pools/p/drain"), "drain pool p"),
        (("POST", "/v1/hosts/192.0.2.11/drain?spare_last=true"), "drain host 192.0.2.11 unless it is the last"),
        (("POST", "/v1/hosts/2001:db8::c9/halt"), "halt host 2001:db8::c9"),
        (("POST", "/v1/pools/192.0.2.11/halt"), "halt pool 192.0.2.11"),
        (("POST", "/v1/backends/p/a/enable?slow_start_s=60"), "enable p/a in 60 s"),
        (("PUT", "/v1/backends/p/a/weight", '{"weight": 7}'), "weigh p/a 7"),
        (("PUT", "/v1/hosts/192.0.2.11/weight", '{"weight": null}'), "weigh host 192.0.2.11 None"),
    ],
)
def test_command_on_a_target_reaches_the_daemon_as_it_was_meant(
    canned: Path, asked: tuple[str, ...], told: str
) -> None:
    status, answer = ask(canned, *asked)
    assert (status, Done.model_validate_json(answer)) == (200, Done(message=told))


@pytest.mark.parametrize(
    ("resource", "unknown", "message"),
    [
        ("/v1/backends/p/a", "/v1/backends/p/aa", "there is no backend p/aa"),
        ("/v1/pools/p", "/v1/pools/zzz", "there is no pool zzz"),
        ("/v1/hosts/192.0.2.11", "/v1/hosts/192.0.2.99", "no backend has the address 192.0.2.99"),
    ],
)
def test_target_is_what_the_model_says(unchanged: Path, resource: str, unknown: str, message: str) -> None:
    status, body = ask(unchanged, "GET", resource)
    assert status == 200
    assert TargetStatus.model_validate_json(body).backends[0].name == "a"
    status, told = problem(unchanged, "GET", unknown)
    assert (status, told.message) == (404, message)


@pytest.mark.parametrize(
    ("method", "resource", "body"),
    [
        ("PUT", "/v1/backends/p/a/weight", '{"weight": 257}'),
        ("PUT", "/v1/backends/p/a/weight", '{"weight": -1}'),
        ("PUT", "/v1/backends/p/a/weight", '{"weight": "7"}'),
        ("PUT", "/v1/backends/p/a/weight", '{"weight": 7.5}'),
        ("PUT", "/v1/backends/p/a/weight", '{"weight": true}'),
        ("PUT", "/v1/backends/p/a/weight", "{}"),
        ("PUT", "/v1/pools/p/weight", '{"weight": 7, "more": 1}'),
        ("POST", "/v1/hosts/pacs1/drain", None),
        ("POST", "/v1/pools/p/enable?slow_start_s=nan", None),
        ("POST", "/v1/pools/p/enable?slow_start_s=0", None),
        ("POST", "/v1/pools/p/enable?slow_start_s=1e9", None),
        ("POST", "/v1/pools/p/drain?spare_last=perhaps", None),
        ("GET", f"/v1/pools/{'p' * 64}", None),
    ],
)
def test_request_on_a_target_that_is_not_as_described_is_refused(
    unchanged: Path, method: str, resource: str, body: str | None
) -> None:
    assert problem(unchanged, method, resource, body)[0] == 422


def test_conflict_is_a_problem_of_its_own(tmp_path: Path) -> None:
    daemon = daemon_on_fakes(tmp_path)
    for backend in daemon._reconciler.declaration.backends():
        daemon._reconciler.neighbour_seen(neighbour(backend.address))
        for _ in range(3):
            daemon._reconciler.observed.probed(backend.label, HEALTHY, now=1.0)
    with served(daemon.operator, tmp_path / "sock") as path:
        status, told = problem(path, "POST", "/v1/pools/p/drain?spare_last=true")
    assert status == 409
    assert told.message == "nobody else in pool p takes new connections, so pool p was not drained"


def test_flows_of_a_backend_that_never_was_are_refused_and_not_none(unchanged: Path) -> None:
    """None would say that its host may be switched off."""
    status, told = problem(unchanged, "GET", "/v1/flows?backend=p%2Faa")
    assert (status, told.message) == (404, "there is no backend p/aa")
