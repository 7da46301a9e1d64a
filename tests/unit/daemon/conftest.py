"""What several modules with a whole daemon share."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbctl.daemon.changes import applying
from tests.unit.daemon.office import FIRST, Office


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No probe succeeds here."""
    monkeypatch.setattr("lbctl.daemon.daemon.FIRST_VERDICTS_S", 0.02)
    monkeypatch.setattr(applying, "LOOK_S", 0.02)


@pytest.fixture
def office(tmp_path: Path, short_waits: None) -> Office:
    """A daemon with the first file."""
    return Office(tmp_path, text=FIRST)
