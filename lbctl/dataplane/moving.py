"""Takes live flows along when the file gives the flow tables another size, or another version another layout: a map cannot
change, so there is another one.

The running program goes on with the old table until it is replaced. So flows are copied several times: first all of them, which
takes a while; then, right before the new program runs, those of that while, so that it knows (almost) all; and right after it
what the old one entered or noted in between. So are the assignments that it made.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.dataplane import bpf
from lbctl.dataplane.assignments import ASSIGNMENT_MAPS
from lbctl.dataplane.carrying import converted, fault_of
from lbctl.dataplane.clock import Clock
from lbctl.dataplane.descriptions import recognised
from lbctl.dataplane.layout import FLOW_MAPS, MAPS, FlowState
from lbctl.dataplane.loader import CLOCK, Loaded, left_overs, pin_path
from lbctl.dataplane.maps import HashMap
from lbctl.dataplane.mapspec import MapSpec, MapType
from lbctl.dataplane.vips import pinned_vips
from lbctl.errors import SystemRequirementError

_LOOKS = 8
"""At a flow that goes on changing: each packet changes it at most once a tick, and soon it is known as later."""
FLOW_MAPS_6 = tuple(name for name in FLOW_MAPS if name.endswith("6"))


class Mover:
    """Takes along what left-over tables hold that ``loaded`` has others for, as often as it is asked: at first all, then what
    there was since. What was taken along once and is gone by now stays away."""

    def __init__(self, loaded: Loaded, pins: Path) -> None:
        self.loaded = loaded
        self._pins = pins
        self._clock = Clock(loaded.programs[CLOCK])
        self._since: int | None = None
        self._assigned: set[tuple[str, bytes]] = set()

    @property
    def is_needed(self) -> bool:
        """Whether there are such tables of flows: perhaps another program is at work with them."""
        specs = self.loaded.specs
        return any(set(self._pins.glob(f"{name}@*")) - {pin_path(name, specs[name], self._pins)} for name in FLOW_MAPS)

    def move(self) -> int:
        """Copy the flows that the new tables do not have yet, or have of an earlier packet; returns how many. An error if some
        of a table do not fit: what does was copied then. For the running program nothing changes."""
        left = self._left_overs()
        if not left:
            return 0
        began = self._clock.jiffies() - 1  # a packet may be dated before, and noted after we looked
        moved, fault = 0, None
        for name in FLOW_MAPS:
            try:
                moved += self._move_flows(name, left)
            except SystemRequirementError as error:
                fault = fault or error
        for name in ASSIGNMENT_MAPS.values():
            self._move_assignments(name, left)
        if fault:
            raise fault
        self._since = began
        return moved

    def _left_overs(self) -> frozenset[str]:
        return frozenset(path.name for path in left_overs(self._pins, self.loaded.specs))

    def _others(self, name: str, left: Set[str]) -> Iterator[HashMap]:
        """Left-over tables whose entries mean in the new tables what they meant."""
        if name in self.loaded.lost:
            return iter(())
        return _readable(name, self.loaded.specs[name], self._pins, among=left)

    def _fresh(self, name: str) -> HashMap:
        return HashMap(self.loaded.maps[name], self.loaded.specs[name])

    def _move_flows(self, name: str, left: Set[str]) -> int:
        return sum(_copy(name, old, self._fresh(name), since=self._since) for old in self._others(name, left))

    def _move_assignments(self, name: str, left: Set[str]) -> None:
        fresh = self._fresh(name)
        for old in self._others(name, left):
            for keys, values in old.batches():
                found = [(name, key.tobytes()) for key in keys]
                is_new = np.array([key not in self._assigned for key in found])
                fresh.add_all(converted(keys[is_new], fresh.key), converted(values[is_new], fresh.value))
                self._assigned.update(found)


def move_flows(loaded: Loaded, pins: Path) -> int:
    """Once, and all, as `Mover.move`."""
    return Mover(loaded, pins).move()


def needs_ipv6(pins: Path) -> bool:
    """Whether there are IPv6 flows or VIPs to go on with, whatever the file says now."""
    return any(vip.version == 6 for vip in pinned_vips(pins)) or any(
        any(True for _ in flows.batches()) for name in FLOW_MAPS_6 for flows in _readable(name, MAPS[name], pins)
    )


def price(loaded: Loaded, pins: Path) -> tuple[str, ...]:
    """What an upgrade cost, a line for people each: flows in left-over tables that could not be taken along. Before these are
    removed."""
    counts: Counter[str] = Counter()
    others = {path.name for path in left_overs(pins, loaded.specs)}
    for name in (name for name in FLOW_MAPS if name in loaded.lost):
        for path in pins.glob(f"{name}@*"):
            if path.name in others:
                counts[loaded.lost[name]] += _count(path)
    return tuple(
        f"{'1 flow was' if count == 1 else f'{count:,} flows were'} begun by another version and could not be taken along: "
        f"{why}. Each is picked up at its next packet, mostly by the server that it had"
        for why, count in counts.items()
        if count
    )


def _count(path: Path) -> int:
    """The entries of a table of whatever layout."""
    with bpf.opened_pin(path) as descriptor:
        info = bpf.map_info(descriptor)
        raw = MapSpec(
            type=MapType(info.type),
            key=np.dtype(f"V{info.key_size}"),
            value=np.dtype(f"V{info.value_size}"),
            max_entries=info.max_entries,
        )
        return sum(len(keys) for keys, _ in HashMap(descriptor, raw).batches())


def _readable(name: str, spec: MapSpec, pins: Path, *, among: Set[str] | None = None) -> Iterator[HashMap]:
    """Pinned tables of this name, of whatever size and layout that can be told."""
    for path, found in recognised(name, spec, pins):
        if found is None or fault_of(found, spec) or (among is not None and path.name not in among):
            continue
        with bpf.opened_pin(path) as descriptor:
            yield HashMap(descriptor, found)


def _copy(name: str, old: HashMap, fresh: HashMap, *, since: int | None) -> int:
    """``since`` (jiffies): those that had a packet from then on; else all, or none if they are too many."""
    found = sum(len(keys) for keys, _ in old.batches()) if since is None else 0
    if found > fresh.max_entries:
        raise _too_many(found, name, fresh)
    moved = lacking = 0
    for keys, values in old.batches():
        is_asked = np.full(len(keys), True) if since is None else _is_recent(converted(values, fresh.value), since)
        copied, without_room = _copy_batch(converted(keys[is_asked], fresh.key), values[is_asked], fresh)
        moved, lacking = moved + copied, lacking + without_room
    if lacking:
        raise _too_many(lacking, name, fresh)
    return moved


def _is_recent(flows: NDArray[Any], since: int) -> NDArray[np.bool_]:
    """Which flows had a packet from then on (jiffies, which wrap); shape (n,)."""
    is_recent: NDArray[np.bool_] = (flows["last_seen"] - np.uint32(since & 0xFFFFFFFF)).view(np.int32) >= 0
    return is_recent


def _too_many(count: int, name: str, fresh: HashMap) -> SystemRequirementError:
    field = "tcp_flows" if "tcp" in name else "udp_flows"
    return SystemRequirementError(
        f"{count} live flows do not fit a table of {fresh.max_entries}",
        hint=f"give director.{field} a larger number in the file; until then the running program goes on as it is",
    )


def _copy_batch(keys: NDArray[Any], found: NDArray[Any], fresh: HashMap) -> tuple[int, int]:
    """``found`` are the values in the old table's layout. What the new program changes while it is looked at is looked at
    again. Returns how many were copied, and for how many there was no room."""
    outcomes = fresh.add_all(keys, converted(found, fresh.value))
    moved, lacking, left = int((outcomes == 0).sum()), int((outcomes == errno.E2BIG).sum()), outcomes == errno.EEXIST
    for _ in range(_LOOKS):
        keys, found = keys[left], found[left]
        if not len(keys):
            break
        is_here, held = fresh.find_all(keys)
        values = _with_what_is_new(converted(found, fresh.value), held, found.dtype)
        is_changed, wanted = merged(held, values)
        is_changed &= is_here  # else the new program has given it up
        is_written = fresh.replace_unchanged(keys[is_changed], held[is_changed], wanted[is_changed])
        moved += int(is_written.sum())
        left = is_changed.copy()
        left[is_changed] = ~is_written
    return moved, lacking


def _with_what_is_new(values: NDArray[Any], held: NDArray[Any], layout: np.dtype[Any]) -> NDArray[Any]:
    """``values`` came from this ``layout``: what only the new program knows is as it holds it."""
    for name in set(values.dtype.names or ()) - set(layout.names or ()):
        values[name] = held[name]
    return values


def merged(held: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Flows as the new program holds them and as the old one left them: which are to change, and into what; shapes (n,)."""
    is_later = (held != values) & _is_later(held, values)
    # picked up by the new program before it knew of it: perhaps elsewhere
    is_stray = (held["is_unproven"] != 0) & (held["backend"] != values["backend"])
    is_changed, wanted = is_later | is_stray, values.copy()
    wanted["state"][is_stray & (held["state"] == FlowState.CLOSING)] = FlowState.CLOSING
    is_over = ~is_changed & _ended_before(held, values)
    wanted[is_over] = held[is_over]
    wanted["state"][is_over] = FlowState.CLOSING
    return is_changed | is_over, wanted


def _is_later(held: NDArray[Any], values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which flows the old program saw last; within one tick of the clock: had come further with. Shape (n,)."""
    ages = _steps(held, values, "last_seen")
    is_further = (_steps(held, values, "next") >= 0) & (_steps(held, values, "acked") >= 0)
    is_further &= values["state"] >= held["state"]
    is_later: NDArray[np.bool_] = (ages > 0) | ((ages == 0) & is_further)
    return is_later


def _steps(held: NDArray[Any], values: NDArray[Any], name: str) -> NDArray[np.int32]:
    """From what is held to these; both wrap. Shape (n,)."""
    steps: NDArray[np.int32] = (values[name] - held[name]).astype(np.uint32).view(np.int32)
    return steps


def _ended_before(held: NDArray[Any], values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which clients said FIN to the old program, and to the new one only that they had the server's: nothing comes after a
    FIN, so their position is the same. Shape (n,)."""
    is_over: NDArray[np.bool_] = held["next"] == values["next"]
    is_over &= (held["state"] == FlowState.OPEN) & (values["state"] == FlowState.CLOSING)
    return is_over
