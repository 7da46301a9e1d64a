"""Whose a lab is. The process that runs one holds a lock in its directory, and the kernel lets go of it with the process.

So a lab whose lock is free belongs to nobody: its owner was killed before it could clean up. A lab that was left standing
on purpose (``lbctl lab up``) says so in its directory.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lbctl.lab.namespaces import with_prefix

_LOCK = "owner"
_STANDING = "standing"
_NAME = re.compile(r"(lb-[0-9a-f]{4})-lab")


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """What a killed process left of a lab: enough to remove it."""

    prefix: str
    directory: Path


def directory_of(prefix: str) -> Path:
    """Where a lab of that prefix keeps its files."""
    return Path(tempfile.gettempdir()) / f"{prefix}-lab"


def claim(directory: Path) -> int:
    """Lock a lab's directory for this process; return the descriptor that holds the lock."""
    fresh = directory / f"{_LOCK}.new"
    lock = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write(lock, f"{os.getpid()}\n".encode())
    fresh.rename(directory / _LOCK)  # only now, with the lock held, can `abandoned` see it
    return lock


def leave_standing(directory: Path) -> None:
    """Note that this lab is to outlive its owner."""
    (directory / _STANDING).touch()


@contextmanager
def abandoned() -> Iterator[tuple[Abandoned, ...]]:
    """The labs on this machine that nobody owns. While inside, they are this process's: no other one sees them."""
    found, locks = [], []
    try:
        for owner in sorted(Path(tempfile.gettempdir()).glob(f"lb-*-lab/{_LOCK}")):
            lock = _lock_of_abandoned(owner)
            if lock is not None:
                locks.append(lock)
                found.append(Abandoned(prefix=_prefix_of(owner), directory=owner.parent))
        yield tuple(found)
    finally:
        for lock in locks:
            os.close(lock)


def _lock_of_abandoned(owner: Path) -> int | None:
    prefix = _prefix_of(owner)
    try:
        if not prefix or owner.parent.lstat().st_uid != os.geteuid():
            return None  # anybody may make directories in /tmp
        lock = os.open(owner, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None  # it is being removed right now
    if _is_free(lock) and not _stands(owner.parent, prefix):
        return lock
    os.close(lock)
    return None


def _prefix_of(owner: Path) -> str:
    match = _NAME.fullmatch(owner.parent.name)
    return match[1] if match else ""


def _is_free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stands(directory: Path, prefix: str) -> bool:
    """A standing lab has namespaces; a reboot takes them and leaves the directory."""
    return (directory / _STANDING).exists() and bool(with_prefix(prefix))
