"""What the maps of a program look like, kept where its pins are: so that another version can read what they hold.

A pin's name has a hash of its layout, from which nobody can tell the fields. So every program that is put to work leaves a
description of its maps in a map of its own, pinned as ``lb_layouts@<id of that lb_ingress>``: one value, which is JSON. (A
bpffs holds no files, and a state directory may be another one at the next start.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lbctl.dataplane import bpf
from lbctl.dataplane.mapspec import MapSpec, MapType
from lbctl.errors import KernelError

LAYOUTS = "lb_layouts"
_BYTE, _ROW = np.dtype("u1"), np.dtype("<u4")


def keep_descriptions(specs: Mapping[str, MapSpec], path: Path) -> None:
    """Pin a description of these maps."""
    text = np.frombuffer(json.dumps({name: _described(spec) for name, spec in specs.items()}).encode(), _BYTE)
    made = bpf.create_map(LAYOUTS, type=MapType.ARRAY, key_size=4, value_size=text.size, max_entries=1, flags=0)
    try:
        bpf.update(made, np.zeros(1, _ROW), text)
        bpf.pin(made, path)
    finally:
        os.close(made)


def described_pins(pins: Path) -> Mapping[str, MapSpec]:
    """By the pin's name, the maps that programs left a description of."""
    found: dict[str, MapSpec] = {}
    for path in sorted(pins.glob(f"{LAYOUTS}@*")):
        found |= _read(path)
    return found


def pins_of(program: int, pins: Path) -> frozenset[str]:
    """The names of the pins that a program works with, if it left a description."""
    path = pins / f"{LAYOUTS}@{program}"
    return frozenset(_read(path)) if path.exists() else frozenset()


def recognised(name: str, spec: MapSpec, pins: Path) -> Iterator[tuple[Path, MapSpec | None]]:
    """Every pinned table of this name with what it looks like: by a description, or because it differs from ``spec`` in
    nothing but its size. ``None`` if nobody can tell."""
    described = described_pins(pins)
    for path in sorted(pins.glob(f"{name}@*")):
        with bpf.opened_pin(path) as descriptor:
            info = bpf.map_info(descriptor)
        resized = replace(spec, max_entries=info.max_entries)
        found = resized if path.name == f"{name}@{resized.layout_id}" else described.get(path.name)
        is_true = found is not None and (found.type, found.max_entries) == (info.type, info.max_entries)
        is_true = is_true and found is not None and found.key.itemsize == info.key_size
        yield path, found if is_true else None


def _read(path: Path) -> Mapping[str, MapSpec]:
    """A description that cannot be understood describes nothing."""
    try:
        with bpf.opened_pin(path) as descriptor:
            value = np.zeros(bpf.map_info(descriptor).value_size, _BYTE)
            bpf.lookup(descriptor, np.zeros(1, _ROW), value)
        return {f"{name}@{row['id']}": _spec(row) for name, row in json.loads(value.tobytes()).items()}
    except (KernelError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _described(spec: MapSpec) -> dict[str, Any]:
    return {
        "id": spec.layout_id,
        "type": int(spec.type),
        "flags": spec.flags,
        "max_entries": spec.max_entries,
        "key": np.lib.format.dtype_to_descr(spec.key),
        "value": np.lib.format.dtype_to_descr(spec.value),
    }


def _spec(row: Mapping[str, Any]) -> MapSpec:
    return MapSpec(
        type=MapType(row["type"]),
        key=_dtype(row["key"]),
        value=_dtype(row["value"]),
        max_entries=int(row["max_entries"]),
        flags=int(row["flags"]),
    )


def _dtype(description: Any) -> np.dtype[Any]:
    if isinstance(description, str):
        return np.dtype(description)
    return np.dtype([(name, form, *map(tuple, shape)) for name, form, *shape in description])
