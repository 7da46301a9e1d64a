"""A director of a lab with more than one segment or with IPv6: its configuration, made from the lab's plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lbctl.core.model import Address
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.segments import Place
from lbctl.lab.topology import Lab
from tests.netns.director_rig import (
    POOL,
    QUICK,
    TCP_PORT,
    UDP_PORT,
    Datagrams,
    directing,
    serving,
    spread,
    status,
    wait_state,
)

POOL6 = f"{POOL}6"
"""The same servers by their IPv6 addresses."""


def wide_configuration(
    lab: Lab,
    *,
    backends: Iterable[Node] | None = None,
    vips: Iterable[Address] | None = None,
    check: Mapping[str, Any] = QUICK,
    mode: str = "auto",
    service_of: Callable[[Address], Mapping[str, Any]] = lambda _: {},
    pool: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> str:
    """A file for the first director: an interface for each of its places, a TCP and a UDP service (``lines0``, ``datagrams0``
    and so on) on each VIP (the lab's, if none are named), and a pool for each family. ``service_of`` a VIP and ``pool`` are
    more keys of each of them, ``more`` of the file."""
    asked = tuple(vips) if vips is not None else lab.plan.vips
    nodes = tuple(backends) if backends is not None else lab.backends
    return json.dumps(
        {
            "interfaces": {place.interface: _interface(lab, place, mode) for place in lab.director.places},
            "services": {
                f"{kind}{number}": {"vip": str(vip), "ports": [port], "protocol": protocol, "pool": pool_of(vip)}
                | dict(service_of(vip))
                for number, vip in enumerate(asked)
                for kind, port, protocol in (("lines", TCP_PORT, "tcp"), ("datagrams", UDP_PORT, "udp"))
            },
            "pools": {
                pool_of(vip): {"kind": "other", "check": dict(check), "backends": _backends(nodes, vip), **(pool or {})}
                for vip in asked
            },
            **(more or {}),
        },
        indent=1,
    )


def pool_of(vip: Address) -> str:
    """The name of the pool that answers for a VIP."""
    return POOL if vip.version == 4 else POOL6


def _interface(lab: Lab, place: Place, mode: str) -> dict[str, str]:
    ipv4 = {"address": str(place.on_link)} if lab.plan.ipv4 else {}
    ipv6 = {"address6": str(place.on_link6)} if lab.plan.ipv6 else {}
    return {**ipv4, **ipv6, "mode": mode}


def _backends(nodes: Iterable[Node], vip: Address) -> dict[str, dict[str, str]]:
    return {node.name: {"address": str(node.address if vip.version == 4 else node.address6)} for node in nodes}


@contextmanager
def directing_wide(
    lab: Lab, config: str, *, nodes: Iterable[Node] | None = None, vips: Iterable[Address] | None = None
) -> Iterator[Daemon]:
    """Servers on backends (all, with the lab's VIPs, if none are named), and a director to which all of its own are up. Nothing
    of it is left in the end."""
    servers = lab.backends if nodes is None else nodes
    with serving(servers, vips=lab.plan.vips if vips is None else vips), directing(lab, config) as daemon:
        wait_all_up(daemon)
        yield daemon
    daemon.ctl("detach", "--yes", "--pins", str(daemon.pins))


def wait_all_up(daemon: Daemon) -> None:
    """Wait until every backend of every pool is up."""
    for pool in status(daemon).pools:
        for row in pool.backends:
            wait_in(daemon, pool.name, row.name, "up")


def wait_in(daemon: Daemon, pool: str, name: str, state: str, *, deadline_s: float = 20.0) -> None:
    """Wait until a backend of that pool is in a state, as `wait_state`."""
    wait_state(daemon, name, state, pool=pool, deadline_s=deadline_s)


def assert_both_serve(client: Node, vip: Address) -> None:
    """Connections and datagrams reach backend1 and backend2, and a flow of datagrams stays where it began."""
    assert spread(client, 40, vip=vip).keys() == {"backend1", "backend2"}
    asked = [Datagrams(client, vip=vip) for _ in range(20)]
    answers = [flow.ask(timeout_s=5) for flow in asked]
    assert set(answers) == {"backend1", "backend2"}
    assert [flow.ask(timeout_s=5) for flow in asked] == answers
    for flow in asked:
        flow.close()


def packets(daemon: Daemon, reason: str) -> int:
    """How many packets left the program by that way so far."""
    found = status(daemon).reasons.get(reason)
    return found.packets if found else 0
