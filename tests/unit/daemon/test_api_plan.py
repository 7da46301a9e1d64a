"""A proposed text over the control API: bounded, refused with its mistakes, and never a change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbctl.config.reading import MAX_BYTES
from lbctl.daemon.models import MAX_SOURCE, MAX_TEXT, PlanReport
from lbctl.daemon.requests import MAX_TEXT_BODY
from tests.unit.daemon.rig import file
from tests.unit.daemon.served import daemon_on_fakes, served
from tests.unit.daemon.test_api import ask, problem

TEXT = file("a", "b")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a daemon whose file is `TEXT`."""
    directory = tmp_path_factory.mktemp("planning")
    daemon = daemon_on_fakes(directory, text=TEXT)
    with served(daemon.operator, directory / "sock", planning=daemon.planner) as serving:
        yield serving


def body(text: object, source: object = "new.yaml") -> str:
    return json.dumps({"text": text, "source": source})


def test_plan_of_the_text_in_force_is_empty_without_its_being_read(path: Path) -> None:
    status, told = ask(path, "POST", "/v1/plan", body(TEXT))
    assert (status, PlanReport.model_validate_json(told).is_empty) == (200, True)


def test_plan_of_a_text_as_large_as_a_file_may_be_is_taken(path: Path) -> None:
    """Line ends and quotes take twice their room in JSON."""
    text = TEXT + "\n" * (MAX_BYTES - len(TEXT))
    assert len(body(text)) > 2 * MAX_BYTES - len(TEXT)
    status, told = ask(path, "POST", "/v1/plan", body(text))
    assert (status, PlanReport.model_validate_json(told).changes) == (200, ())


def test_plan_of_a_file_full_of_mistakes_tells_them_all_without_another_hint(path: Path) -> None:
    status, told = problem(path, "POST", "/v1/plan", body(TEXT.replace("pool: p", "pool: q").replace("kind", "kin")))
    assert (status, told.hint) == (422, "")
    assert told.message.startswith("new.yaml:")
    assert len(told.message.splitlines()) >= 4


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (body("x" * (MAX_TEXT + 1)), 422),
        (body(f"# {'é' * (MAX_TEXT // 2)}"), 422),
        (body("\n" * MAX_TEXT_BODY), 413),
        (body(TEXT, ""), 422),
        (body(TEXT, "x" * (MAX_SOURCE + 1)), 422),
        (body(7), 422),
        (body(None), 422),
        (json.dumps({"text": TEXT}), 422),
        (json.dumps({"text": TEXT, "source": "x", "more": 1}), 422),
        ('{"text": "\\ud800", "source": "x"}', 422),
        ('{"text": "a", "source": "\\udc00"}', 422),
        (body("\0"), 422),
        (body(""), 422),
        ("[" * 4000, 400),
        ("{", 422),
    ],
)
def test_plan_of_what_is_no_text_is_refused(path: Path, told: str, status: int) -> None:
    assert problem(path, "POST", "/v1/plan", told)[0] == status


def test_plan_leaves_the_generation_as_it_is(path: Path) -> None:
    before = json.loads(ask(path, "GET", "/v1/status")[1])["daemon"]["generation"]
    status, told = ask(path, "POST", "/v1/plan", body(file("a", "b", "c")))
    assert (status, len(PlanReport.model_validate_json(told).changes)) == (200, 1)
    assert json.loads(ask(path, "GET", "/v1/status")[1])["daemon"]["generation"] == before
