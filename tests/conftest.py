"""Rules for the whole suite."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from lbctl.lab.daemon import Daemon

settings.register_profile("lbctl", deadline=None)
"""A timing is a figure, not a test: a machine may be busy."""
settings.load_profile("lbctl")

_, _MOST = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST, _MOST))
"""A login shell's limit of 1,024 is not made for thousands of connections, nor for hundreds of data planes."""

_LOG = 8_000
"""Characters: the last events of a daemon's log, where a test with it failed."""

for _size in ("COLUMNS", "LINES"):
    os.environ.pop(_size, None)
"""There is no terminal that wide. pytest loads GNU readline, which tells processes that share the tests of one."""


def pytest_collection_finish() -> None:
    """Thousands of tests are there for good. The garbage collector need not look through them again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In continuous integration a skip is a failure: there, nobody reads that something was left out."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped in continuous integration: {report.longrepr}"
    if report.failed and call.excinfo is not None:
        report.sections += [(f"end of {log}", log.read_text(errors="replace")[-_LOG:]) for log in _logs(call.excinfo)]
    return report


def _logs(error: pytest.ExceptionInfo[BaseException]) -> Iterator[Path]:
    """Those of the directors' daemons that a failed test had to do with, while there are any: what failed may be theirs."""
    found = {}
    for entry in error.traceback:
        for value in entry.frame.f_locals.values():
            daemon = value if isinstance(value, Daemon) else getattr(value, "daemon", None)
            if isinstance(daemon, Daemon) and daemon.log.exists():
                found[daemon.log] = daemon
    yield from found
