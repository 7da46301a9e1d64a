"""Files that are replaced as a whole: whoever reads one finds the old content or the new, also after the power failed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def replace_durably(path: Path, content: str, *, like: os.stat_result | None = None) -> None:
    """Write through to the disk before it replaces the old file, and the replacement, too. For root only, unless it is to have
    the owner and the mode of another. Raises `OSError`; then the old file is as it was."""
    fresh = path.with_suffix(".next")
    try:
        fresh.unlink(missing_ok=True)  # left by a write that was cut off; or a link that somebody else put there
        with open(fresh, "w", encoding="utf-8", newline="", opener=_for_root_only) as file:
            if like is not None:
                _resemble(file.fileno(), like)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        _forget(fresh)
        raise
    sync_directory(path.parent)


def _resemble(descriptor: int, like: os.stat_result) -> None:
    if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, like.st_mode & 0o7777)


def _forget(fresh: Path) -> None:
    """What is half written takes room that is scarce."""
    with suppress(OSError):  # such as a directory in its place: it is in the way, but it is not ours
        fresh.unlink(missing_ok=True)


def _for_root_only(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def sync_directory(directory: Path) -> None:
    """A rename is on the disk once its directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
