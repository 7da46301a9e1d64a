"""The guest's first root file system: a cpio archive in the format that the kernel calls ``newc``
(Documentation/driver-api/early-userspace/buffer-format.rst)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.otherkernel.stock import StockKernel

INIT = Path(__file__).with_name("init.sh")
MODULES = ("virtio_pci", "virtiofs", "overlay")
"""For the shared file system, and for what is written over it."""
_DIRECTORIES = ("bin", "dev", "guest", "lower", "modules", "over", "proc", "sys")
_DIRECTORY, _EXECUTABLE = 0o040755, 0o100755
_ALIGNMENT = 4


@dataclass(frozen=True)
class Entry:
    """A file or a directory, owned by root."""

    name: str
    mode: int
    content: bytes = b""


def initramfs(kernel: StockKernel, *, command: str) -> bytes:
    """Everything up to the guest's own root, and the shell script that it is to run there."""
    modules = enumerate(kernel.with_dependencies(*MODULES))
    return archive(
        [
            *(Entry(name, _DIRECTORY) for name in _DIRECTORIES),
            *(Entry(f"modules/{i:02}-{path.name}", _EXECUTABLE, path.read_bytes()) for i, path in modules),
            Entry("bin/busybox", _EXECUTABLE, kernel.busybox.read_bytes()),
            Entry("init", _EXECUTABLE, INIT.read_bytes()),
            Entry("command", _EXECUTABLE, command.encode()),
            Entry("kernel-modules", _EXECUTABLE, str(kernel.modules).encode()),
        ]
    )


def archive(entries: Iterable[Entry]) -> bytes:
    """The entries one after the other."""
    packed = bytearray()
    for inode, entry in enumerate((*entries, Entry("TRAILER!!!", 0)), start=1):
        name = entry.name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, 2 × device (major, minor), length of the name, checksum (none)
        fields = (inode, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, 0, 0, len(name), 0)
        packed += _padded(b"070701" + b"".join(b"%08x" % field for field in fields) + name) + _padded(entry.content)
    return bytes(packed)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
