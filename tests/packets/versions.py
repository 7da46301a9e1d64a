"""Map layouts as another version of lbctl might have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lbctl.dataplane import loader
from lbctl.dataplane.layout import BACKEND, FLOW, MAPS, VIP
from lbctl.dataplane.loader import Loaded
from lbctl.dataplane.mapspec import MapSpec, struct
from tests.packets.rig import Rig


def with_values(**values: np.dtype[Any]) -> Mapping[str, MapSpec]:
    """All maps, these with other values; with another layout a map is another one to those that refer to it."""
    names = {_own_layout(MAPS[name]): name for name in values}

    def renewed(spec: MapSpec) -> MapSpec:
        refers_to = tuple(map(renewed, spec.refers_to))
        name = names.get(_own_layout(spec))
        return replace(spec, value=values[name] if name else spec.value, refers_to=refers_to)

    return {name: renewed(spec) for name, spec in MAPS.items()}


def _own_layout(spec: MapSpec) -> str:
    return replace(spec, refers_to=()).layout_id


OTHER_FLOW = struct(
    ("backend", "<u4"),
    ("service", "<u4"),
    ("last_seen", "<u4"),
    ("state", "<u4"),
    ("is_unproven", "<u4"),
    ("next", "<u4"),
    ("next_wraps", "<u4"),
    ("acked", "<u4"),
    ("is_marked", "<u8"),
)
"""Fields in other places, some wider, some gone, one new."""
OTHER_BACKEND = struct(
    ("color", "<u8"), *((name, *_) for name, *_ in BACKEND.descr if name != "pad"), ("tail", "u1", 6)
)
OTHER_VIP = struct(*((name, *_) for name, *_ in VIP.descr if name != "pad"), ("tail", "<u8"))
VIPS = ("lb_vips4", "lb_vips6")
FLOWS = ("lb_flows_tcp4", "lb_flows_udp4", "lb_flows_tcp6", "lb_flows_udp6")


def other_flows() -> Mapping[str, MapSpec]:
    """All flow tables of another layout."""
    assert OTHER_FLOW.itemsize >= FLOW.itemsize  # or the program, which is not run on them, could not be loaded
    return with_values(**dict.fromkeys(FLOWS, OTHER_FLOW))


def other_backends() -> Mapping[str, MapSpec]:
    """Backends of another layout, and so another map of all that refers to them."""
    return with_values(lb_backends=OTHER_BACKEND)


def put_to_work(loaded: Loaded, rig: Rig) -> None:
    """As a daemon does whose links are there."""
    loader.pin_programs(loaded, rig.pins)
    loader.pin_ingress(loaded, rig.pins)
