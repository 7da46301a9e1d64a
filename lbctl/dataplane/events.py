"""What the program tells people who watch: new flows and drops, out of a ring buffer. Off while nobody watches."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag

import numpy as np

from lbctl.dataplane import rows
from lbctl.dataplane.globals import Globals
from lbctl.dataplane.layout import EVENT, Reason
from lbctl.dataplane.port import Event
from lbctl.dataplane.ring import RingBuffer
from lbctl.errors import KernelError


class Watch(IntFlag):
    """``enum lb_watch``."""

    FLOWS = 1
    DROPS = 2


class Events:
    """``descriptor`` is the ring buffer's. An earlier daemon's watchers are gone: nobody watches yet."""

    def __init__(self, descriptor: int, settings: Globals) -> None:
        self._ring = RingBuffer(descriptor)
        self._settings = settings
        if settings.read()["watched"]:
            self.watch(Watch(0))

    def watch(self, wanted: Watch) -> None:
        """Have the program tell of these; what it told before is forgotten."""
        self._settings.change(watched=wanted)
        self._ring.consume()

    def read(self) -> Sequence[Event]:
        """What it told since, oldest first; does not wait."""
        return [decoded(record) for record in self._ring.consume()]

    @property
    def descriptor(self) -> int:
        """To wait on: it is readable when there is something to read."""
        return self._ring.descriptor


def decoded(record: bytes) -> Event:
    """An event from ``struct event`` as it lies in memory. `KernelError` if it is none."""
    if len(record) < EVENT.itemsize:
        raise KernelError(f"the program told of an event in {len(record)} bytes, where {EVENT.itemsize} make one")
    row = np.frombuffer(record, EVENT, count=1)[0]
    lan = rows.lan_of(int(row["lan"]))
    return Event(
        time_ns=int(row["time"]),
        ifindex=lan.ifindex,
        vlan=lan.vlan,
        reason=_reason(int(row["reason"])),
        service=int(row["service"]),
        backend=int(row["backend"]),
        frame_bytes=int(row["bytes"]),
        headers=row["headers"].tobytes()[: int(row["captured"])],
    )


def _reason(number: int) -> str:
    try:
        return Reason(number).name.lower()
    except ValueError:
        raise KernelError(f"the program told of an event for reason {number}, which there is not") from None
