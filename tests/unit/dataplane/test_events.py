"""What the program tells people, from its bytes."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from lbctl.core.tables import Lan, reference
from lbctl.dataplane import layout, rows
from lbctl.dataplane.events import decoded
from lbctl.dataplane.layout import EVENT, Reason
from lbctl.dataplane.port import Event
from lbctl.errors import KernelError


def test_event_is_decoded_field_by_field_and_its_headers_are_cut_where_they_end() -> None:
    row = np.zeros(1, EVENT)
    row["time"], row["lan"], row["backend"] = 123, rows.lan_word(Lan(3, 20)), reference(5, 7)
    row["reason"], row["service"], row["bytes"], row["captured"] = Reason.DENIED, 4, 1514, 54
    row["headers"] = range(layout.EVENT_HEADERS)

    assert decoded(row.tobytes()) == Event(
        time_ns=123,
        ifindex=3,
        vlan=20,
        reason="denied",
        service=4,
        backend=reference(5, 7),
        frame_bytes=1514,
        headers=bytes(range(54)),
    )


def test_ring_buffer_has_a_size_that_the_kernel_takes() -> None:
    assert layout.EVENT_BYTES.bit_count() == 1
    assert layout.EVENT_BYTES % mmap.PAGESIZE == 0


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (b"", "an event in 0 bytes"),
        (bytes(EVENT.itemsize - 1), f"an event in {EVENT.itemsize - 1} bytes, where {EVENT.itemsize} make one"),
        (b"\xff" * EVENT.itemsize, "reason 65535, which there is not"),
    ],
)
def test_event_that_is_none_is_an_error_of_the_kernel(record: bytes, says: str) -> None:
    with pytest.raises(KernelError, match=says):
        decoded(record)
