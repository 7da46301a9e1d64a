"""What the kernel tells of descriptors."""

from __future__ import annotations

import os
from pathlib import Path

from lbctl.dataplane.maps import memory_of, told


def test_descriptor_tells_its_number_and_nothing_of_what_it_has_not(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(bytes(7))
        file.flush()
        assert told(file.fileno(), "pos") == 7
        assert memory_of(file.fileno()) == 0


def test_descriptor_that_was_closed_meanwhile_takes_no_memory() -> None:
    """As those of a program that is exchanged while somebody asks for the status."""
    read, write = os.pipe()
    os.close(write)
    os.close(read)
    assert memory_of(read) == 0
