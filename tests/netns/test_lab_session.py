"""Labs that outlive their process: on purpose, with `lbctl lab up`, or because it was killed."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from lbctl.errors import UsageError
from lbctl.lab import session
from lbctl.lab.namespaces import enter, path_of
from lbctl.lab.topology import plan_lab
from lbctl.lab.wiring import leftovers


def test_session_up_then_down_in_another_process_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "RECORD", tmp_path / "lab.json")
    plan = plan_lab(backends=2)
    session.up(plan)
    with pytest.raises(UsageError, match="up already"):
        session.up(plan_lab())
    assert session.current() == plan
    with enter(plan.switch):
        stray = subprocess.Popen(["sleep", "600"])
    reaper = threading.Thread(target=stray.wait)
    reaper.start()
    session.down()
    reaper.join(timeout=10)
    assert stray.returncode == -signal.SIGINT
    assert leftovers(plan.prefix, plan.directory) == ()
    assert not path_of(plan.switch).exists()
    with pytest.raises(UsageError, match="no lab is up"):
        session.down()


def test_session_node_that_does_not_exist_lists_those_that_do() -> None:
    with pytest.raises(UsageError, match="director, backend1, client1, switch"):
        session.find_node(plan_lab(), "pacs1")
