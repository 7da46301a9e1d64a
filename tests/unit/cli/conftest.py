"""Commands that wait, asked of a fleet in which time passes only while they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lbctl.cli import maintenance, waiting
from tests.unit.cli.fleet import Clock, Fleet
from tests.unit.cli.running import Ended, run
from tests.unit.daemon.served import served


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """By which commands wait."""
    found = Clock()
    for module in (waiting, maintenance):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=found.monotonic, sleep=found.sleep))
    return found


@pytest.fixture
def ask(tmp_path: Path, clock: Clock) -> Callable[..., Ended]:
    """Run a command against a fleet."""

    def asked(fleet: Fleet, *arguments: str) -> Ended:
        with served(fleet, tmp_path / "sock") as path:
            return run(*arguments, "--socket", path)

    return asked
