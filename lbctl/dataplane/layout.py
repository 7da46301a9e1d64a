"""The one mirror of ``ebpf/types.h``: dtypes of keys and values, and each map's type, flags and size.

`verify` holds it against what the compiler derived. Addresses and ports are big-endian as on the wire; all else is
little-endian, as on every machine that lbctl runs on (`sys.byteorder` is checked by the loader).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import IntEnum
from typing import Any

import numpy as np

from lbctl.dataplane.mapspec import (
    MMAPABLE,
    MapSpec,
    MapType,
    array,
    fields_of,
    hash_table,
    per_cpu,
    struct,
    trie,
)
from lbctl.errors import LayoutError

INTERFACES = 1024
"""Rows of ``lb_interfaces``. A quarter of them may be taken (see reconcile.py), so that every segment finds one."""
INTERFACE_PROBES = 8
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
PURPOSES = 3
"""Rows of ``lb_budgets`` for each service id, by ``enum lb_purpose``; service 0 is the director itself."""
BACKENDS = 16_384
SLOTS = 2_097_152
FLOWS_TCP4 = 131_072
FLOWS_UDP4 = 65_536
FLOWS_TCP6 = 131_072
FLOWS_UDP6 = 65_536
SOURCES = 65_536
"""Prefixes of all lists together, for each family."""
HANDSHAKE_BUCKETS = 24
HANDSHAKE_SAMPLE = 8
HANDSHAKE_UNIT_S = 1.024e-6
EVENT_HEADERS = 128
PROGRAMS = ("lb_ingress6", "lb_discover6")
"""Rows of ``lb_programs``, by ``enum lb_program``."""
EVENT_BYTES = 1 << 18
"""Of the ring buffer."""


class FlowState(IntEnum):
    """``enum lb_flow_state``."""

    OPEN = 0
    CLOSING = 1
    RESET = 2


class Reason(IntEnum):
    """``enum lb_reason``: one value for each way a packet can leave."""

    NOT_VIP = 0
    OTHER_MAC = 1
    OTHER_LAN = 2
    VIP_CLAIMED = 3
    ESTABLISHED = 4
    FIRST_ACK = 5
    SYN = 6
    REUSED_PORT = 7
    PICKED_UP = 8
    UNTRACKED = 9
    OVER_BUDGET = 10
    UDP_ESTABLISHED = 11
    UDP_NEW = 12
    FRAGMENT = 13
    ICMP_ERROR = 14
    ARP_REPLY = 15
    NEIGHBOUR_REPLY = 16
    PING_REPLY = 17
    WRONG_PORT = 18
    RESET = 19
    TURNED_AWAY = 20
    NO_SERVICE = 21
    EMPTY = 22
    NO_BACKEND = 23
    DEAD = 24
    DENIED = 25
    UNRESOLVED = 26
    LOOP_OWN = 27
    LOOP_BACKEND = 28
    LOST_FRAGMENT = 29
    MALFORMED = 30
    ICMP_UNKNOWN = 31


INDEX = np.dtype("<u4")
WORD = np.dtype("<u8")
ADDRESS6 = struct(("words", ">u4", 4))
GLOBALS = struct(
    ("seed", "<u8"),
    ("generation", "<u8"),
    ("hz", "<u4"),
    ("drops_wrong_ports", "<u4"),
    ("watched", "<u4"),
    ("pad", "<u4"),
)
BUDGET = struct(("tokens", "<u4"), ("refilled", "<u4"))
INTERFACE = struct(("lan", "<u8"), ("mac", "<u8"), ("address4", ">u4"), ("pad", "<u4"), ("address6", ">u4", 4))
VIP_KEY4 = np.dtype(">u4")
VIP = struct(("lan", "<u8"), ("claimant", "<u8"), ("claims", "<u8"), ("number", "<u4"), ("pad", "<u4"))
SERVICE = struct(("key", "<u8"), ("id", "<u2"), ("pool", "<u2"), ("sources", "<u2"), ("pad", "<u2"))
SOURCE_KEY4 = struct(("prefix", "<u4"), ("list", ">u4"), ("address", ">u4"))
SOURCE_KEY6 = struct(("prefix", "<u4"), ("list", ">u4"), ("address", ">u4", 4))
SOURCE = struct(("pool", "<u4"))
POOL = struct(
    ("table", "<u8"),
    ("identity", "<u8"),
    ("members", "<u4"),
    ("on_empty", "u1"),
    ("is_private", "u1"),
    ("pad", "<u2"),
)
BACKEND = struct(
    ("link", "<u8"),
    ("lan", "<u8"),
    ("identity", "<u8"),
    ("address", ">u4", 4),
    ("state", "u1"),
    ("is_limited", "u1"),
    ("pad", "u1", 6),
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
ASSIGNMENT_KEY4 = struct(("client", ">u4"), ("pool", "<u4"))
ASSIGNMENT_KEY6 = struct(("client", ">u4", 4), ("pool", "<u4"))
FLOW_KEY4 = struct(("client", ">u4"), ("vip", ">u4"), ("client_port", ">u2"), ("vip_port", ">u2"))
FLOW_KEY6 = struct(("client", ">u4", 4), ("vip", ">u4", 4), ("client_port", ">u2"), ("vip_port", ">u2"), ("pad", "<u4"))
FLOW = struct(
    ("backend", "<u4"),
    ("last_seen", "<u4"),
    ("service", "<u2"),
    ("state", "u1"),
    ("is_unproven", "u1"),
    ("acked", "<u4"),
    ("next", "<u4"),
    ("acked_wraps", "<u2"),
    ("next_wraps", "<u2"),
    ("first_acked", "<u4"),
    ("first_next", "<u4"),
)
COUNTER = struct(("packets", "<u8"), ("bytes", "<u8"))
_TRAFFIC = tuple((name, "<u8") for name in ("packets", "bytes", "connections", "returned", "sent"))
SERVICE_STATS = struct(*_TRAFFIC, ("denied", "<u8"))
BACKEND_STATS = struct(*_TRAFFIC, *((name, "<u8") for name in ("looped", "begun", "repeated", "completed")))
HANDSHAKE_TIMES = struct(("buckets", "<u8", HANDSHAKE_BUCKETS))
EVENT = struct(
    ("time", "<u8"),
    ("lan", "<u8"),
    ("backend", "<u4"),
    ("reason", "<u2"),
    ("service", "<u2"),
    ("bytes", "<u4"),
    ("captured", "<u4"),
    ("headers", "u1", EVENT_HEADERS),
)
CHAIN = struct(
    ("length", "<u4"),
    ("identification", "<u4"),
    ("protocol", "u1"),
    ("is_first_fragment", "u1"),
    ("is_later_fragment", "u1"),
    ("pad", "u1", 5),
)
NOTHING = np.dtype("V0")


_INTERFACES = array(INTERFACE, INTERFACES)
_BACKENDS = array(BACKEND, BACKENDS, flags=MMAPABLE)
_SLOTS = array(INDEX, SLOTS, flags=MMAPABLE)
_MEMBERS = array(INDEX, POOLS * MEMBERS, flags=MMAPABLE)
_POOLS = array(POOL, POOLS, flags=MMAPABLE, refers_to=(_BACKENDS, _SLOTS, _MEMBERS))
"""A row says where a pool's slots and members lie, and these name backends. A daemon that has one of them anew must have all:
it writes them while the program before is still at work, which would find new rows of the one lead into old ones of another."""
_SERVICES = array(SERVICE, SERVICE_ROWS, flags=MMAPABLE, refers_to=(_POOLS,))
_FLOW_KIN = (_BACKENDS, _SERVICES)

MAPS: Mapping[str, MapSpec] = {
    "lb_globals": array(GLOBALS, 1),
    "lb_interfaces": _INTERFACES,
    "lb_devices": MapSpec(
        type=MapType.DEVMAP, key=INDEX, value=INDEX, max_entries=INTERFACES, refers_to=(_INTERFACES,)
    ),
    "lb_vip_filter": array(WORD, FILTER_WORDS, flags=MMAPABLE),
    "lb_vips4": hash_table(VIP_KEY4, VIP, VIPS),
    "lb_vips6": hash_table(ADDRESS6, VIP, VIPS),
    "lb_services": _SERVICES,
    "lb_pools": _POOLS,
    "lb_slots": replace(_SLOTS, refers_to=(_POOLS, _BACKENDS)),
    "lb_backends": _BACKENDS,
    "lb_members": replace(_MEMBERS, refers_to=(_POOLS, _BACKENDS)),
    "lb_connections": array(CONNECTIONS, BACKENDS, flags=MMAPABLE, refers_to=(_BACKENDS,)),
    "lb_assignments4": hash_table(ASSIGNMENT_KEY4, INDEX, ASSIGNMENTS, refers_to=(_POOLS, _BACKENDS)),
    "lb_assignments6": hash_table(ASSIGNMENT_KEY6, INDEX, ASSIGNMENTS, refers_to=(_POOLS, _BACKENDS)),
    "lb_sources4": trie(SOURCE_KEY4, SOURCE, SOURCES, refers_to=(_SERVICES,)),
    "lb_sources6": trie(SOURCE_KEY6, SOURCE, SOURCES, refers_to=(_SERVICES,)),
    "lb_candidates": per_cpu(CANDIDATE, 1),
    "lb_half_opens": array(WORD, HALF_OPENS, flags=MMAPABLE, refers_to=(_BACKENDS,)),
    "lb_handshake_starts": array(INDEX, HALF_OPENS),
    "lb_handshake_times": array(HANDSHAKE_TIMES, BACKENDS, flags=MMAPABLE, refers_to=(_BACKENDS,)),
    "lb_fragments": array(WORD, FRAGMENTS, refers_to=(_BACKENDS,)),
    "lb_budgets": per_cpu(BUDGET, SERVICES * PURPOSES),
    "lb_flows_tcp4": hash_table(FLOW_KEY4, FLOW, FLOWS_TCP4, refers_to=_FLOW_KIN),
    "lb_flows_udp4": hash_table(FLOW_KEY4, FLOW, FLOWS_UDP4, refers_to=_FLOW_KIN),
    "lb_flows_tcp6": hash_table(FLOW_KEY6, FLOW, FLOWS_TCP6, refers_to=_FLOW_KIN),
    "lb_flows_udp6": hash_table(FLOW_KEY6, FLOW, FLOWS_UDP6, refers_to=_FLOW_KIN),
    "lb_reasons": per_cpu(COUNTER, len(Reason)),
    "lb_service_stats": per_cpu(SERVICE_STATS, SERVICES, refers_to=(_SERVICES,)),
    "lb_backend_stats": per_cpu(BACKEND_STATS, BACKENDS, refers_to=(_BACKENDS,)),
    "lb_events": MapSpec(type=MapType.RINGBUF, key=NOTHING, value=NOTHING, max_entries=EVENT_BYTES),
    "lb_event_drafts": per_cpu(EVENT, 1),
    "lb_chains": per_cpu(CHAIN, 1),
    "lb_programs": MapSpec(type=MapType.PROG_ARRAY, key=INDEX, value=INDEX, max_entries=len(PROGRAMS)),
}


FLOW_MAPS = ("lb_flows_tcp4", "lb_flows_udp4", "lb_flows_tcp6", "lb_flows_udp6")
"""The maps whose size the file sets."""


def sized(*, tcp_flows: int = FLOWS_TCP4, udp_flows: int = FLOWS_UDP4, has_ipv6: bool = True) -> Mapping[str, MapSpec]:
    """All maps, with flow tables of these sizes; those of IPv6 have one row if nobody needs them."""
    sizes = {
        "lb_flows_tcp4": tcp_flows,
        "lb_flows_udp4": udp_flows,
        "lb_flows_tcp6": tcp_flows if has_ipv6 else 1,
        "lb_flows_udp6": udp_flows if has_ipv6 else 1,
    }
    return {**MAPS, **{name: replace(MAPS[name], max_entries=sizes[name]) for name in FLOW_MAPS}}


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
