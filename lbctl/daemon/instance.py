"""One writer: of the pins, by a lock on their directory; and of the network namespace, by a name in it. Both are held while the
daemon lives."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lbctl.errors import SystemRequirementError

_NAME = "\0lbctl"
"""In the abstract namespace of sockets, which each network namespace has of its own, and which ends with its holder."""
_UCRED = struct.Struct("3i")


@contextmanager
def alone_in_network() -> Iterator[None]:
    """Hold the network namespace. lbctl's rules, routes and neighbours are known by their protocol only: two daemons would take
    each other's away, however different their interfaces and pins. `SystemRequirementError` naming the process that holds it
    already, if that is root's; anybody else's is no daemon, and keeps none from starting."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as held:
        try:
            held.bind(_NAME)
            held.listen()
        except OSError as error:
            pid = _daemon_there() if error.errno == errno.EADDRINUSE else None
            if pid is not None:
                raise SystemRequirementError(
                    f"another lbctl daemon (process {pid}) is at work in this network namespace",
                    hint="stop it first: systemctl stop lbctl; or run this one in a network namespace of its own",
                ) from None
        yield


def _daemon_there() -> int | None:
    """The process of root's that has the name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(_NAME)
        except OSError:
            return None
        pid, uid, _ = _UCRED.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid if uid == 0 else None


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
