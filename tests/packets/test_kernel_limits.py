"""The program and its maps within the kernel's limits, and what is said of a source that is not fit to load."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from lbctl.dataplane import layout, loader
from lbctl.dataplane.clock import Clock
from lbctl.dataplane.objectfile import ObjectFile, compile_source
from lbctl.errors import KernelError, LayoutError
from tests.packets.rig import Rig

INSTRUCTION_BUDGET = 6_500
"""Of each program as compiled: about 5,000 for IPv4 and 5,500 for IPv6 at the time of writing."""
VERIFIER_BUDGET = 100_000
"""Instructions that the verifier walks through of each program with everything on: about 49,000 for IPv4 and 60,000 for IPv6 at
the time of writing; it gives up at a million."""


def test_clock_ticks_as_a_kernel_does(rig: Rig) -> None:
    assert rig.clock.hz in (100, 250, 300, 1000)
    started, first = time.monotonic(), rig.clock.jiffies()
    deadline = started + 5
    while rig.clock.jiffies() == first:
        assert time.monotonic() < deadline, "the clock stands still"
    assert (rig.clock.jiffies() - first & 0xFFFFFFFF) <= (time.monotonic() - started) * rig.clock.hz + 2


class Interrupted(Clock):
    """A reader of the clock that loses the processor for 40 ms right after one of its readings."""

    interrupted_reading = 0
    readings = 0

    def jiffies(self) -> int:
        ticks, until = super().jiffies(), time.monotonic() + 0.04
        self.readings += 1
        while self.readings == self.interrupted_reading and time.monotonic() < until:
            pass
        return ticks


@pytest.mark.parametrize("reading", [1, 2])
def test_clock_is_measured_right_although_the_reader_is_interrupted(shared_rig: Rig, reading: int) -> None:
    """Idle limits hang on it: a rate that is too low would end quiet associations early."""
    expected = shared_rig.clock.hz
    interrupted = Interrupted(shared_rig.loaded.programs[loader.CLOCK])
    interrupted.interrupted_reading = reading

    assert interrupted.hz == expected
    assert interrupted.readings > reading


@pytest.mark.parametrize("name", [loader.INGRESS, *layout.PROGRAMS])
def test_program_stays_within_its_budget(shared_rig: Rig, object_file: ObjectFile, name: str) -> None:
    """More than this is a sign that features multiply each other's work: see before raising it."""
    assert len(object_file.programs[name].code) // 8 <= INSTRUCTION_BUDGET
    assert 0 < shared_rig.dataplane.verified_instructions()[name] <= VERIFIER_BUDGET


def test_memory_of_the_maps_is_told(shared_rig: Rig) -> None:
    slots = layout.SLOTS * 8
    assert slots < shared_rig.dataplane.memory_bytes() < 256 << 20


def test_source_that_does_not_compile_is_told_with_its_place(tmp_path: Path) -> None:
    """The child is run on a copy: a quoted include must be named by its own file and line."""
    shutil.copytree(Path(__file__).parents[2] / "ebpf", tmp_path / "ebpf")
    header = tmp_path / "ebpf" / "icmp.h"
    lines = header.read_text(encoding="utf-8").splitlines()
    header.write_text(
        "\n".join([*lines[:9], "static int broken(void) { return undeclared; }", *lines[9:]]), encoding="utf-8"
    )

    with pytest.raises(KernelError, match=r"icmp\.h:10:\d+: error: use of undeclared identifier 'undeclared'"):
        compile_source(tmp_path / "ebpf" / "lb.c")


def test_map_that_differs_from_its_mirror_is_refused(tmp_path: Path) -> None:
    """A field that changed in types.h alone: the compiler's word counts."""
    shutil.copytree(Path(__file__).parents[2] / "ebpf", tmp_path / "ebpf")
    for source in (tmp_path / "ebpf").glob("*.[hc]"):
        source.write_text(source.read_text(encoding="utf-8").replace("last_seen", "last_heard"), encoding="utf-8")

    with pytest.raises(LayoutError, match=r"map lb_flows_tcp4: value is .*last_heard"):
        compile_source(tmp_path / "ebpf" / "lb.c")
