"""The real data plane: `Dataplane` over the pinned maps, programs and links. Each subject has a module of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lbctl.core.features import Features
from lbctl.core.model import Address, AttachMode
from lbctl.core.plan import (
    SetBackend,
    SetInterface,
    SetMembers,
    SetPool,
    SetService,
    SetSlots,
    SetSources,
    SetVip,
    SetWrongPorts,
    Step,
)
from lbctl.core.tables import Tables
from lbctl.dataplane import loader
from lbctl.dataplane.assignments import ASSIGNMENT_MAPS, Assignments
from lbctl.dataplane.backends import Backends
from lbctl.dataplane.clock import Clock
from lbctl.dataplane.counters import PER_CPU, CounterTables
from lbctl.dataplane.events import Events, Watch
from lbctl.dataplane.flows import FlowTables
from lbctl.dataplane.globals import Globals
from lbctl.dataplane.half_opens import HalfOpens
from lbctl.dataplane.interfaces import Interfaces
from lbctl.dataplane.layout import FLOW_MAPS
from lbctl.dataplane.links import Links
from lbctl.dataplane.loader import Loaded
from lbctl.dataplane.maps import HashMap, memory_of, shared_array, told
from lbctl.dataplane.moving import Mover, needs_ipv6
from lbctl.dataplane.objectfile import compile_source
from lbctl.dataplane.pools import POOL_MAPS, PoolTables
from lbctl.dataplane.port import (
    Assigned,
    Attachment,
    Claim,
    Connected,
    Counters,
    Event,
    FlowEntry,
    IdleLimits,
    Sweep,
    Waiting,
)
from lbctl.dataplane.services import Services
from lbctl.dataplane.sources import SOURCE_MAPS, SourceLists
from lbctl.dataplane.specialising import put_to_work, retire
from lbctl.dataplane.vips import VIP_MAPS, Numbers, Vips
from lbctl.errors import SystemRequirementError

SHARED = (
    *("lb_vip_filter", "lb_services", *POOL_MAPS, "lb_backends"),
    *("lb_connections", "lb_half_opens", "lb_handshake_times"),
)
"""The maps whose memory user space shares with the program."""


class KernelDataplane:
    """Maps, programs and links of one pin directory."""

    def __init__(self, loaded: Loaded, pins: Path, *, mover: Mover | None = None) -> None:
        """``mover`` took flows along into the maps, if somebody did."""
        self._pins = pins
        self.loaded = loaded
        self._mover = mover or Mover(loaded, pins)
        self._links = Links(pins, loaded)
        self.clock = Clock(loaded.programs[loader.CLOCK])
        self.globals = Globals(self._hash("lb_globals"))
        self._events = Events(loaded.maps["lb_events"], self.globals)
        self._open_tables()
        self._open_flows()

    def _open_tables(self) -> None:
        shared = {name: shared_array(self.loaded.maps[name], self.loaded.specs[name]) for name in SHARED}
        counted = {name: self.loaded.maps[name] for name in PER_CPU}
        numbers = Numbers()
        self._counters = CounterTables(counted, shared["lb_handshake_times"])
        self._interfaces = Interfaces(self._hash("lb_interfaces"), self._hash("lb_devices"))
        self._vips = Vips(self._hashes(VIP_MAPS), shared["lb_vip_filter"], numbers)
        self._services = Services(shared["lb_services"], numbers)
        self._sources = SourceLists(self._hashes(SOURCE_MAPS))
        self._pools = PoolTables({name: shared[name] for name in POOL_MAPS})
        self._backends = Backends(shared["lb_backends"], shared["lb_connections"], self._counters.begin_backend)
        self._connections = self._backends.counts
        self._half_opens = HalfOpens(shared["lb_half_opens"], now=self.clock.jiffies)
        self._assignments = Assignments(self._hashes(ASSIGNMENT_MAPS))

    def _open_flows(self) -> None:
        self._flow_maps = {name: self._hash(name) for name in FLOW_MAPS}
        self._flows = FlowTables(self._flow_maps, now=self.clock.jiffies, hz=lambda: self.clock.hz)

    def _hash(self, name: str) -> HashMap:
        return HashMap(self.loaded.maps[name], self.loaded.specs[name])

    def _hashes(self, names: Mapping[int, str]) -> Mapping[int, HashMap]:
        return {version: self._hash(name) for version, name in names.items()}

    # Tables ----------------------------------------------------------------------------------------------------------

    def read(self) -> Tables:
        """What the kernel holds now."""
        pools = self._pools.read()
        return Tables(
            interfaces=self._interfaces.read(),
            vips=self._vips.read(),
            services=self._services.read(),
            sources=self._sources.read(),
            pools=pools,
            backends=self._backends.read(),
            slots={i: self._pools.slots(pool) for i, pool in pools.items()},
            members={i: self._pools.members(i) for i in pools},
            freed=self._backends.freed(),
            drops_wrong_ports=bool(self.globals.read()["drops_wrong_ports"]),
        )

    def write(self, step: Step) -> None:
        """Carry out one step of a plan."""
        match step:
            case SetInterface():
                self._interfaces.write(step)
            case SetVip():
                self._vips.write(step)
            case SetService():
                self._write_service(step)
            case SetSources():
                self._sources.write(step)
            case SetPool():
                self._pools.write(step)
            case SetBackend():
                self._backends.write(step)
            case SetSlots():
                self._pools.write_slots(step)
            case SetMembers():
                self._pools.write_members(step)
            case SetWrongPorts():
                self.globals.change(drops_wrong_ports=step.after)

    def _write_service(self, step: SetService) -> None:
        """A new one begins with counters of nought."""
        if step.before is None and step.after is not None:
            self._counters.begin_service(step.after.id)
        self._services.write(step)

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
        generation = self.generation() + 1
        self.globals.change(generation=generation)
        return generation

    # What the program tells ------------------------------------------------------------------------------------------

    def counters(self, *, services: Sequence[int], backends: Sequence[int]) -> Counters:
        """The counters of all reasons and of the given ids."""
        return self._counters.read(services=services, backends=backends)

    def claims(self) -> Mapping[Address, Claim]:
        """The VIPs that another station said were its own."""
        return self._vips.claims()

    def watch(self, *, flows: bool, drops: bool) -> None:
        """Have the program tell of new flows and of drops from now on, or of neither. What was told before is forgotten."""
        self._events.watch((Watch.FLOWS if flows else Watch(0)) | (Watch.DROPS if drops else Watch(0)))

    def events(self) -> Sequence[Event]:
        """What it told since the last call, oldest first."""
        return self._events.read()

    @property
    def events_descriptor(self) -> int:
        """To wait on for events (poll, epoll): readable while there are some."""
        return self._events.descriptor

    # Flows, connections, assignments ---------------------------------------------------------------------------------

    def sweep(self, limits: IdleLimits) -> Sweep:
        """Delete idle flows, and those whose backend is no more; count the others. While a program with flow tables of its own
        may be at work, these say less of the connections than what it counts."""
        opened, is_whole = self._connections.opened(), not self._mover.is_needed
        found = self._flows.sweep(limits, self._backends.known)
        self._connections.ended(self._backends.by_id(found.ended))
        if is_whole:
            self._connections.settle(self._backends.by_id(found.open), opened_before=opened)
        self._half_opens.look()
        return found

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
        self._connections.ended(self._backends.by_id(Counter(client.backend for client in waiting if client.was_open)))
        return waiting

    def quiet(self, references: Sequence[int], *, idle_s: float, limit: int) -> Sequence[Waiting]:
        """At most ``limit`` open TCP connections of these backends whose clients have been silent for longer than that."""
        return self._flows.quiet(references, idle_s=idle_s, limit=limit)

    def connections(self) -> Mapping[int, Connected]:
        """The TCP connections of each backend that the tables have, by id."""
        return self._backends.connections()

    def half_open(self) -> Mapping[int, int]:
        """The TCP connections whose SYN went to a backend and whose first ACK may still come, by id, where there are any."""
        return self._half_opens.by_backend(self._backends.generations())

    def assignments(self) -> Mapping[Assigned, int]:
        """The backend reference of each source of a pool with private storage."""
        return self._assignments.read()

    def assign(self, changes: Mapping[Assigned, int | None]) -> None:
        """Give sources another backend (a reference), or none."""
        self._assignments.change(changes)

    # Programs, links, memory -----------------------------------------------------------------------------------------

    @property
    def features(self) -> Features:
        """What is compiled into the program."""
        return self.loaded.features

    def specialise(self, features: Features) -> None:
        """Put a program with these features behind every link, if the present one has others. IPv6 stays in as long as there
        are flows or VIPs of it."""
        wanted = replace(features, ipv6=features.ipv6 or needs_ipv6(self._pins))
        if wanted == self.features:
            return
        self.keep_pins()
        before, tables = self.loaded, self._flow_maps
        self.loaded = put_to_work(compile_source(features=wanted), before, self._links, self._pins)
        self._open_flows()
        for name, table in tables.items():
            if self.loaded.maps[name] != before.maps[name]:
                table.close_when_unused()
        self._mover = Mover(self.loaded, self._pins)
        self._take_flows_along()
        loader.remove_left_overs(self._pins, self.loaded.specs)
        retire(before, self.loaded)

    def verified_instructions(self) -> Mapping[str, int]:
        """How many instructions the verifier walked through, by program."""
        return {name: told(program, "verified_insns") for name, program in self.loaded.programs.items()}

    def attach(self, ifindex: int, mode: AttachMode) -> Attachment:
        """Put the program on an interface, or behind the link that is there already, where it takes over the flows."""
        self.keep_pins()
        self._interfaces.renew(ifindex)
        self._take_flows_along()
        attachment = self._links.attach(ifindex, mode)
        self._take_flows_along()
        return attachment

    def _take_flows_along(self) -> None:
        """Of the program that was at work until now; as many as there is room for."""
        with suppress(SystemRequirementError):
            self._mover.move()

    def keep_pins(self) -> bool:
        """Make all pins again that somebody removed, with their directory. Raises `LbctlError`."""
        maps = loader.pin_maps(self.loaded, self._pins)
        return self._links.keep() or maps

    def is_attached(self, ifindex: int) -> bool:
        """Whether the program is on an interface."""
        return self._links.is_attached(ifindex)

    def detach_others(self, keep: frozenset[int]) -> None:
        """Take the program off every interface that is not to be kept."""
        self._links.detach_others(keep)

    def memory_bytes(self) -> int:
        """Kernel memory that the maps take."""
        return sum(memory_of(fd) for fd in self.loaded.maps.values())
