"""Takes live flows along when the file gives the flow tables another size, or another version another layout: a map cannot
change, so there is another one.

The running program goes on with the old table until it is replaced. So flows are copied twice: before the new program runs,
which then knows (almost) all of them, and after it, for what the old one entered or noted meanwhile. So are the assignments
that it made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.dataplane import bpf
from lbctl.dataplane.assignments import ASSIGNMENT_MAPS
from lbctl.dataplane.carrying import converted, fault_of
from lbctl.dataplane.descriptions import recognised
from lbctl.dataplane.layout import FLOW_MAPS, MAPS, FlowState
from lbctl.dataplane.loader import Loaded, left_overs
from lbctl.dataplane.maps import HashMap
from lbctl.dataplane.mapspec import MapSpec, MapType
from lbctl.dataplane.vips import pinned_vips
from lbctl.errors import SystemRequirementError

_LOOKS = 8
"""At a flow that goes on changing: each packet changes it at most once a tick, and soon it is known as later."""
FLOW_MAPS_6 = tuple(name for name in FLOW_MAPS if name.endswith("6"))


def move_flows(loaded: Loaded, pins: Path) -> int:
    """Copy the flows of other tables that the new tables do not have yet, or have of an earlier packet; returns how many. An
    error if they are more than fit: nothing was changed then for the running program."""
    moved = 0
    for name in FLOW_MAPS:
        fresh = HashMap(loaded.maps[name], loaded.specs[name])
        for old in _others(name, loaded, pins):
            moved += _copy(name, old, fresh)
    for name in ASSIGNMENT_MAPS.values():
        spec = loaded.specs[name]
        for old in _others(name, loaded, pins):
            for keys, values in old.batches():
                HashMap(loaded.maps[name], spec).add_all(converted(keys, spec.key), converted(values, spec.value))
    return moved


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


def _others(name: str, loaded: Loaded, pins: Path) -> Iterator[HashMap]:
    """Left-over tables whose entries mean in the new tables what they meant."""
    if name in loaded.lost:
        return iter(())
    return _readable(name, loaded.specs[name], pins, among={path.name for path in left_overs(pins, loaded.specs)})


def _readable(name: str, spec: MapSpec, pins: Path, *, among: Set[str] | None = None) -> Iterator[HashMap]:
    """Pinned tables of this name, of whatever size and layout that can be told."""
    for path, found in recognised(name, spec, pins):
        if found is None or fault_of(found, spec) or (among is not None and path.name not in among):
            continue
        with bpf.opened_pin(path) as descriptor:
            yield HashMap(descriptor, found)


def _copy(name: str, old: HashMap, fresh: HashMap) -> int:
    found = sum(len(keys) for keys, _ in old.batches())
    if found > fresh.max_entries:
        field = "tcp_flows" if "tcp" in name else "udp_flows"
        raise SystemRequirementError(
            f"{found} live flows do not fit a table of {fresh.max_entries}",
            hint=f"give director.{field} a larger number in the file; until then the running program goes on as it is",
        )
    return sum(_copy_batch(converted(keys, fresh.key), values, fresh) for keys, values in old.batches())


def _copy_batch(keys: NDArray[Any], found: NDArray[Any], fresh: HashMap) -> int:
    """``found`` are the values in the old table's layout. What the new program changes while it is looked at is looked at
    again."""
    is_added = fresh.add_all(keys, converted(found, fresh.value))
    moved, left = int(is_added.sum()), ~is_added
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
    return moved


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
