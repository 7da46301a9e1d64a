"""The file that declares a world. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lbctl.core.model import Address
from lbctl.lab.chaos.world import PLACES, TCP_FLOWS, UDP_FLOWS, Allow, Pool, World, address_of

_CHECK = {"type": "tcp", "interval": "1s", "timeout": "800ms", "fall": 3, "rise": 1}


def configuration(world: World) -> str:
    """The file (JSON is YAML)."""
    has_class = any(pool.class_weight is not None for pool in world.pools.values())
    document: dict[str, Any] = {
        "interfaces": {"eth0": {"address": "192.0.2.10/24", "address6": "2001:db8:2::10/64"}},
        "services": dict(_services(world)),
        "pools": {name: _pool(name, pool) for name, pool in world.pools.items()},
        "director": {
            "tcp_flows": TCP_FLOWS,
            "udp_flows": UDP_FLOWS,
            "wrong_port": "drop" if world.drops_wrong_ports else "refuse",
        },
    }
    if has_class:
        document["classes"] = {"clients": {"sources": ["192.0.2.192/26"]}}
    return json.dumps(document, indent=1)


def _services(world: World) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, service in world.services.items():
        vip, port = PLACES[name]
        row = {"vip": str(vip), "ports": [port], "pool": service.pool, "idle_timeout": f"{service.idle_s}s"}
        if service.allow is not Allow.EVERYBODY:
            row["allow"] = [_prefix(service.allow, vip)]
        yield name, row
    if world.has_datagrams:
        first = next(iter(world.services))
        vip, port = PLACES[first]
        row = {"vip": str(vip), "ports": [port], "protocol": "udp", "pool": world.services[first].pool}
        yield "datagrams", row


def _prefix(allow: Allow, vip: Address) -> str:
    if vip.version == 6:
        return "2001:db8:2::/64" if allow is Allow.CLIENTS else "2001:db8:77::/64"
    return "192.0.2.192/26" if allow is Allow.CLIENTS else "198.51.100.0/24"


def _pool(name: str, pool: Pool) -> dict[str, Any]:
    rows = {
        key: {"address": str(address_of(member.node, pool=name)), "weight": member.weight}
        for key, member in pool.members.items()
    }
    declared: dict[str, Any] = {"kind": "other", "check": _CHECK, "backends": rows}
    if pool.failback is not None:
        declared |= {"policy": "failover", "failback": pool.failback}
    if pool.reassign is not None:
        declared |= {"kind": "archive", "storage": "private", "reassign": pool.reassign}
    if pool.limit is not None:
        declared["connection_limit"] = pool.limit
    if pool.class_weight is not None:
        declared["classes"] = {"clients": {next(iter(pool.members)): pool.class_weight}}
    return declared
