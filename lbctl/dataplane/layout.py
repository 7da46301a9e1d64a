"""The one mirror of ``ebpf/types.h``: dtypes of keys and values, and each map's type, flags and size.

`verify` holds it against what the compiler derived. Addresses and ports are big-endian as on the wire; all else is
little-endian, as on every machine that lbctl runs on (`sys.byteorder` is checked by the loader).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np

from lbctl.errors import LayoutError

INTERFACES = 256
HALF_OPENS = 65_536
FRAGMENTS = 16_384
FILTER_WORDS = 1_024
VIPS = 4_096
SERVICES = 4_096
"""Rows of counters; ids from 1."""
SERVICE_ROWS = 32_768
SERVICE_PROBES = 8
POOLS = 1_024
MEMBERS = 256
"""Rows of ``lb_members`` for each pool: so many of its backends are asked for room when a slot's owner has none."""
ASSIGNMENTS = 65_536
PURPOSES = 2
"""Rows of ``lb_budgets`` for each service id, by ``enum lb_purpose``; service 0 is the director itself."""
BACKENDS = 16_384
SLOTS = 2_097_152
FLOWS_TCP4 = 131_072
FLOWS_UDP4 = 65_536


class FlowState(IntEnum):
    """``enum lb_flow_state``."""

    OPEN = 0
    CLOSING = 1
    RESET = 2


class Reason(IntEnum):
    """``enum lb_reason``: one value for each way a packet can leave."""

    NOT_VIP = 0
    OTHER_MAC = 1
    ESTABLISHED = 2
    FIRST_ACK = 3
    SYN = 4
    REUSED_PORT = 5
    PICKED_UP = 6
    UNTRACKED = 7
    OVER_BUDGET = 8
    UDP_ESTABLISHED = 9
    UDP_NEW = 10
    FRAGMENT = 11
    ICMP_ERROR = 12
    ARP_REPLY = 13
    PING_REPLY = 14
    WRONG_PORT = 15
    RESET = 16
    TURNED_AWAY = 17
    NO_SERVICE = 18
    EMPTY = 19
    NO_BACKEND = 20
    DEAD = 21
    UNRESOLVED = 22
    LOOP_OWN = 23
    LOOP_BACKEND = 24
    LOST_FRAGMENT = 25
    MALFORMED = 26
    ICMP_UNKNOWN = 27


class MapType(IntEnum):
    """``enum bpf_map_type``, as far as it is used."""

    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6


MMAPABLE = 1 << 10
"""``BPF_F_MMAPABLE``."""


def struct(*fields: tuple[str, str] | tuple[str, str, int]) -> np.dtype[Any]:
    """A dtype without implicit padding: in types.h all padding is explicit."""
    return np.dtype(list(fields))


