"""Carries what another version's tables hold over into this one's, field by field.

A map whose layout changed is made anew, and so is every map whose entries name rows of it by number. What they hold goes along,
rows under the same numbers, so that flows, slots and assignments go on to mean the servers that they meant:

- a field keeps its value under the same name, if it has room for it; one that is gone is left behind;
- a field that is new begins at zero: what ``ebpf/types.h`` adds must take zero for "as before";
- a map whose key has other fields, that has too little room, or of which nobody knows the layout, begins empty, and with it all
  that refers to it. The daemon then writes what the file says; what is lost are flows, and that is told.

The old maps stay as they are, for the program that is at work goes on with them. Counters begin at nought. Flows are copied in
`moving`, twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.dataplane import bpf, rows
from lbctl.dataplane.descriptions import pins_of, recognised
from lbctl.dataplane.layout import FLOW_MAPS
from lbctl.dataplane.maps import HashMap, shared_array
from lbctl.dataplane.mapspec import MMAPABLE, MapSpec, MapType
from lbctl.errors import KernelError

_PADDING = "pad"


def converted(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The same entries in another layout; shape (n,)."""
    if dtype.names is None:
        return values.astype(dtype)
    fresh = np.zeros(values.shape, dtype)
    for name in _common(values.dtype, dtype):
        fresh[name] = values[name]
    return fresh


def fault_of(old: MapSpec, new: MapSpec) -> str:
    """Why entries cannot be carried over from one layout to another; empty: they can."""
    if old.type is not new.type:
        return "it was another kind of map"
    if _fields(old.key) != _fields(new.key):
        return "its key had other fields"
    if (old.value.names is None) != (new.value.names is None):
        return "its entries had no fields" if old.value.names is None else "its entries have no fields any more"
    return next((fault for fault in _field_faults(old.value, new.value) if fault), "")


def carry_over(
    fresh: Mapping[str, int], specs: Mapping[str, MapSpec], pins: Path, *, at_work: int
) -> Mapping[str, str]:
    """Fill maps that were just made (descriptors by name) from those of other layouts that are pinned; if there are several,
    from that of the program ``at_work`` (its id). Returns the maps whose entries could not be carried over, and why."""
    used = pins_of(at_work, pins)
    old = {name: _source(name, specs[name], pins, used) for name in (*CARRIED, *FLOW_MAPS) if name in fresh}
    lost = {name: why for name in old if (why := _why_lost(name, old, specs))}
    for name, carry in CARRIED.items():
        source = old.get(name)
        if source is None or source[1] is None or name in lost:
            continue
        with bpf.opened_pin(source[0]) as descriptor:
            carry(_Side(descriptor, source[1]), _Side(fresh[name], specs[name]))
    return lost


_Source = tuple[Path, MapSpec | None] | None


def _source(name: str, spec: MapSpec, pins: Path, used: frozenset[str]) -> _Source:
    """The pinned table to carry over from: if there are several, that of the program at work, else one that can be read."""
    found = list(recognised(name, spec, pins))
    found.sort(key=lambda pair: (pair[0].name not in used, pair[1] is None))
    return found[0] if found else None


def _why_lost(name: str, old: Mapping[str, _Source], specs: Mapping[str, MapSpec]) -> str:
    source = old.get(name)
    if source is None:  # it was adopted, or there was none
        return ""
    path, was = source
    if was is None:
        return "that version left no description of its tables"
    fault = fault_of(was, specs[name]) or _too_much(path, was, specs[name])
    if fault:
        return f"{name}: {fault}"
    kin = [other for other, spec in specs.items() if spec in specs[name].refers_to]
    return next((why for other in kin if (why := _why_lost(other, old, specs))), "")


def _too_much(path: Path, was: MapSpec, spec: MapSpec) -> str:
    """What has no room: rows beyond the new end, numbers in narrower fields. (How many flows there are `moving` sees to.)"""
    narrower = [name for name in _common(was.value, spec.value) if spec.value[name].itemsize < was.value[name].itemsize]
    is_shorter = spec.type is MapType.ARRAY and was.max_entries > spec.max_entries
    if not narrower and not is_shorter:
        return ""
    with bpf.opened_pin(path) as descriptor:
        values = _Side(descriptor, was).all()
    if is_shorter and len(_taken(values[spec.max_entries :])):
        return f"there is room for {spec.max_entries} entries only"
    fresh = converted(values, spec.value)
    return next((f"{name} had larger numbers" for name in narrower if (fresh[name] != values[name]).any()), "")


