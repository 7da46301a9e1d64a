"""A small disk of its own for the daemon's state, that can be filled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lbctl.errors import LabError

_SIZE = "2m"
_BALLAST = "ballast"


@dataclass(frozen=True, slots=True)
class Disk:
    """Mounted at ``path``."""

    path: Path

    def fill(self) -> None:
        """Leave not a byte."""
        with (self.path / _BALLAST).open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """Give it back."""
        (self.path / _BALLAST).unlink(missing_ok=True)


@contextmanager
def mounted(path: Path) -> Iterator[Disk]:
    """A disk in memory, gone at the end."""
    path.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=700", "lbctl-chaos", path],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"mount of a small disk on {path}: {done.stderr.strip()}", hint="the run needs root")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=False)
