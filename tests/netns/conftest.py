"""What several modules with a director share; a module that needs another lab makes its own under the same name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import Lab, plan_lab
from tests.netns.director_rig import configuration, directing, serving

WORKER = "PYTEST_XDIST_WORKER"
COMPILER = "LBCTL_PYTHON"
"""The environment's, which daemons inherit."""


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what was compiled is kept, for all processes that share the tests."""
    base = tmp_path_factory.getbasetemp()
    found = (base.parent if WORKER in os.environ else base) / "builds"
    found.mkdir(exist_ok=True)
    return found


@pytest.fixture(scope="module", autouse=True)
def _compiled_once(builds: Path) -> Iterator[None]:
    """Daemons are started some hundred times, and compile the same few programs, which is most of the work of a start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(COMPILER, str(Path(__file__).with_name("compiled-once")))
        patch.setenv("BUILDS", str(builds))
        yield


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons that a test starts compile, as they do elsewhere: the time that it takes matters."""
    monkeypatch.delenv(COMPILER)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A director, a client, and two backends that answer."""
    with Lab(plan_lab(backends=2)) as built, serving(built.backends):
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    """A daemon that directs to both."""
    with directing(lab, configuration(*lab.backends)) as running:
        yield running
