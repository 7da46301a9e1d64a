"""What is begun before the rest of the daemon is even imported: the file is read, and the compiler set to work for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lbctl.core.features import features_of
from lbctl.daemon.changes.starting import Start, choose_start, other_start
from lbctl.dataplane.objectfile import Build, start_build

__all__ = ["Begun", "begun", "begun_with", "other_start"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What to start from, and the build of a program for it."""

    start: Start
    build: Build


@contextlib.contextmanager
def begun(config: Path, state: Path) -> Iterator[Begun]:
    """Read the file and start the build, which ends with the context. Raises `LbctlError`."""
    with begun_with(choose_start(config, state)) as early:
        yield early


@contextlib.contextmanager
def begun_with(start: Start) -> Iterator[Begun]:
    """The same with what is to be started from."""
    build = start_build(features=features_of(start.declaration))
    try:
        yield Begun(start=start, build=build)
    finally:
        build.cancel()