def _taken(values: NDArray[Any]) -> NDArray[np.intp]:
    """The rows that are not all zeros."""
    raw = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
    return np.flatnonzero(raw.any(axis=1))


class _Side:
    """One of two maps of the same name."""

    def __init__(self, descriptor: int, spec: MapSpec) -> None:
        self.descriptor = descriptor
        self.spec = spec
        self.entries = HashMap(descriptor, spec)

    def rows(self) -> NDArray[Any]:
        """Of an array, all rows' values, shape (max_entries,)."""
        if self.spec.flags & MMAPABLE:
            return shared_array(self.descriptor, self.spec)
        values = np.zeros(self.spec.max_entries, self.spec.value)
        for keys, batch in self.entries.batches():
            values[keys] = batch
        return values

    def all(self) -> NDArray[Any]:
        """Every entry's value, of whatever kind of map; of an array as `rows`."""
        if self.spec.type is MapType.ARRAY:
            return self.rows()
        return np.concatenate([np.zeros(0, self.spec.value), *(values for _, values in self.entries.batches())])


def _by_row(old: _Side, new: _Side) -> None:
    """Rows keep their numbers."""
    values = converted(old.rows()[: new.spec.max_entries], new.spec.value)
    if new.spec.flags & MMAPABLE:
        new.rows()[: len(values)] = values
        return
    taken = _taken(values)
    if len(taken):
        new.entries.set_all(taken.astype(new.spec.key), values[taken])


def _by_hash(old: _Side, new: _Side) -> None:
    """Rows whose numbers are hashes mean something in a table of the same size only; else they begin empty."""
    if old.spec.max_entries == new.spec.max_entries:
        _by_row(old, new)


def _by_key(old: _Side, new: _Side) -> None:
    for keys, values in old.entries.batches():
        new.entries.set_all(converted(keys, new.spec.key), converted(values, new.spec.value))


def _by_place(old: _Side, new: _Side) -> None:
    """Services stand where this version looks for them."""
    services, found = new.rows(), converted(old.rows(), new.spec.value)
    for row in np.flatnonzero(found["key"]).tolist():
        place = rows.service_place(services["key"], int(found["key"][row]))
        if place is None:
            raise KernelError("no room in lb_services for what the version before had there")
        services[place] = found[row]


_Carry = Callable[[_Side, _Side], None]
CARRIED: Mapping[str, _Carry] = {
    **dict.fromkeys(("lb_globals", "lb_pools", "lb_slots", "lb_backends", "lb_members", "lb_connections"), _by_row),
    **dict.fromkeys(("lb_half_opens", "lb_fragments"), _by_hash),
    **dict.fromkeys(("lb_vips4", "lb_vips6", "lb_assignments4", "lb_assignments6"), _by_key),
    **dict.fromkeys(("lb_sources4", "lb_sources6"), _by_key),
    "lb_services": _by_place,
}
"""How each map is carried over. The others hold what the daemon makes anew before its program is at work, or counters."""


def _common(old: np.dtype[Any], new: np.dtype[Any]) -> list[str]:
    return [name for name in new.names or () if name in (old.names or ()) and name != _PADDING]


def _fields(dtype: np.dtype[Any]) -> dict[str, tuple[tuple[int, ...], str, int]]:
    """Shape, kind and size of each field, whatever its place."""
    if dtype.fields is None:
        return {"": _essence(dtype)}
    return {name: _essence(field) for name, (field, *_) in dtype.fields.items() if name != _PADDING}


def _essence(dtype: np.dtype[Any]) -> tuple[tuple[int, ...], str, int]:
    return dtype.shape, dtype.base.kind, dtype.base.itemsize


def _field_faults(old: np.dtype[Any], new: np.dtype[Any]) -> list[str]:
    before, after = _fields(old), _fields(new)
    return [_field_fault(name, before[name], after[name]) for name in after if name in before]


def _field_fault(name: str, before: tuple[tuple[int, ...], str, int], after: tuple[tuple[int, ...], str, int]) -> str:
    is_same = before[:2] == after[:2]
    return "" if is_same else f"the field {name} was of another kind" if name else "its entries were of another kind"
