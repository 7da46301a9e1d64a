"""A BPF ring buffer, read without waiting."""

from __future__ import annotations

import ctypes
import errno
import os
import weakref
from typing import Any

from lbctl.dataplane import abi, bpf
from lbctl.errors import KernelError


class RingBuffer:
    """``descriptor`` is the map's, and also what to wait on: it is readable when there is something to read."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._records: list[bytes] = []
        self._callback = _keeper(self._records)
        self._ring = bpf.library().ring_buffer__new(descriptor, self._callback, None, None)
        if not self._ring:
            number = ctypes.get_errno()
            raise KernelError(f"opening a ring buffer: {os.strerror(number)}") from OSError(number, os.strerror(number))
        weakref.finalize(self, bpf.library().ring_buffer__free, self._ring)

    def consume(self) -> list[bytes]:
        """What was written since the last call, oldest first."""
        result = bpf.library().ring_buffer__consume(self._ring)
        if result != -errno.EINTR:  # what came before the interruption has been read
            bpf.checked(result, "reading a ring buffer")
        found = self._records.copy()
        self._records.clear()
        return found


def _keeper(records: list[bytes]) -> Any:
    """What libbpf calls for each record. It must not know of the ring buffer, or neither would ever be freed."""

    def keep(_: int | None, at: int, size: int) -> int:
        records.append(ctypes.string_at(at, size))
        return 0

    return abi.RingCallback(keep)
