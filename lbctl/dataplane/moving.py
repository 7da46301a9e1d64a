"""Takes live flows along when the file gives the flow tables another size: a map cannot grow, so there is another one.

The running program goes on with the old table until it is replaced. So flows are copied twice: before the new program runs,
which then knows (almost) all of them, and after it, for what the old one entered or noted meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.dataplane import bpf
from lbctl.dataplane.layout import FLOW_MAPS, MapSpec
from lbctl.dataplane.loader import Loaded, left_overs
from lbctl.dataplane.maps import HashMap
from lbctl.errors import SystemRequirementError


def move_flows(loaded: Loaded, pins: Path) -> int:
    """Copy the flows of tables of other sizes that the new tables do not have yet, or have of an earlier packet; returns how
    many. An error if they are more than fit: nothing was changed then for the running program."""
    moved = 0
    for name in FLOW_MAPS:
        fresh = HashMap(loaded.maps[name], loaded.specs[name])
        for old in _other_sizes(name, loaded.specs, pins):
            moved += _copy(name, old, fresh)
    return moved


def _other_sizes(name: str, specs: Mapping[str, MapSpec], pins: Path) -> Iterator[HashMap]:
    """Left-over tables that differ in nothing but their size."""
    for path in left_overs(pins, specs):
        kind, _, layout_id = path.name.partition("@")
        if kind != name:
            continue
        with bpf.opened_pin(path) as descriptor:
            spec = replace(specs[name], max_entries=bpf.map_info(descriptor).max_entries)
            if spec.layout_id == layout_id:
                yield HashMap(descriptor, spec)


def _copy(name: str, old: HashMap, fresh: HashMap) -> int:
    found = sum(len(keys) for keys, _ in old.batches())
    if found > fresh.max_entries:
        field = "tcp_flows" if "tcp" in name else "udp_flows"
        raise SystemRequirementError(
            f"{found} live flows do not fit a table of {fresh.max_entries}",
            hint=f"give director.{field} a larger number in the file; until then the running program goes on as it is",
        )
    known = _by_key(fresh)
    return sum(_copy_batch(keys, values, known, fresh) for keys, values in old.batches())


def _by_key(flows: HashMap) -> Mapping[bytes, bytes]:
    return {
        key.tobytes(): value.tobytes()
        for keys, values in flows.batches()
        for key, value in zip(keys, values, strict=True)
    }


def _copy_batch(keys: NDArray[Any], values: NDArray[Any], known: Mapping[bytes, bytes], fresh: HashMap) -> int:
    there = [known.get(key.tobytes()) for key in keys]
    is_new = np.array([value is None for value in there])
    held = np.array([np.frombuffer(value or bytes(values.itemsize), values.dtype)[0] for value in there], values.dtype)
    is_later = ~is_new & (held != values) & ((values["last_seen"] - held["last_seen"]).view(np.int32) >= 0)
    # picked up by the new program before it knew of it: perhaps elsewhere
    is_stray = ~is_new & (held["is_unproven"] != 0) & (held["backend"] != values["backend"])
    right = is_later | is_stray
    replaced = fresh.replace_unchanged(keys[right], held[right], values[right])
    return fresh.add_all(keys[is_new], values[is_new]) + int(replaced.sum())
