"""The real data plane: `Dataplane` over the pinned maps, program and links."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbctl.core.ids import FREE
from lbctl.core.model import AttachMode
from lbctl.core.plan import SetBackend, SetInterface, SetPool, SetService, SetSlots, SetVip, Step
from lbctl.core.tables import BackendRow, BackendState, InterfaceRow, ServiceKey, ServiceRow, Tables
from lbctl.dataplane import bpf, loader, rows
from lbctl.dataplane.flows import FlowTables
from lbctl.dataplane.layout import INTERFACES, MAPS, Reason
from lbctl.dataplane.links import Links
from lbctl.dataplane.maps import HashMap, PerCpuArray, shared_array
from lbctl.dataplane.port import Attachment, Counters, FlowEntry, IdleLimits, Sweep, Traffic, Waiting
from lbctl.errors import KernelError

_KNOWN_HZ = (100, 250, 300, 1000)
_CALIBRATION_S = 0.2
_READING_S = 0.001


class KernelDataplane:
    """Maps, program and links of one pin directory."""

    def __init__(self, loaded: loader.Loaded, pins: Path) -> None:
        self._maps = loaded.maps
        self._clock = loaded.programs[loader.CLOCK]
        self._links = Links(pins, loaded.programs[loader.INGRESS])
        self._hashes = {name: HashMap(fd, MAPS[name]) for name, fd in loaded.maps.items()}
        self._flows = FlowTables(self._hashes, now=self.jiffies, hz=lambda: self.hz)
        self._stats = {name: PerCpuArray(loaded.maps[name], MAPS[name]) for name in _PER_CPU}
        self._filter = shared_array(loaded.maps["lb_vip_filter"], MAPS["lb_vip_filter"])
        self._services = shared_array(loaded.maps["lb_services"], MAPS["lb_services"])
        self._pools = shared_array(loaded.maps["lb_pools"], MAPS["lb_pools"])
        self._slots = shared_array(loaded.maps["lb_slots"], MAPS["lb_slots"])
        self._backends = shared_array(loaded.maps["lb_backends"], MAPS["lb_backends"])
        self._vips = set(self._read_vips())
        self._filter[:] = rows.filter_words(self._vips)  # an earlier writer may have been killed between the two

    # Tables ----------------------------------------------------------------------------------------------------------

    def read(self) -> Tables:
        """What the kernel holds now."""
        pools = {int(i): rows.pool_row(self._pools[i]) for i in np.flatnonzero(self._pools["identity"])}
        live = np.flatnonzero(self._backends["state"])
        freed = np.flatnonzero((self._backends["state"] == 0) & (self._backends["link"] >> np.uint64(48) != 0))
        return Tables(
            interfaces=self._read_interfaces(),
            vips=self._read_vips(),
            services=self._read_services(),
            pools=pools,
            backends={int(i): rows.backend_row(self._backends[i]) for i in live},
            slots={i: self.slots_at(pool.base, pool.size) for i, pool in pools.items()},
            freed={int(i): int(self._backends[i]["link"]) >> 48 for i in freed},
        )

    def _read_interfaces(self) -> Mapping[int, InterfaceRow]:
        found = [
            entry for _, batch in self._hashes["lb_interfaces"].batches() for entry in batch[batch["ifindex"] != 0]
        ]
        return {int(entry["ifindex"]): rows.interface_row(entry) for entry in found}

    def _read_services(self) -> Mapping[ServiceKey, ServiceRow]:
        taken = self._services[np.flatnonzero(self._services["key"])]
        return {rows.service_key(key): ServiceRow(id=i, pool_id=pool) for key, i, pool, _ in taken.tolist()}

    def _read_vips(self) -> Mapping[IPv4Address, int]:
        batches = self._hashes["lb_vips"].batches()
        return {
            IPv4Address(vip): ifindex
            for keys, values in batches
            for vip, (ifindex,) in zip(keys.tolist(), values.tolist(), strict=True)
        }

    def slots_at(self, base: int, size: int) -> NDArray[np.uint32]:
        """The references in a block of slots, shape (size,)."""
        block: NDArray[np.uint32] = self._slots[base : base + size].copy()
        return block

    def write(self, step: Step) -> None:
        """Carry out one step of a plan."""
        match step:
            case SetInterface():
                self._write_interface(step)
            case SetVip():
                self._write_vip(step)
            case SetService():
                self._write_service(step)
            case SetPool():
                self._write_pool(step)
            case SetBackend():
                self._write_backend(step)
            case SetSlots():
                self._slots[step.base + step.at] = step.after

    def _write_interface(self, step: SetInterface) -> None:
        row = step.ifindex % INTERFACES
        held = self._hashes["lb_interfaces"].get(row)
        if step.after is not None:
            self._hashes["lb_interfaces"].set(row, rows.interface_entry(step.ifindex, step.after))
        elif held is not None and held[0]["ifindex"] == step.ifindex:  # else another has taken the row
            self._hashes["lb_interfaces"].set(row, (0, 0, 0))

    def _write_vip(self, step: SetVip) -> None:
        """The filter's bit first and last: a VIP in the exact table is always let through to it."""
        word, _ = rows.filter_bit(step.vip)
        if step.after is not None:
            self._vips.add(step.vip)
            self._filter[word] = rows.filter_word(word, self._vips)
            self._hashes["lb_vips"].set(int(step.vip), (step.after,))
        else:
            self._vips.discard(step.vip)
            self._hashes["lb_vips"].remove(int(step.vip))
            self._filter[word] = rows.filter_word(word, self._vips)

    def _write_service(self, step: SetService) -> None:
        """The key last, and first to go: the program never sees a service with another's pool."""
        word = rows.service_word(step.key)
        row = rows.service_place(self._services["key"], word)
        if row is None:
            raise KernelError(f"no room in lb_services for {step.key}", hint="use another port, or fewer services")
        if step.after is None:
            self._services["key"][row] = 0
            return
        if step.before is None:
            self._stats["lb_service_stats"].clear(step.after.id)
        self._services["id"][row], self._services["pool"][row] = step.after.id, step.after.pool_id
        self._services["key"][row] = word

    def _write_pool(self, step: SetPool) -> None:
        entry = self._pools[step.pool_id : step.pool_id + 1]
        entry["table"] = rows.table_word(step.after) if step.after else 0
        entry["identity"] = step.after.identity if step.after else 0

    def _write_backend(self, step: SetBackend) -> None:
        """A new row gets its state last, a removed one loses it first: in between, references to it are a miss."""
        entry = self._backends[step.backend_id : step.backend_id + 1]
        if step.after is None:
            entry["state"] = BackendState.ABSENT
            entry["link"] = (step.before.generation if step.before else 0) << 48
            entry["identity"] = FREE
            return
        if step.before is None or step.before.generation != step.after.generation:
            self._begin_backend(step.backend_id, step.after)
        entry["link"] = rows.link_word(step.after)
        entry["state"] = step.after.state

    def _begin_backend(self, backend_id: int, row: BackendRow) -> None:
        entry = self._backends[backend_id : backend_id + 1]
        entry["state"] = BackendState.ABSENT
        entry["address"] = int(row.address)
        entry["identity"] = row.identity
        self._stats["lb_backend_stats"].clear(backend_id)

    def sow(self, seed: int) -> None:
        """Give the flow hash its secret, unless flows were placed by another already."""
        found, generation, hz = self._globals()
        if not found and not generation:
            self._hashes["lb_globals"].set(0, (seed, 0, hz, 0))

    def generation(self) -> int:
        """How many complete writes there were since the maps were made, by this daemon and those before it."""
        return self._globals()[1]

    def seal(self) -> int:
        """Count one complete write; returns the new generation number."""
        seed, generation, hz = self._globals()
        hz = vars(self).get("hz", hz)  # once it is measured: measuring takes a while
        self._hashes["lb_globals"].set(0, (seed, generation + 1, hz, 0))
        return generation + 1

    def _globals(self) -> tuple[int, int, int]:
        """(seed, generation, hz)."""
        found = self._hashes["lb_globals"].get(0)
        row = found[0] if found is not None else {"seed": 0, "generation": 0, "hz": 0}
        return int(row["seed"]), int(row["generation"]), int(row["hz"])

    # Counters and flows ----------------------------------------------------------------------------------------------

    def counters(self, *, services: Sequence[int], backends: Sequence[int]) -> Counters:
        """The counters of all reasons and of the given ids."""
        of_services, of_backends = self._stats["lb_service_stats"], self._stats["lb_backend_stats"]
        reasons = self._stats["lb_reasons"]
        return Counters(
            reasons={reason.name.lower(): Traffic(**reasons.total(reason)) for reason in Reason},
            services={i: Traffic(**of_services.total(i)) for i in services},
            backends={i: Traffic(**of_backends.total(i)) for i in backends},
        )

    def sweep(self, limits: IdleLimits) -> Sweep:
        """Delete idle flows, and those whose backend is no more; count the others."""
        live = self._backends["state"] != BackendState.ABSENT
        generations = (self._backends["link"] >> np.uint64(48)).astype(np.uint32)
        return self._flows.sweep(limits, live=live, generations=generations)

    def flows(self, *, limit: int) -> Sequence[FlowEntry]:
        """At most ``limit`` live flows, in no order."""
        return self._flows.entries(limit)

    def give_up(self, references: Sequence[int]) -> Sequence[Waiting]:
        """The TCP clients of these backends, whose flows end soon."""
        return self._flows.give_up(references)

    # Clock, links, memory --------------------------------------------------------------------------------------------

    def jiffies(self) -> int:
        """The kernel's tick counter, low 32 bits."""
        return bpf.test_run(self._clock, bytes(64)).verdict

    @cached_property
    def hz(self) -> int:
        """Ticks a second, measured once against the monotonic clock and rounded to what kernels are built with."""
        first, started = self._dated_jiffies()
        time.sleep(_CALIBRATION_S)
        last, ended = self._dated_jiffies()
        rate = ((last - first) & 0xFFFFFFFF) / (ended - started)
        return min(_KNOWN_HZ, key=lambda hz: abs(hz - rate))

    def _dated_jiffies(self) -> tuple[int, float]:
        """The tick counter and when it was read. Read again if something came in between that may have taken many ticks."""
        while True:
            before = time.monotonic()
            ticks = self.jiffies()
            after = time.monotonic()
            if after - before < _READING_S:
                return ticks, after

    def attach(self, ifindex: int, mode: AttachMode) -> Attachment:
        """Put the program on an interface, or behind the link that is there already."""
        return self._links.attach(ifindex, mode)

    def is_attached(self, ifindex: int) -> bool:
        """Whether the program is on an interface."""
        return self._links.is_attached(ifindex)

    def detach_others(self, keep: frozenset[int]) -> None:
        """Take the program off every interface that is not to be kept."""
        self._links.detach_others(keep)

    def memory_bytes(self) -> int:
        """Kernel memory that the maps take, as the kernel accounts it (``memlock`` of fdinfo)."""
        return sum(_memlock(fd) for fd in self._maps.values())


_PER_CPU = ("lb_reasons", "lb_service_stats", "lb_backend_stats")


def pinned_vips(pins: Path) -> frozenset[IPv4Address]:
    """The VIPs that an earlier daemon left active; none if its tables are of another layout."""
    path = loader.pin_path("lb_vips", MAPS["lb_vips"], pins)
    if not path.exists():
        return frozenset()
    with bpf.opened_pin(path) as vips:
        keys = [batch for batch, _ in HashMap(vips, MAPS["lb_vips"]).batches()]
    return frozenset(IPv4Address(vip) for batch in keys for vip in batch.tolist())


def _memlock(fd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("memlock:"):
            return int(line.split()[1])
    return 0
