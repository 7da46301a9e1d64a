"""Network namespaces by name: make, delete, enter. The names are those of ``ip netns``, so people can look inside."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lbctl.errors import LabError, SystemRequirementError

NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


def path_of(namespace: str) -> Path:
    """The file that holds the namespace."""
    return NAMESPACES / namespace


def with_prefix(prefix: str) -> tuple[str, ...]:
    """The namespaces on this machine that belong to the lab of that prefix."""
    return tuple(sorted(path.name for path in NAMESPACES.glob(f"{prefix}-*")))


def run_ip(commands: Iterable[str], *, namespace: str | None = None) -> None:
    """Run a batch of ``ip`` commands, in a namespace if one is named; `LabError` with ip's own words."""
    where = ["-netns", namespace] if namespace else []
    finished = subprocess.run(
        ["ip", *where, "-batch", "-"], input="\n".join(commands), capture_output=True, text=True, check=False
    )
    if finished.returncode:
        raise LabError(f"ip, in {namespace or 'the root namespace'}: {finished.stderr.strip()}")


def run_ethtool(namespace: str, interface: str, *features: str) -> None:
    """Switch features of an interface, as in ``tx off``; `LabError` with ethtool's own words."""
    with enter(namespace):
        finished = subprocess.run(["ethtool", "-K", interface, *features], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise LabError(f"ethtool -K {interface} {' '.join(features)} in {namespace}: {finished.stderr.strip()}")


@contextmanager
def enter(namespace: str) -> Iterator[None]:
    """Put the *current thread* into a network namespace for a while. Mounts stay as they are (bpffs included)."""
    with _opened("/proc/thread-self/ns/net") as home, _opened(path_of(namespace)) as target:
        _set_namespace(target)
        try:
            yield
        finally:
            _set_namespace(home)


def write_sysctls(namespace: str, settings: Iterable[tuple[str, int]]) -> None:
    """Set ``net.…`` values, given as paths under /proc/sys/net, inside a namespace."""
    with enter(namespace):
        for name, value in settings:
            (Path("/proc/sys/net") / name).write_text(str(value))


def processes_in(namespace: str) -> frozenset[int]:
    """Process ids of everything that lives in a namespace."""
    finished = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    return frozenset(int(pid) for pid in finished.stdout.split())


def require_tools(*names: str, hint: str) -> None:
    """`SystemRequirementError` naming the programs that are not installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise SystemRequirementError(f"not installed: {', '.join(missing)}", hint=hint)


@contextmanager
def _opened(path: str | Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _set_namespace(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())}", hint="a lab needs root")
