"""The real data plane: `Dataplane` over the pinned maps, program and links."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lbctl.core.ids import FREE
from lbctl.core.model import AttachMode
from lbctl.core.model import Protocol as Transport
from lbctl.core.plan import SetBackend, SetInterface, SetPool, SetService, SetSlots, SetVip, Step
from lbctl.core.tables import BackendRow, BackendState, InterfaceRow, ServiceKey, ServiceRow, Tables
from lbctl.dataplane import bpf, loader, rows, sweep
from lbctl.dataplane.layout import INTERFACES, MAPS, FlowState, Reason
from lbctl.dataplane.links import Links
from lbctl.dataplane.maps import HashMap, PerCpuArray, shared_array
from lbctl.dataplane.port import Attachment, Counters, FlowEntry, IdleLimits, Sweep, Traffic
from lbctl.errors import KernelError

_K = TypeVar("_K", bound=Hashable)

FLOW_MAPS = {Transport.TCP: "lb_flows_tcp4", Transport.UDP: "lb_flows_udp4"}
_KNOWN_HZ = (100, 250, 300, 1000)
_CALIBRATION_S = 0.05


class KernelDataplane:
    """Maps, program and links of one pin directory."""

    def __init__(self, loaded: loader.Loaded, pins: Path) -> None:
        self._maps = loaded.maps
        self._clock = loaded.programs[loader.CLOCK]
        self._links = Links(pins, loaded.programs[loader.INGRESS])
        self._hashes = {name: HashMap(fd, MAPS[name]) for name, fd in loaded.maps.items()}
        self._stats = {name: PerCpuArray(loaded.maps[name], MAPS[name]) for name in _PER_CPU}
        self._filter = shared_array(loaded.maps["lb_vip_filter"], MAPS["lb_vip_filter"])
        self._services = shared_array(loaded.maps["lb_services"], MAPS["lb_services"])
        self._pools = shared_array(loaded.maps["lb_pools"], MAPS["lb_pools"])
        self._slots = shared_array(loaded.maps["lb_slots"], MAPS["lb_slots"])
        self._backends = shared_array(loaded.maps["lb_backends"], MAPS["lb_backends"])

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
                entry = rows.interface_entry(step.ifindex, step.after) if step.after else (0, 0, 0)
                self._hashes["lb_interfaces"].set(step.ifindex % INTERFACES, entry)
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

    def _write_vip(self, step: SetVip) -> None:
        """The exact table before the filter, so that a packet that passes the filter finds its VIP."""
        if step.after is not None:
            self._hashes["lb_vips"].set(int(step.vip), (step.after,))
        else:
            self._hashes["lb_vips"].remove(int(step.vip))
        self._filter[:] = rows.filter_words(self._read_vips())

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

    def generation(self) -> int:
        """How many complete writes there were since the maps were made, by this daemon and those before it."""
        return self._globals()[1]

    def seal(self) -> int:
        """Count one complete write; returns the new generation number."""
        seed, generation = self._globals()
        self._hashes["lb_globals"].set(0, (seed, generation + 1))
        return generation + 1

    def _globals(self) -> tuple[int, int]:
        found = self._hashes["lb_globals"].get(0)
        return (int(found[0]["seed"]), int(found[0]["generation"])) if found is not None else (0, 0)

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
        ticks = sweep.limits_in_ticks(limits, self.hz)
        by_backend: dict[int, int] = {}
        by_vip: dict[IPv4Address, int] = {}
        expired = 0
        for name in FLOW_MAPS.values():
            for keys, flows in list(self._hashes[name].batches()):
                ended = self._find_ended(flows, ticks)
                self._hashes[name].remove_all(keys[ended])
                expired += int(ended.sum())
                _add(by_backend, sweep.count_by_backend(flows[~ended]))
                _add(by_vip, sweep.count_by_vip(keys[~ended]))
        capacity = sum(MAPS[name].max_entries for name in FLOW_MAPS.values())
        return Sweep(flows=by_backend, vips=by_vip, expired=expired, capacity=capacity)

    def _find_ended(self, flows: NDArray[Any], ticks: NDArray[Any]) -> NDArray[np.bool_]:
        return sweep.find_ended(
            flows,
            now=self.jiffies(),
            limits=ticks,
            live=self._backends["state"] != BackendState.ABSENT,
            generations=(self._backends["link"] >> np.uint64(48)).astype(np.uint32),
        )

    def flows(self, *, limit: int) -> Sequence[FlowEntry]:
        """At most ``limit`` live flows, in no order."""
        found: list[FlowEntry] = []
        for protocol, name in FLOW_MAPS.items():
            for keys, flows in self._hashes[name].batches():
                found += self._entries(protocol, keys, flows)[: limit - len(found)]
                if len(found) >= limit:
                    return found
        return found

    def _entries(self, protocol: Transport, keys: NDArray[Any], flows: NDArray[Any]) -> list[FlowEntry]:
        idle = sweep.idle_ticks(flows, self.jiffies()) / self.hz
        return [
            FlowEntry(
                protocol=protocol,
                client=IPv4Address(key[0]),
                client_port=key[2],
                vip=IPv4Address(key[1]),
                vip_port=key[3],
                backend=flow[0],
                idle_s=idle_s,
                state=FlowState(flow[3]).name.lower(),
            )
            for key, flow, idle_s in zip(keys.tolist(), flows.tolist(), idle.tolist(), strict=True)
        ]

    # Clock, links, memory --------------------------------------------------------------------------------------------

    def jiffies(self) -> int:
        """The kernel's tick counter, low 32 bits."""
        return bpf.test_run(self._clock, bytes(64)).verdict

    @cached_property
    def hz(self) -> int:
        """Ticks a second, measured once against the monotonic clock and rounded to what kernels are built with."""
        first, started = self.jiffies(), time.monotonic()
        while time.monotonic() - started < _CALIBRATION_S:
            time.sleep(_CALIBRATION_S / 5)
        ticks = (self.jiffies() - first) & 0xFFFFFFFF
        rate = ticks / (time.monotonic() - started)
        return min(_KNOWN_HZ, key=lambda hz: abs(hz - rate))

    def attach(self, ifindex: int, mode: AttachMode) -> Attachment:
        """Put the program on an interface, or behind the link that is there already."""
        return self._links.attach(ifindex, mode)

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


def pinned_backends(pins: Path) -> frozenset[IPv4Address]:
    """The addresses of the backends that an earlier daemon left; none if its tables are of another layout."""
    path = loader.pin_path("lb_backends", MAPS["lb_backends"], pins)
    if not path.exists():
        return frozenset()
    with bpf.opened_pin(path) as backends:
        rows_there = shared_array(backends, MAPS["lb_backends"])
    return frozenset(IPv4Address(address) for address in rows_there["address"][rows_there["state"] != 0].tolist())


def _add(totals: dict[_K, int], counts: Mapping[_K, int]) -> None:
    for key, count in counts.items():
        totals[key] = totals.get(key, 0) + count


def _memlock(fd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("memlock:"):
            return int(line.split()[1])
    return 0
