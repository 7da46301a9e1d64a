"""Another program of the same source: the parts that are needed now compiled in, the others out. All tables stay, but for those
of IPv6 flows, which have no room while IPv6 is out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from lbctl.core.features import Features
from lbctl.dataplane.layout import FLOW_MAPS
from lbctl.dataplane.links import Links
from lbctl.dataplane.loader import CLOCK, TAILS, Loaded, left_overs, load_programs, open_map
from lbctl.dataplane.mapspec import MapSpec
from lbctl.dataplane.moving import FLOW_MAPS_6, move_flows
from lbctl.dataplane.objectfile import ObjectFile
from lbctl.errors import LbctlError


def put_to_work(source: ObjectFile, before: Loaded, links: Links, pins: Path) -> Loaded:
    """Load programs of other features beside those that are at work, and put them behind every link. If that cannot be, those
    before go on, and the error is raised."""
    specs = _specs_for(source.features, before.specs)
    fresh = {name: open_map(name, specs[name], pins)[0] for name in FLOW_MAPS if specs[name] != before.specs[name]}
    loaded = before
    try:
        loaded = _load_beside(before, source, specs, fresh)
        move_flows(loaded, pins)
        links.replace(loaded)
    except LbctlError:
        if loaded is not before:
            retire(loaded, before)
        _close(fresh.values())
        for path in left_overs(pins, before.specs):
            path.unlink()
        raise
    return loaded


def _specs_for(features: Features, specs: Mapping[str, MapSpec]) -> Mapping[str, MapSpec]:
    """The maps that programs of these features have: IPv6 flows have as much room as those of IPv4, or none."""
    sizes = {name: specs[name.replace("6", "4")].max_entries if features.ipv6 else 1 for name in FLOW_MAPS_6}
    return {**specs, **{name: replace(specs[name], max_entries=size) for name, size in sizes.items()}}


def _load_beside(before: Loaded, source: ObjectFile, specs: Mapping[str, MapSpec], fresh: Mapping[str, int]) -> Loaded:
    """The clock, which uses no map, goes on."""
    programs = {name: program for name, program in source.programs.items() if name != CLOCK}
    maps = {**before.maps, **fresh}
    loaded = load_programs(replace(source, programs=programs), specs, maps, adopted=before.adopted)
    return replace(loaded, programs={**loaded.programs, CLOCK: before.programs[CLOCK]}, lost=before.lost)


def retire(before: Loaded, after: Loaded) -> None:
    """Close what is used no more, but for flow tables: a sweep in another thread may be at one."""
    programs = set(before.programs.values()) - set(after.programs.values())
    _close({*programs, before.maps[TAILS]})


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
