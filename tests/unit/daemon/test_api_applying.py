"""Applying by way of the API: what it answers, and who is noted to have done what."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lbctl.daemon.changes.history import digest
from lbctl.daemon.models import History
from lbctl.dataplane.fake import FakeDataplane
from tests.unit.daemon.rig import OTHER_VIP, VIP, file
from tests.unit.daemon.served import daemon_on_fakes, served
from tests.unit.daemon.test_api import ask, problem

FIRST, SECOND = file("a", "b"), file("a", "b", vips=(VIP, OTHER_VIP))
ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def dataplane() -> FakeDataplane:
    return FakeDataplane()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataplane: FakeDataplane) -> Iterator[Path]:
    monkeypatch.setattr("lbctl.daemon.daemon.FIRST_VERDICTS_S", 0.02)
    daemon = daemon_on_fakes(tmp_path, text=FIRST, dataplane=dataplane)
    with served(daemon.operator, tmp_path / "sock", applying=daemon.applier) as serving:
        yield serving


def application(**fields: Any) -> str:
    return json.dumps({"text": SECOND, "source": "/srv/b.yaml", "base": digest(FIRST), "confirm_s": None} | fields)


def history(path: Path) -> History:
    return History.model_validate_json(ask(path, "GET", "/v1/history")[1])


def audited(path: Path) -> list[tuple[str, str, str, bool]]:
    rows = map(json.loads, (path.parent / "audit.jsonl").read_text().splitlines())
    return [(row["user"], row["action"], row["target"], row["done"]) for row in rows]


def test_apply_answers_in_words_and_notes_who_it_was(path: Path) -> None:
    status, body = ask(path, "POST", "/v1/apply", application())
    assert (status, json.loads(body)["message"].partition(":")[0]) == (200, "entry 2 is in force")
    entry = history(path).entries[-1]
    assert (entry.user, entry.uid, entry.how, entry.outcome) == (ME, os.getuid(), "apply", "in force")
    assert json.loads(ask(path, "GET", "/v1/history/2")[1]) == {"number": 2, "text": SECOND}
    assert audited(path) == [(ME, "apply", "/srv/b.yaml", True)]


def test_apply_that_is_rolled_back_is_a_failure_in_the_audit_and_in_the_history(
    path: Path, dataplane: FakeDataplane
) -> None:
    dataplane.fail_after = 3
    status, told = problem(path, "POST", "/v1/apply", application())
    assert (status, told.message.partition(":")[0]) == (500, "rolled back")
    assert history(path).entries[-1].outcome == "failed"
    assert audited(path) == [(ME, "apply", "/srv/b.yaml", False)]


def test_apply_on_another_base_is_a_conflict(path: Path) -> None:
    status, told = problem(path, "POST", "/v1/apply", application(base=digest(SECOND)))
    assert (status, told.hint) == (409, "plan again: lbctl plan")


def test_apply_of_a_bad_file_says_where_the_mistakes_are(path: Path) -> None:
    status, told = problem(path, "POST", "/v1/apply", application(text=SECOND.replace("pool: p", "pol: p")))
    assert (status, told.message.startswith("/srv/b.yaml:")) == (422, True)


@pytest.mark.parametrize(
    "fields",
    [
        {"base": "x"},
        {"confirm_s": 0},
        {"confirm_s": 1e9},
        {"source": ""},
        {"source": "/" * 5000},
        {"text": "x" * ((1 << 20) + 1)},
        {"more": 1},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_application_that_is_not_as_described_is_refused(path: Path, fields: dict[str, Any]) -> None:
    status, _ = problem(path, "POST", "/v1/apply", application(**fields))
    assert status == 422
    assert history(path).entries == ()


def test_body_of_an_apply_is_bounded_too(path: Path) -> None:
    status, told = problem(path, "POST", "/v1/apply", application(text="x" * (4 << 20)))
    assert status == 413
    assert str(4 << 20) in told.message


def test_source_that_can_be_no_path_is_no_trouble(path: Path) -> None:
    status, _ = ask(path, "POST", "/v1/apply", application(source="\0"))
    assert status == 200


def test_confirmation_and_rollback_by_way_of_the_api(path: Path) -> None:
    assert problem(path, "POST", "/v1/confirm")[0] == 404
    ask(path, "POST", "/v1/apply", application(confirm_s=600))
    assert history(path).entries[-1].outcome == "unconfirmed"
    assert problem(path, "POST", "/v1/apply", application(base=digest(SECOND)))[0] == 409
    assert ask(path, "POST", "/v1/confirm")[0] == 200
    assert history(path).before == 1
    status, body = ask(path, "POST", "/v1/rollback", json.dumps({"number": 1, "base": digest(SECOND)}))
    assert (status, json.loads(body)["message"].partition(":")[0]) == (200, "entry 3 is in force")
    assert audited(path)[-1] == (ME, "rollback", "entry 1", True)


def test_entry_that_there_is_not_is_not_found(path: Path) -> None:
    assert problem(path, "GET", "/v1/history/7")[0] == 404
    assert problem(path, "GET", "/v1/history/0")[0] == 422
    assert problem(path, "POST", "/v1/rollback", json.dumps({"number": 7, "base": digest(FIRST)}))[0] == 404
