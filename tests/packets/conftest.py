"""The program is compiled once a session; most tests share one loaded instance of it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lbctl.dataplane.objectfile import ObjectFile, compile_source
from tests.packets.cases import USUAL
from tests.packets.rig import Rig, rig_of
from tests.packets.versions import put_to_work


@pytest.fixture(scope="session")
def object_file() -> ObjectFile:
    """What the build child made of ebpf/lb.c."""
    return compile_source()


@pytest.fixture(scope="session")
def shared_rig(object_file: ObjectFile) -> Iterator[Rig]:
    """A loaded program in whatever state the last test left it."""
    with rig_of(object_file) as rig:
        yield rig


@pytest.fixture
def rig(shared_rig: Rig) -> Rig:
    """A loaded program that remembers nothing. Its tables are for the test to set."""
    shared_rig.forget()
    return shared_rig


@pytest.fixture
def fresh_rig(object_file: ObjectFile) -> Iterator[Rig]:
    """A data plane that nobody wrote to."""
    with rig_of(object_file) as rig:
        yield rig


@pytest.fixture
def running(fresh_rig: Rig) -> Rig:
    """The version before, at work."""
    fresh_rig.hold(USUAL.tables)
    put_to_work(fresh_rig.loaded, fresh_rig)
    return fresh_rig


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Every test-run on the same CPU: budgets are kept for each of them."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usual)})
    yield
    os.sched_setaffinity(0, usual)
