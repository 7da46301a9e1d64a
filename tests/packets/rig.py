"""The real program with tables of a test's choosing, run by the kernel's test-run. Needs root; attaches to nothing."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbctl.core.plan import diff
from lbctl.core.tables import Tables
from lbctl.dataplane import bpf, loader
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.layout import BUDGET as BUDGET_ROW
from lbctl.dataplane.layout import COUNTER, FLOW_MAPS, INDEX, MAPS, PURPOSES, Reason
from lbctl.dataplane.loader import Loaded
from lbctl.dataplane.maps import HashMap, possible_cpus, shared_array
from lbctl.dataplane.objectfile import ObjectFile
from tests.packets.devices import Devices, devices, mounted_bpffs
from tests.packets.memory import rows_touched
from tests.packets.world import LOOPBACK, SERVICES, for_handshakes

BUDGET = 1000
"""Tokens of a full bucket: what a second brings."""
HANDSHAKES = 20_000
"""The same of a service's bucket for completed handshakes."""
RECENT_TICK = 8
"""Of ``ebpf/recent.h``: the ticks of reservations and short memories are 256 jiffies long."""
ENDLESS = 0xFFFFFFFF
"""Ticks a second: a clock by which no token comes back while a test looks."""
CPUS = possible_cpus()
LARGEST = 10_000
"""No frame is larger."""
RECENT_MAPS = ("lb_half_opens", "lb_fragments")
ASSIGNMENT_MAPS = ("lb_assignments4", "lb_assignments6")


