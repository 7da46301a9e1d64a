"""One writer: a lock on the pin directory, held while the daemon lives."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lbctl.errors import SystemRequirementError


@contextmanager
def only_instance(pins: Path) -> Iterator[None]:
    """Hold the pin directory. `SystemRequirementError` naming the process that holds it already."""
    descriptor = os.open(pins, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            locks = Path("/proc/locks").read_text(errors="replace")
            holder = holder_of(os.fstat(descriptor).st_ino, locks)
            raise SystemRequirementError(
                f"another lbctl daemon{holder} writes to the pins in {pins}",
                hint="stop it first: systemctl stop lbctl; a network namespace has room for one",
            ) from None
        yield
    finally:
        os.close(descriptor)


def holder_of(inode: int, locks: str) -> str:
    """`` (process N)`` from ``/proc/locks``, whose lines read ``1: FLOCK ADVISORY WRITE pid major:minor:inode 0 EOF``; "" if it
    does not say."""
    for line in locks.splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return f" (process {fields[4]})"
    return ""
