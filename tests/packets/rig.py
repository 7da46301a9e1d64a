"""The real program with tables of a test's choosing, run by the kernel's test-run. Needs root; attaches to nothing."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np

from lbctl.core.model import OnEmpty, Protocol
from lbctl.core.plan import diff
from lbctl.core.tables import (
    BackendRow,
    BackendState,
    InterfaceRow,
    Members,
    PoolRow,
    ServiceKey,
    ServiceRow,
    Tables,
    reference,
)
from lbctl.dataplane import bpf, loader
from lbctl.dataplane.flows import FLOW_MAPS
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.layout import BUDGET as BUDGET_ROW
from lbctl.dataplane.layout import MAPS, PURPOSES, Reason
from lbctl.dataplane.loader import Loaded
from lbctl.dataplane.maps import HashMap, possible_cpus, shared_array
from lbctl.dataplane.objectfile import ObjectFile

LOOPBACK = 1
"""The ifindex that a test-run without a context stands on."""
VIP = IPv4Address("192.0.2.100")
DIRECTOR = IPv4Address("192.0.2.10")
OWN_MAC = bytes.fromhex("02000202000a")
SIZE = 1021
BUDGET = 1000
"""Tokens of a full bucket: what a second brings."""
HANDSHAKES = 20_000
"""The same of a service's bucket for completed handshakes."""
RECENT_TICK = 8
"""Of ``ebpf/recent.h``: the ticks of reservations and short memories are 256 jiffies long."""
ENDLESS = 0xFFFFFFFF
"""Ticks a second: a clock by which no token comes back while a test looks."""
_OWNERS_OF_TOKENS = 4
"""The director, who is 0, and the rig's three services."""
FOR_ANSWERS, FOR_RESETS = 0, 1
"""The director's rows of lb_budgets."""


def for_pick_ups(service: int) -> int:
    """The row of a service's tokens for connections in mid-stream."""
    return service * PURPOSES


def for_handshakes(service: int) -> int:
    """The row of a service's tokens for completed handshakes."""
    return service * PURPOSES + 1


def backend_mac(number: int) -> bytes:
    """The MAC of backend ``number``."""
    return bytes((2, 0, 0, 0, 0, number))


def backend_row(
    number: int,
    *,
    state: BackendState = BackendState.UP,
    mac: bytes | None = None,
    limit: int = 0,
    resume: int | None = None,
) -> BackendRow:
    """Backend ``number`` at 192.0.2.(10 + number)."""
    return BackendRow(
        generation=7,
        identity=1000 + number,
        address=IPv4Address(int(DIRECTOR) + number),
        state=state,
        mac=backend_mac(number) if mac is None else mac or None,
        limit=limit,
        resume=max(limit - 1, 0) if resume is None else resume,
    )


def up_in(backends: Mapping[int, BackendRow]) -> tuple[int, ...]:
    """References of the backends that take new connections."""
    return tuple(reference(i, row.generation) for i, row in backends.items() if row.state is BackendState.UP)


def tables(
    backends: dict[int, BackendRow],
    slots: np.ndarray | None = None,
    *,
    fallbacks: Sequence[int] = (),
    on_empty: OnEmpty = OnEmpty.RESET,
    is_private: bool = False,
) -> Tables:
    """One VIP with services tcp/104, tcp/11112, udp/514 over one pool. Slots go round the backends that are up, but for those
    that only stand in if these are full."""
    own = tuple(ref for ref in up_in(backends) if ref & 0xFFFF not in fallbacks)
    others = tuple(ref for ref in up_in(backends) if ref & 0xFFFF in fallbacks)
    round_robin = own or others or (0,)
    owners = np.array([round_robin[i % len(round_robin)] for i in range(SIZE)], np.uint32) if slots is None else slots
    services = {(104, Protocol.TCP): 1, (11112, Protocol.TCP): 2, (514, Protocol.UDP): 3}
    return Tables(
        interfaces={LOOPBACK: InterfaceRow(mac=OWN_MAC, address=DIRECTOR)},
        vips={VIP: LOOPBACK},
        services={
            ServiceKey(vip=VIP, port=port, protocol=protocol): ServiceRow(id=number, pool_id=1)
            for (port, protocol), number in services.items()
        },
        pools={1: PoolRow(identity=99, base=0, size=SIZE, on_empty=on_empty, is_private=is_private)},
        backends=backends,
        slots={1: owners},
        members={1: Members(own=own, fallbacks=others)},
    )


