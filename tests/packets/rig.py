"""The real program with tables of a test's choosing, run by the kernel's test-run. Needs root; attaches to nothing."""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np

from lbctl.core.model import Protocol
from lbctl.core.plan import diff
from lbctl.core.tables import BackendRow, BackendState, InterfaceRow, PoolRow, ServiceKey, ServiceRow, Tables
from lbctl.dataplane import bpf, loader
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.layout import BUDGET as BUDGET_ROW
from lbctl.dataplane.layout import MAPS, Reason
from lbctl.dataplane.loader import Loaded
from lbctl.dataplane.maps import HashMap, possible_cpus
from lbctl.dataplane.objectfile import ObjectFile

LOOPBACK = 1
"""The ifindex that a test-run without a context stands on."""
VIP = IPv4Address("192.0.2.100")
DIRECTOR = IPv4Address("192.0.2.10")
OWN_MAC = bytes.fromhex("02000202000a")
SIZE = 1021
BUDGET = 1000
"""Tokens of a full bucket: what a second brings."""
ENDLESS = 0xFFFFFFFF
"""Ticks a second: a clock by which no token comes back while a test looks."""
_ROWS_WITH_TOKENS = 4
"""Row 0 of lb_budgets, for answers, and the rig's three services."""


def backend_mac(number: int) -> bytes:
    """The MAC of backend ``number``."""
    return bytes((2, 0, 0, 0, 0, number))


def backend_row(number: int, *, state: BackendState = BackendState.UP, mac: bytes | None = None) -> BackendRow:
    """Backend ``number`` at 192.0.2.(10 + number)."""
    return BackendRow(
        generation=7,
        identity=1000 + number,
        address=IPv4Address(int(DIRECTOR) + number),
        state=state,
        mac=backend_mac(number) if mac is None else mac or None,
    )


def tables(backends: dict[int, BackendRow], slots: np.ndarray | None = None) -> Tables:
    """One VIP with services tcp/104, tcp/11112, udp/514 over one pool. Slots go round the backends that are up."""
    up = [i | row.generation << 16 for i, row in backends.items() if row.state is BackendState.UP] or [0]
    owners = np.array([up[i % len(up)] for i in range(SIZE)], np.uint32) if slots is None else slots
    services = {(104, Protocol.TCP): 1, (11112, Protocol.TCP): 2, (514, Protocol.UDP): 3}
    return Tables(
        interfaces={LOOPBACK: InterfaceRow(mac=OWN_MAC, address=DIRECTOR)},
        vips={VIP: LOOPBACK},
        services={
            ServiceKey(vip=VIP, port=port, protocol=protocol): ServiceRow(id=number, pool_id=1)
            for (port, protocol), number in services.items()
        },
        pools={1: PoolRow(identity=99, base=0, size=SIZE)},
        backends=backends,
        slots={1: owners},
    )


class Rig:
    """A loaded program, its data plane, and its maps laid bare."""

    def __init__(self, loaded: Loaded, pins: Path) -> None:
        self.loaded = loaded
        self.pins = pins
        self.dataplane = KernelDataplane(loaded, pins)
        self.flows = {name: HashMap(loaded.maps[name], MAPS[name]) for name in ("lb_flows_tcp4", "lb_flows_udp4")}

    def hold(self, wanted: Tables) -> None:
        """Make the kernel hold these tables."""
        for step in diff(self.dataplane.read(), wanted).steps:
            self.dataplane.write(step)

    def forget(self) -> None:
        """Forget every flow, half-open entry and fragment; fill every bucket, and stop its clock."""
        for flows in self.flows.values():
            for keys, _ in list(flows.batches()):
                flows.remove_all(keys)
        for name in ("lb_half_opens", "lb_fragments"):
            spec = MAPS[name]
            keys = np.arange(spec.max_entries, dtype=spec.key)
            bpf.update_batch(self.loaded.maps[name], keys, np.zeros(spec.max_entries, spec.value))
        self.set_tokens()

    def set_tokens(self, tokens: int = BUDGET, *, hz: int = ENDLESS, idle_ticks: int = 0) -> None:
        """So many tokens in every bucket that the rig's tables use, on every CPU; last refilled so many ticks ago."""
        self.dataplane._hashes["lb_globals"].set(0, (0, 0, hz, 0))
        values = np.zeros(possible_cpus(), BUDGET_ROW)
        values["tokens"], values["refilled"] = tokens, self.dataplane.jiffies() - idle_ticks & 0xFFFFFFFF
        for row in range(_ROWS_WITH_TOKENS):
            bpf.update(self.loaded.maps["lb_budgets"], np.array([row], "<u4"), values)

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
        written = (self.dataplane.jiffies() >> 8) - ticks & 0xFF
        bpf.update(self.loaded.maps[name], np.array([row], "<u4"), np.array([word & ~0xFF | written], "<u8"))

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
