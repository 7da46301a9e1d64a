"""The one mirror of ``ebpf/types.h``: dtypes of keys and values, and each map's type, flags and size.

`verify` holds it against what the compiler derived. Addresses and ports are big-endian as on the wire; all else is
little-endian, as on every machine that lbctl runs on (`sys.byteorder` is checked by the loader).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
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
POOLS = 4_096
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
    NO_SERVICE = 17
    NO_BACKEND = 18
    DEAD = 19
    UNRESOLVED = 20
    LOOP_OWN = 21
    LOOP_BACKEND = 22
    LOST_FRAGMENT = 23
    MALFORMED = 24
    ICMP_UNKNOWN = 25


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
GLOBALS = struct(("seed", "<u8"), ("generation", "<u8"), ("hz", "<u4"), ("pad", "<u4"))
BUDGET = struct(("tokens", "<u4"), ("refilled", "<u4"))
INTERFACE = struct(("mac", "<u8"), ("ifindex", "<u4"), ("address", ">u4"))
VIP_KEY = np.dtype(">u4")
VIP = struct(("ifindex", "<u4"))
SERVICE = struct(("key", "<u8"), ("id", "<u2"), ("pool", "<u2"), ("pad", "<u4"))
POOL = struct(("table", "<u8"), ("identity", "<u8"))
BACKEND = struct(("link", "<u8"), ("address", ">u4"), ("state", "u1"), ("pad", "u1", 3), ("identity", "<u8"))
FLOW_KEY4 = struct(("client", ">u4"), ("vip", ">u4"), ("client_port", ">u2"), ("vip_port", ">u2"), ("pad", "<u4"))
FLOW = struct(
    ("backend", "<u4"), ("last_seen", "<u4"), ("service", "<u2"), ("state", "u1"), ("pad", "u1"), ("acked", ">u4")
)
COUNTER = struct(("packets", "<u8"), ("bytes", "<u8"))
SERVICE_STATS = struct(("packets", "<u8"), ("bytes", "<u8"), ("connections", "<u8"))
BACKEND_STATS = struct(("packets", "<u8"), ("bytes", "<u8"), ("connections", "<u8"), ("returned", "<u8"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSpec:
    """One map: what ``ebpf/maps.h`` declares, and the number of entries it is created with."""

    type: MapType
    key: np.dtype[Any]
    value: np.dtype[Any]
    max_entries: int
    flags: int = 0

    @property
    def layout_id(self) -> str:
        """Eight hex digits of everything that must agree before a pinned map may be used again."""
        text = repr((int(self.type), self.flags, self.max_entries, fields_of(self.key), fields_of(self.value)))
        text += f" {self.key.itemsize} {self.value.itemsize}"
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _array(value: np.dtype[Any], max_entries: int, *, flags: int = 0) -> MapSpec:
    return MapSpec(type=MapType.ARRAY, key=INDEX, value=value, max_entries=max_entries, flags=flags)


def _per_cpu(value: np.dtype[Any], max_entries: int) -> MapSpec:
    return MapSpec(type=MapType.PERCPU_ARRAY, key=INDEX, value=value, max_entries=max_entries)


def _hash(key: np.dtype[Any], value: np.dtype[Any], max_entries: int) -> MapSpec:
    return MapSpec(type=MapType.HASH, key=key, value=value, max_entries=max_entries)


MAPS: Mapping[str, MapSpec] = {
    "lb_globals": _array(GLOBALS, 1),
    "lb_interfaces": _array(INTERFACE, INTERFACES),
    "lb_vip_filter": _array(WORD, FILTER_WORDS, flags=MMAPABLE),
    "lb_vips": _hash(VIP_KEY, VIP, VIPS),
    "lb_services": _array(SERVICE, SERVICE_ROWS, flags=MMAPABLE),
    "lb_pools": _array(POOL, POOLS, flags=MMAPABLE),
    "lb_slots": _array(INDEX, SLOTS, flags=MMAPABLE),
    "lb_backends": _array(BACKEND, BACKENDS, flags=MMAPABLE),
    "lb_half_opens": _array(WORD, HALF_OPENS),
    "lb_fragments": _array(WORD, FRAGMENTS),
    "lb_budgets": _per_cpu(BUDGET, SERVICES),
    "lb_flows_tcp4": _hash(FLOW_KEY4, FLOW, FLOWS_TCP4),
    "lb_flows_udp4": _hash(FLOW_KEY4, FLOW, FLOWS_UDP4),
    "lb_reasons": _per_cpu(COUNTER, len(Reason)),
    "lb_service_stats": _per_cpu(SERVICE_STATS, SERVICES),
    "lb_backend_stats": _per_cpu(BACKEND_STATS, BACKENDS),
}


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