INDEX = np.dtype("<u4")
WORD = np.dtype("<u8")
GLOBALS = struct(("seed", "<u8"), ("generation", "<u8"), ("hz", "<u4"), ("drops_wrong_ports", "<u4"))
BUDGET = struct(("tokens", "<u4"), ("refilled", "<u4"))
INTERFACE = struct(("mac", "<u8"), ("ifindex", "<u4"), ("address", ">u4"))
VIP_KEY = np.dtype(">u4")
VIP = struct(("ifindex", "<u4"))
SERVICE = struct(("key", "<u8"), ("id", "<u2"), ("pool", "<u2"), ("pad", "<u4"))
POOL = struct(
    ("table", "<u8"),
    ("identity", "<u8"),
    ("members", "<u4"),
    ("on_empty", "u1"),
    ("is_private", "u1"),
    ("pad", "<u2"),
)
BACKEND = struct(
    ("link", "<u8"), ("address", ">u4"), ("state", "u1"), ("is_limited", "u1"), ("pad", "u1", 2), ("identity", "<u8")
)
CONNECTIONS = struct(
    ("opened", "<u8"),
    ("pending", "<u8", 2),
    ("corrected", "<u4"),
    ("limit", "<u4"),
    ("resume", "<u4"),
    ("is_full", "<u4"),
)
CANDIDATE = struct(("ref", "<u4"), ("room", "<u4"))
ASSIGNMENT_KEY = struct(("client", ">u4"), ("pool", "<u4"))
FLOW_KEY4 = struct(("client", ">u4"), ("vip", ">u4"), ("client_port", ">u2"), ("vip_port", ">u2"), ("pad", "<u4"))
FLOW = struct(
    ("backend", "<u4"),
    ("last_seen", "<u4"),
    ("service", "<u2"),
    ("state", "u1"),
    ("is_unproven", "u1"),
    ("acked", ">u4"),
    ("next", "<u4"),
    ("spare", "<u4"),
)
COUNTER = struct(("packets", "<u8"), ("bytes", "<u8"))
SERVICE_STATS = struct(("packets", "<u8"), ("bytes", "<u8"), ("connections", "<u8"))
BACKEND_STATS = struct(("packets", "<u8"), ("bytes", "<u8"), ("connections", "<u8"), ("returned", "<u8"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSpec:
    """One map: what ``ebpf/maps.h`` declares, and the number of entries it is created with.

    ``refers_to`` are the maps whose rows its entries name by number: with other rows, they would mean something else."""

    type: MapType
    key: np.dtype[Any]
    value: np.dtype[Any]
    max_entries: int
    flags: int = 0
    refers_to: tuple[MapSpec, ...] = ()

    @property
    def layout_id(self) -> str:
        """Eight hex digits of everything that must agree before a pinned map may be used again."""
        text = repr((int(self.type), self.flags, self.max_entries, fields_of(self.key), fields_of(self.value)))
        text += f" {self.key.itemsize} {self.value.itemsize}" + "".join(f" {m.layout_id}" for m in self.refers_to)
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


_Specs = tuple[MapSpec, ...]


def _array(value: np.dtype[Any], max_entries: int, *, flags: int = 0, refers_to: _Specs = ()) -> MapSpec:
    return MapSpec(
        type=MapType.ARRAY, key=INDEX, value=value, max_entries=max_entries, flags=flags, refers_to=refers_to
    )


def _per_cpu(value: np.dtype[Any], max_entries: int, *, refers_to: _Specs = ()) -> MapSpec:
    return MapSpec(type=MapType.PERCPU_ARRAY, key=INDEX, value=value, max_entries=max_entries, refers_to=refers_to)


def _hash(key: np.dtype[Any], value: np.dtype[Any], max_entries: int, *, refers_to: _Specs = ()) -> MapSpec:
    return MapSpec(type=MapType.HASH, key=key, value=value, max_entries=max_entries, refers_to=refers_to)


_BACKENDS = _array(BACKEND, BACKENDS, flags=MMAPABLE)
_POOLS = _array(POOL, POOLS, flags=MMAPABLE)
_SERVICES = _array(SERVICE, SERVICE_ROWS, flags=MMAPABLE, refers_to=(_POOLS,))
_FLOW_KIN = (_BACKENDS, _SERVICES)

MAPS: Mapping[str, MapSpec] = {
    "lb_globals": _array(GLOBALS, 1),
    "lb_interfaces": _array(INTERFACE, INTERFACES),
    "lb_vip_filter": _array(WORD, FILTER_WORDS, flags=MMAPABLE),
    "lb_vips": _hash(VIP_KEY, VIP, VIPS),
    "lb_services": _SERVICES,
    "lb_pools": _POOLS,
    "lb_slots": _array(INDEX, SLOTS, flags=MMAPABLE, refers_to=(_POOLS, _BACKENDS)),
    "lb_backends": _BACKENDS,
    "lb_members": _array(INDEX, POOLS * MEMBERS, flags=MMAPABLE, refers_to=(_POOLS, _BACKENDS)),
    "lb_connections": _array(CONNECTIONS, BACKENDS, flags=MMAPABLE, refers_to=(_BACKENDS,)),
    "lb_assignments": _hash(ASSIGNMENT_KEY, INDEX, ASSIGNMENTS, refers_to=(_POOLS, _BACKENDS)),
    "lb_candidates": _per_cpu(CANDIDATE, 1),
    "lb_half_opens": _array(WORD, HALF_OPENS, refers_to=(_BACKENDS,)),
    "lb_fragments": _array(WORD, FRAGMENTS, refers_to=(_BACKENDS,)),
    "lb_budgets": _per_cpu(BUDGET, SERVICES * PURPOSES),
    "lb_flows_tcp4": _hash(FLOW_KEY4, FLOW, FLOWS_TCP4, refers_to=_FLOW_KIN),
    "lb_flows_udp4": _hash(FLOW_KEY4, FLOW, FLOWS_UDP4, refers_to=_FLOW_KIN),
    "lb_reasons": _per_cpu(COUNTER, len(Reason)),
    "lb_service_stats": _per_cpu(SERVICE_STATS, SERVICES, refers_to=(_SERVICES,)),
    "lb_backend_stats": _per_cpu(BACKEND_STATS, BACKENDS, refers_to=(_BACKENDS,)),
}


FLOW_MAPS = ("lb_flows_tcp4", "lb_flows_udp4")
"""The maps whose size the file sets."""


def sized(*, tcp_flows: int = FLOWS_TCP4, udp_flows: int = FLOWS_UDP4) -> Mapping[str, MapSpec]:
    """All maps, with flow tables of these sizes."""
    sizes = {"lb_flows_tcp4": tcp_flows, "lb_flows_udp4": udp_flows}
    return {**MAPS, **{name: replace(MAPS[name], max_entries=sizes[name]) for name in FLOW_MAPS}}


def fields_of(dtype: np.dtype[Any]) -> list[list[Any]]:
    """``[[name, offset, size], …]`` in bytes; empty for a scalar. The build child speaks the same form."""
    if dtype.fields is None:
        return []
    return [[name, offset, field.itemsize] for name, (field, offset, *_) in dtype.fields.items()]


def verify(compiled: Mapping[str, Mapping[str, Any]]) -> None:
    """Hold this mirror against the compiler's view of every map; `LayoutError` names the first difference."""
    if set(compiled) != set(MAPS):
        odd = ", ".join(sorted(set(compiled) ^ set(MAPS)))
        raise LayoutError(f"ebpf/maps.h and layout.py do not declare the same maps: {odd}")
    for name, spec in MAPS.items():
        ours = {
            "type": int(spec.type),
            "flags": spec.flags,
            "key_size": spec.key.itemsize,
            "value_size": spec.value.itemsize,
            "key": fields_of(spec.key),
            "value": fields_of(spec.value),
        }
        for aspect, expected in ours.items():
            if compiled[name][aspect] != expected:
                raise LayoutError(
                    f"map {name}: {aspect} is {compiled[name][aspect]} in ebpf/types.h, {expected} in layout.py",
                    hint="change lbctl/dataplane/layout.py to mirror ebpf/types.h",
                )
