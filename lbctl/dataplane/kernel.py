"""The real data plane: `Dataplane` over the pinned maps, program and links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np

from lbctl.core.ids import FREE
from lbctl.core.model import AttachMode
from lbctl.core.plan import (
    SetBackend,
    SetInterface,
    SetMembers,
    SetPool,
    SetService,
    SetSlots,
    SetVip,
    SetWrongPorts,
    Step,
)
from lbctl.core.tables import BackendRow, BackendState, InterfaceRow, ServiceKey, ServiceRow, Tables, id_of
from lbctl.dataplane import bpf, loader, rows
from lbctl.dataplane.assignments import Assignments
from lbctl.dataplane.clock import Clock
from lbctl.dataplane.connections import Connections
from lbctl.dataplane.flows import Backends, FlowTables
from lbctl.dataplane.globals import Globals
from lbctl.dataplane.layout import INTERFACES, MAPS, Reason
from lbctl.dataplane.links import Links
from lbctl.dataplane.maps import HashMap, PerCpuArray, memory_of, shared_array
from lbctl.dataplane.pools import POOL_MAPS, PoolTables
from lbctl.dataplane.port import (
    Assigned,
    Attachment,
    Connected,
    Counters,
    FlowEntry,
    IdleLimits,
    Sweep,
    Traffic,
    Waiting,
)
from lbctl.errors import KernelError


class KernelDataplane:
    """Maps, program and links of one pin directory."""

    def __init__(self, loaded: loader.Loaded, pins: Path) -> None:
        self._maps = loaded.maps
        self.clock = Clock(loaded.programs[loader.CLOCK])
        self._links = Links(pins, loaded.programs[loader.INGRESS])
        self._hashes = {name: HashMap(fd, loaded.specs[name]) for name, fd in loaded.maps.items()}
        self._flows = FlowTables(self._hashes, now=self.clock.jiffies, hz=lambda: self.clock.hz)
        self.globals = Globals(self._hashes["lb_globals"])
        self._assignments = Assignments(self._hashes["lb_assignments"])
        self._stats = {name: PerCpuArray(loaded.maps[name], MAPS[name]) for name in _PER_CPU}
        self._filter = shared_array(loaded.maps["lb_vip_filter"], MAPS["lb_vip_filter"])
        self._services = shared_array(loaded.maps["lb_services"], MAPS["lb_services"])
        self._pools = PoolTables({name: shared_array(loaded.maps[name], MAPS[name]) for name in POOL_MAPS})
        self._backends = shared_array(loaded.maps["lb_backends"], MAPS["lb_backends"])
        self._limits = shared_array(loaded.maps["lb_connections"], MAPS["lb_connections"])
        self._connections = Connections(self._limits)
        self._vips = set(self._read_vips())
        self._filter[:] = rows.filter_words(self._vips)  # an earlier writer may have been killed between the two

    # Tables ----------------------------------------------------------------------------------------------------------

    def read(self) -> Tables:
        """What the kernel holds now."""
        pools = self._pools.read()
        live = np.flatnonzero(self._backends["state"])
        freed = np.flatnonzero((self._backends["state"] == 0) & (self._backends["link"] >> np.uint64(48) != 0))
        return Tables(
            interfaces=self._read_interfaces(),
            vips=self._read_vips(),
            services=self._read_services(),
            pools=pools,
            backends={int(i): rows.backend_row(self._backends[i], self._limits[i]) for i in live},
            slots={i: self._pools.slots(pool) for i, pool in pools.items()},
            members={i: self._pools.members(i) for i in pools},
            freed={int(i): int(self._backends[i]["link"]) >> 48 for i in freed},
            drops_wrong_ports=bool(self.globals.read()["drops_wrong_ports"]),
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
                self._pools.write(step)
            case SetBackend():
                self._write_backend(step)
            case SetSlots():
                self._pools.write_slots(step)
            case SetMembers():
                self._pools.write_members(step)
            case SetWrongPorts():
                self.globals.change(drops_wrong_ports=step.after)

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
        self._connections.set_limit(step.backend_id, limit=step.after.limit, resume=step.after.resume)
        entry["is_limited"] = step.after.limit > 0
        entry["state"] = step.after.state

    def _begin_backend(self, backend_id: int, row: BackendRow) -> None:
        entry = self._backends[backend_id : backend_id + 1]
        entry["state"] = BackendState.ABSENT
        entry["address"] = int(row.address)
        entry["identity"] = row.identity
        self._stats["lb_backend_stats"].clear(backend_id)
        self._connections.begin(backend_id)

    def sow(self, seed: int) -> None:
        """Give the flow hash its secret, unless flows were placed by another already."""
        found = self.globals.read()
        if not found["seed"] and not found["generation"]:
            self.globals.change(seed=seed)

    def generation(self) -> int:
        """How many complete writes there were since the maps were made, by this daemon and those before it."""
        return int(self.globals.read()["generation"])

    def seal(self) -> int:
        """Count one complete write; returns the new generation number."""
        generation = int(self.globals.read()["generation"]) + 1
        self.globals.change(generation=generation)
        return generation

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
        opened = self._connections.opened()
        found = self._flows.sweep(limits, self._known_backends)
        self._connections.ended(self._by_id(found.ended))
        self._connections.settle(self._by_id(found.open), opened_before=opened)
        return found

    def _known_backends(self) -> Backends:
        return Backends(
            live=self._backends["state"] != BackendState.ABSENT,
            generations=(self._backends["link"] >> np.uint64(48)).astype(np.uint32),
            full=self._connections.is_full(),
        )

    def _by_id(self, counts: Mapping[int, int]) -> Mapping[int, int]:
        """Counts by reference as counts by id; those of servers whose id was given away count for nobody."""
        generations = self._backends["link"] >> np.uint64(48)
        return {id_of(ref): count for ref, count in counts.items() if generations[id_of(ref)] == ref >> 16}

    def quiet(self, references: Sequence[int], *, idle_s: float, limit: int) -> Sequence[Waiting]:
        """At most ``limit`` open TCP connections of these backends whose clients have been silent for longer than that."""
        return self._flows.quiet(references, idle_s=idle_s, limit=limit)

    def connections(self) -> Mapping[int, Connected]:
        """The TCP connections of each backend that the tables have, by id."""
        live, full = self._connections.live(), self._connections.is_full()
        return {
            int(i): Connected(connections=int(live[i]), is_full=bool(full[i] and self._backends["is_limited"][i]))
            for i in np.flatnonzero(self._backends["state"])
        }

    def assignments(self) -> Mapping[Assigned, int]:
        """The backend reference of each source of a pool with private storage."""
        return self._assignments.read()

    def assign(self, changes: Mapping[Assigned, int | None]) -> None:
        """Give sources another backend (a reference), or none."""
        self._assignments.change(changes)

    def set_clock(self) -> None:
        """Tell the program how fast its clock goes, once that was measured: by a sweep."""
        hz = self.clock.known_hz
        if hz and hz != self.globals.read()["hz"]:
            self.globals.change(hz=hz)

    def flows(self, *, limit: int, references: Sequence[int] | None = None) -> Sequence[FlowEntry]:
        """At most ``limit`` live flows, in no order; those of these backends, or all."""
        return self._flows.entries(limit, references)

    def give_up(self, references: Sequence[int]) -> Sequence[Waiting]:
        """The TCP clients of these backends, whose flows end soon."""
        waiting = self._flows.give_up(references)
        self._connections.ended(self._by_id(Counter(client.backend for client in waiting if client.was_open)))
        return waiting

    # Links, memory --------------------------------------------------------------------------------------------

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
        """Kernel memory that the maps take."""
        return sum(memory_of(fd) for fd in self._maps.values())


_PER_CPU = ("lb_reasons", "lb_service_stats", "lb_backend_stats")


def pinned_vips(pins: Path) -> frozenset[IPv4Address]:
    """The VIPs that an earlier daemon left active; none if its tables are of another layout."""
    path = loader.pin_path("lb_vips", MAPS["lb_vips"], pins)
    if not path.exists():
        return frozenset()
    with bpf.opened_pin(path) as vips:
        keys = [batch for batch, _ in HashMap(vips, MAPS["lb_vips"]).batches()]
    return frozenset(IPv4Address(vip) for batch in keys for vip in batch.tolist())