class Rig:
    """A loaded program, its data plane, and its maps laid bare."""

    def __init__(self, loaded: Loaded, pins: Path) -> None:
        self.loaded = loaded
        self.pins = pins
        self.dataplane = KernelDataplane(loaded, pins)
        self.clock = self.dataplane.clock
        self.flows = {name: HashMap(loaded.maps[name], loaded.specs[name]) for name in FLOW_MAPS.values()}
        self.assignments = HashMap(loaded.maps["lb_assignments"], loaded.specs["lb_assignments"])
        self.connections = shared_array(loaded.maps["lb_connections"], MAPS["lb_connections"])
        self._held_tick = -1

    def hold(self, wanted: Tables) -> None:
        """Make the kernel hold these tables."""
        for step in diff(self.dataplane.read(), wanted).steps:
            self.dataplane.write(step)

    def forget(self) -> None:
        """Forget every flow, connection, assignment, half-open entry and fragment; fill every bucket, stop its clock."""
        for entries in (*self.flows.values(), self.assignments):
            for keys, _ in list(entries.batches()):
                entries.remove_all(keys)
        for field in ("opened", "corrected", "pending", "is_full"):
            self.connections[field] = 0
        for name in ("lb_half_opens", "lb_fragments"):
            spec = MAPS[name]
            keys = np.arange(spec.max_entries, dtype=spec.key)
            bpf.update_batch(self.loaded.maps[name], keys, np.zeros(spec.max_entries, spec.value))
        self.set_tokens()

    def set_tokens(
        self, tokens: int = BUDGET, *, handshakes: int = HANDSHAKES, hz: int = ENDLESS, idle_ticks: int = 0
    ) -> None:
        """So many tokens in every bucket that the rig's tables use, on every CPU; last refilled so many ticks ago. Those for
        handshakes apart: few tests want to run out of them."""
        self.dataplane.globals.change(seed=0, generation=0, hz=hz)
        values = np.zeros(possible_cpus(), BUDGET_ROW)
        values["refilled"] = self.clock.jiffies() - idle_ticks & 0xFFFFFFFF
        for row in range(_OWNERS_OF_TOKENS * PURPOSES):
            is_for_handshakes = row in map(for_handshakes, range(1, _OWNERS_OF_TOKENS))
            values["tokens"] = handshakes if is_for_handshakes else tokens
            bpf.update(self.loaded.maps["lb_budgets"], np.array([row], "<u4"), values)

    def spend_tokens(self, row: int) -> None:
        """Leave none in a bucket."""
        fd, key, values = self.loaded.maps["lb_budgets"], np.array([row], "<u4"), np.zeros(possible_cpus(), BUDGET_ROW)
        bpf.lookup(fd, key, values)
        values["tokens"] = 0
        bpf.update(fd, key, values)

    def age_tokens(self, row: int, *, ticks: int) -> None:
        """Let the latest refill of a bucket be longer ago by so many ticks."""
        fd, key, values = self.loaded.maps["lb_budgets"], np.array([row], "<u4"), np.zeros(possible_cpus(), BUDGET_ROW)
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
        for name in ("lb_half_opens", "lb_fragments"):
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

    def run(self, packet: bytes, *, program: str = loader.INGRESS, repeat: int = 1) -> bpf.TestRun:
        """Test-run one packet."""
        return bpf.test_run(self.loaded.programs[program], packet, repeat=repeat)

    def reasons(self) -> dict[str, int]:
        """Packets by reason so far."""
        counters = self.dataplane.counters(services=(), backends=())
        return {name: traffic.packets for name, traffic in counters.reasons.items()}

    def run_for_reason(self, packet: bytes) -> tuple[bpf.TestRun, Reason]:
        """Test-run one packet; also the reason that was counted (`NOT_VIP` is not counted)."""
        before = self.reasons()
        outcome = self.run(packet)
        counted = [name for name, packets in self.reasons().items() if packets != before[name]]
        assert len(counted) <= 1, f"one packet was counted as {counted}"
        return outcome, Reason[counted[0].upper()] if counted else Reason.NOT_VIP


@contextmanager
def mounted_bpffs(directory: Path) -> Iterator[Path]:
    """A bpffs of the caller's own."""
    subprocess.run(["mount", "-t", "bpf", "bpf", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


@contextmanager
def rig_of(source: ObjectFile) -> Iterator[Rig]:
    """Load an object file on a bpffs of its own."""
    with tempfile.TemporaryDirectory(prefix="lbctl-rig-") as directory, mounted_bpffs(Path(directory)) as pins:
        yield Rig(loader.load(source, pins), pins)