class Rig:
    """A loaded program, its data plane, and its maps laid bare."""

    def __init__(self, loaded: Loaded, pins: Path, around: Devices) -> None:
        self.loaded = loaded
        self.pins = pins
        self._devices = around
        self.dataplane = KernelDataplane(loaded, pins)
        self.clock = self.dataplane.clock
        self.flows = {name: HashMap(loaded.maps[name], loaded.specs[name]) for name in FLOW_MAPS}
        self.assignments = {name: HashMap(loaded.maps[name], loaded.specs[name]) for name in ASSIGNMENT_MAPS}
        self.connections = shared_array(loaded.maps["lb_connections"], MAPS["lb_connections"])
        self._held_tick = -1
        self._is_closed = False
        self._touched: set[tuple[str, int]] = set()
        self._tracked = 0
        self._forgotten = int(self._counted().sum())

    def close(self) -> None:
        """Give the descriptors back, as a daemon does when it dies: some forty, and a run has hundreds of rigs."""
        if not self._is_closed:
            loaded, self._is_closed = self.dataplane.loaded, True
            for descriptor in {*loaded.maps.values(), *loaded.programs.values()}:
                os.close(descriptor)

    def elsewhere(self) -> AbstractContextManager[None]:
        """The rig's namespace, for a while: its ifindexes are those of the tables."""
        return self._devices.entered()

    def hold(self, wanted: Tables) -> None:
        """Make the kernel hold these tables."""
        with self.elsewhere():
            for step in diff(self.dataplane.read(), wanted).steps:
                self.dataplane.write(step)

    def forget(self) -> None:
        """Forget every flow, connection, assignment, half-open entry and fragment; fill every bucket, stop its clock."""
        for entries in (*self.flows.values(), *self.assignments.values()):
            for keys, _ in list(entries.batches()):
                entries.remove_all(keys)
        for field in ("opened", "corrected", "pending", "is_full"):
            self.connections[field] = 0
        for name, row in self._littered():
            bpf.update(self.loaded.maps[name], np.array([row], INDEX), np.zeros(1, MAPS[name].value))
        self.set_tokens()

    def _littered(self) -> Iterable[tuple[str, int]]:
        """The rows of the short memories that may have been written: reading them all takes long, and it is rarely unknown what
        was sent since the last time."""
        counted, touched = int(self._counted().sum()), self._touched
        is_known = counted - self._forgotten <= self._tracked
        self._touched, self._tracked, self._forgotten = set(), 0, counted
        return touched if is_known else [(name, row) for name in RECENT_MAPS for row in self.recent(name)]

    def set_tokens(
        self, tokens: int = BUDGET, *, handshakes: int = HANDSHAKES, hz: int = ENDLESS, idle_ticks: int = 0
    ) -> None:
        """So many tokens in every bucket that the rig's tables use, on every CPU; last refilled so many ticks ago. Those for
        handshakes apart: few tests want to run out of them."""
        self.dataplane.globals.change(seed=0, generation=0, hz=hz)
        values = np.zeros(CPUS, BUDGET_ROW)
        values["refilled"] = self.clock.jiffies() - idle_ticks & 0xFFFFFFFF
        others = set(map(for_handshakes, SERVICES.values()))
        for row in range((1 + len(SERVICES)) * PURPOSES):
            values["tokens"] = handshakes if row in others else tokens
            bpf.update(self.loaded.maps["lb_budgets"], np.array([row], "<u4"), values)

    def spend_tokens(self, row: int) -> None:
        """Leave none in a bucket."""
        fd, key, values = self.loaded.maps["lb_budgets"], np.array([row], "<u4"), np.zeros(CPUS, BUDGET_ROW)
        bpf.lookup(fd, key, values)
        values["tokens"] = 0
        bpf.update(fd, key, values)

    def age_tokens(self, row: int, *, ticks: int) -> None:
        """Let the latest refill of a bucket be longer ago by so many ticks."""
        fd, key, values = self.loaded.maps["lb_budgets"], np.array([row], "<u4"), np.zeros(CPUS, BUDGET_ROW)
        bpf.lookup(fd, key, values)
        values["refilled"] -= np.uint32(ticks)
        bpf.update(fd, key, values)

    def flow_backends(self) -> Counter[int]:
        """How many flows refer to which backend, in both tables."""
        found: Counter[int] = Counter()
        for flows in self.flows.values():
            for _, values in flows.batches():
                found.update(values["backend"].tolist())
        return found

    def recent(self, name: str) -> dict[int, int]:
        """The words of ``lb_half_opens`` or ``lb_fragments`` that are not empty, by row."""
        spec = MAPS[name]
        keys, words = np.zeros(spec.max_entries, spec.key), np.zeros(spec.max_entries, spec.value)
        count = bpf.lookup_batch(self.loaded.maps[name], keys, words, cursor=np.zeros(2, np.uint64), first=True)
        assert spec.max_entries in (count, -1 - count)
        return {int(row): int(words[row]) for row in np.flatnonzero(words)}

    def age_recent(self, name: str, *, ticks: int) -> None:
        """Let the only entry be so many ticks (of 256 jiffies) old. The low byte of an entry is when it was written."""
        ((row, word),) = self.recent(name).items()
        written = (self.clock.jiffies() >> 8) - ticks & 0xFF
        bpf.update(self.loaded.maps[name], np.array([row], "<u4"), np.array([word & ~0xFF | written], "<u8"))

    def recent_tick(self) -> int:
        """``recent_tick`` of ``ebpf/limit.h``: of all 64 bits of jiffies, which begin 5 minutes before 32 of them wrap."""
        low, since_boot = self.clock.jiffies(), time.monotonic() * self.clock.hz
        wraps = round(((1 << 32) - 300 * self.clock.hz + since_boot - low) / (1 << 32))
        return (wraps << 32 | low) >> RECENT_TICK

    def hold_time(self) -> None:
        """Let all reservations and short memories be of now, so that none expires while a test looks."""
        now = self.recent_tick()
        if now == self._held_tick:
            return
        self._held_tick = now
        pending = self.connections["pending"]
        reserved = (pending & np.uint64(0xFFFFFFFF)).sum(axis=1)
        pending[:, now & 1], pending[:, ~now & 1] = np.where(reserved, reserved | np.uint64(now << 32), 0), 0
        for name in RECENT_MAPS:
            for row, word in self.recent(name).items():
                fresh = np.array([word & ~0xFF | now & 0xFF], "<u8")
                bpf.update(self.loaded.maps[name], np.array([row], "<u4"), fresh)

    def age_reservations(self, *, ticks: int) -> None:
        """Let all of them be so many ticks old."""
        self._held_tick = -1
        self.hold_time()
        then = self._held_tick - ticks
        pending = self.connections["pending"]
        reserved = (pending & np.uint64(0xFFFFFFFF)).sum(axis=1)
        pending[:, then & 1], pending[:, ~then & 1] = reserved | np.uint64(then << 32), 0

    def reserved(self, number: int) -> int:
        """Places at a backend that were reserved, expired ones included."""
        return int((self.connections["pending"][number] & np.uint64(0xFFFFFFFF)).sum())

    def live(self, number: int) -> int:
        """A backend's connections."""
        return self.dataplane.connections()[number].connections

    def is_full(self, number: int) -> bool:
        """Whether it has as many as it may have."""
        return self.dataplane.connections()[number].is_full

    def run(
        self, packet: bytes, *, program: str = loader.INGRESS, repeat: int = 1, ifindex: int = LOOPBACK
    ) -> bpf.TestRun:
        """Test-run one packet that came in by an interface."""
        if (program, repeat) == (loader.INGRESS, 1):
            self._touched.update(rows_touched(packet))
            self._tracked += 1
        if ifindex == LOOPBACK:
            return bpf.test_run(self.loaded.programs[program], packet, repeat=repeat, size_out=LARGEST)
        with self.elsewhere():
            return bpf.test_run(self.loaded.programs[program], packet, repeat=repeat, ifindex=ifindex, size_out=LARGEST)

    def reasons(self) -> dict[str, int]:
        """Packets by reason so far."""
        return {reason.name.lower(): int(packets) for reason, packets in zip(Reason, self._counted(), strict=True)}

    def _counted(self) -> NDArray[np.uint64]:
        """The same by number, in one system call."""
        spec = MAPS["lb_reasons"]
        keys, values = np.zeros(len(Reason), spec.key), np.zeros((len(Reason), CPUS), COUNTER)
        bpf.lookup_batch(self.loaded.maps["lb_reasons"], keys, values, cursor=np.zeros(2, np.uint64), first=True)
        packets: NDArray[np.uint64] = values["packets"].sum(axis=1)
        return packets

    def run_for_reason(self, packet: bytes, *, ifindex: int = LOOPBACK) -> tuple[bpf.TestRun, Reason]:
        """Test-run one packet; also the reason that was counted (`NOT_VIP` is not counted)."""
        before = self._counted()
        outcome = self.run(packet, ifindex=ifindex)
        counted = np.flatnonzero(self._counted() != before)
        assert len(counted) <= 1, f"one packet was counted as {[Reason(number).name for number in counted.tolist()]}"
        return outcome, Reason(int(counted[0])) if len(counted) else Reason.NOT_VIP


@contextmanager
def rig_of(source: ObjectFile) -> Iterator[Rig]:
    """Load an object file on a bpffs of its own."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbctl-rig-")))
        pins = stack.enter_context(mounted_bpffs(directory))
        rig = Rig(loader.load(source, pins), pins, stack.enter_context(devices()))
        stack.callback(rig.close)
        yield rig
