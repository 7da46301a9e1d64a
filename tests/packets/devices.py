"""What a test-run needs around it: a bpffs, and a second NIC. Nothing is ever sent by it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.packets.world import FAR

_CLONE_NEWNET = 0x4000_0000
_OWN = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def mounted_bpffs(directory: Path) -> Iterator[Path]:
    """A bpffs of the caller's own."""
    subprocess.run(["mount", "-t", "bpf", "bpf", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


class Devices:
    """A network namespace without a name, that has the loopback (ifindex 1) and one more device, that of `FAR`. It is gone when
    its descriptor is closed, whatever becomes of the test."""

    def __init__(self, namespace: int) -> None:
        self._namespace = namespace

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let the current thread be there for a while: ifindexes mean its devices."""
        with _kept_namespace():
            _checked(_libc.setns(self._namespace, _CLONE_NEWNET))
            yield


@contextmanager
def devices() -> Iterator[Devices]:
    """Make them."""
    with _kept_namespace():
        _checked(_libc.unshare(_CLONE_NEWNET))
        pair = ["ip", "link", "add", "far", "index", str(FAR.ifindex), "type", "veth", "peer", "name", "away"]
        subprocess.run(pair, check=True)
        namespace = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Devices(namespace)
    finally:
        os.close(namespace)


@contextmanager
def _kept_namespace() -> Iterator[None]:
    """Come back to the thread's namespace."""
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        _checked(_libc.setns(home, _CLONE_NEWNET))
        os.close(home)


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
