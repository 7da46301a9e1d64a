"""Who did what: a line of JSON each, and one of the journal."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pwd
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lbctl.core.targets import Target
from lbctl.daemon import audit
from lbctl.daemon.audit import ITSELF, Actor, AuditLog
from tests.unit.cli.canned import Canned
from tests.unit.daemon.served import daemon_on_fakes, served
from tests.unit.daemon.test_api import ask


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with served(daemon_on_fakes(tmp_path).operator, tmp_path / "sock") as serving:
        yield serving


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_audit_names_the_user_that_the_kernel_saw_and_what_was_refused(path: Path) -> None:
    ask(path, "POST", "/v1/backends/p/a/drain")
    ask(path, "POST", "/v1/backends/p/zzz/drain")
    found = lines(path.parent / "audit.jsonl")
    assert [(row["action"], row["target"], row["done"]) for row in found] == [
        ("drain", "p/a", True),
        ("drain", "p/zzz", False),
    ]
    assert found[1]["outcome"] == "there is no backend p/zzz"
    who = {"user": pwd.getpwuid(os.getuid()).pw_name, "uid": os.getuid(), "pid": os.getpid()}
    assert [{name: row[name] for name in who} for row in found] == [who, who]


class Broken(Canned):
    """Fails in a way that nobody foresaw; or is cut off by the daemon's end."""

    async def drain(self, target: Target, *, spare_last: bool = False) -> str:
        raise ZeroDivisionError("of course")

    async def halt(self, target: Target) -> str:
        raise asyncio.CancelledError


def test_audit_names_what_failed_in_a_way_that_nobody_foresaw(tmp_path: Path) -> None:
    """Some of it may have been done."""
    with served(Broken(), tmp_path / "sock") as serving:
        assert ask(serving, "POST", "/v1/backends/p/a/drain")[0] == 500
        ask(serving, "POST", "/v1/backends/p/a/halt")
    assert [(row["action"], row["done"], row["outcome"]) for row in lines(tmp_path / "audit.jsonl")] == [
        ("drain", False, "it failed: ZeroDivisionError('of course')"),
        ("halt", False, "the daemon ended meanwhile"),
    ]


def test_audit_that_grows_large_is_set_aside_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_BYTES", 200)
    log = AuditLog(tmp_path)
    for number in range(20):
        log.record(ITSELF, "weight", str(number), outcome="done")
    latest, former = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    assert lines(latest)[-1]["target"] == "19"
    assert lines(former)[-1]["target"] == str(19 - len(lines(latest)))
    assert latest.stat().st_mode & 0o777 == 0o600


def test_audit_that_cannot_be_written_hinders_nothing_and_is_in_the_journal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "audit.jsonl").mkdir()
    AuditLog(tmp_path).record(Actor(name="anna", uid=7, pid=8), "drain", "p/a", outcome="p/a drained")
    assert caplog.messages[0] == "p/a drained, by anna (pid 8)"
    assert "cannot be written" in caplog.messages[1]


FORGED = "x\nINFO entry 9 is in force: p/a removed, by root (pid 1)\x1b[2J"


@pytest.mark.parametrize("is_done", [True, False])
def test_audit_is_one_line_of_the_journal_whatever_a_file_is_called(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_done: bool
) -> None:
    caplog.set_level(logging.INFO)
    AuditLog(tmp_path).record(Actor(name="anna", uid=7, pid=8), "apply", FORGED, outcome=FORGED, is_done=is_done)
    assert [line.isprintable() for line in caplog.messages] == [True]
    assert lines(tmp_path / "audit.jsonl")[0]["target"] == FORGED


def test_daemon_goes_on_while_a_directory_is_asked_for_the_name_of_a_user(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_asked, may_answer, found = threading.Event(), threading.Event(), pwd.getpwuid(os.getuid())

    def far_away(_uid: int) -> pwd.struct_passwd:
        is_asked.set()
        may_answer.wait()
        return found

    monkeypatch.setattr(pwd, "getpwuid", far_away)
    with ThreadPoolExecutor(1) as somebody:
        drained = somebody.submit(ask, path, "POST", "/v1/backends/p/a/drain")
        is_asked.wait()
        try:
            assert ask(path, "GET", "/v1/status")[0] == 200
        finally:
            may_answer.set()
        assert drained.result()[0] == 200
    assert [row["user"] for row in lines(path.parent / "audit.jsonl")] == [found.pw_name]
