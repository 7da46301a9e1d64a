"""What several modules with a director share; a module that needs another lab makes its own under the same name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import Lab, plan_lab
from tests.netns.director_rig import configuration, directing, serving


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
