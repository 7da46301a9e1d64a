"""What is begun before the rest of the daemon is even imported: the file is read, and the compiler set to work for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lbctl.config.loader import load_regular
from lbctl.core.features import features_of
from lbctl.core.model import Declaration
from lbctl.dataplane.objectfile import Build, start_build


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What the file says, and the build of a program for it."""

    declaration: Declaration
    build: Build


@contextlib.contextmanager
def begun(config: Path) -> Iterator[Begun]:
    """Read the file and start the build, which ends with the context. Raises `LbctlError`."""
    declaration = load_regular(config)
    build = start_build(features=features_of(declaration))
    try:
        yield Begun(declaration=declaration, build=build)
    finally:
        build.cancel()
