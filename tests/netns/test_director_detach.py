"""What a detached director leaves of itself in its kernel: nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lbctl.dataplane import bpf
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP, VIP6, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import Datagrams, connects, spread
from tests.netns.wide_rig import directing_wide, wide_configuration

BOTH = (VIP, VIP6)
LOOKS = (
    "ip -4 -N rule show",
    "ip -6 -N rule show",
    "ip -4 -N route show table all",
    "ip -6 -N route show table all",
    "ip -N neighbour show nud permanent",
    "ip -details link show",
    "ip address show",
    "ip maddress show",
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, ipv6=True)) as built:
        yield built


def kernel_state(node: Node) -> set[str]:
    """All that the node's kernel has of addresses, routes, rules, neighbours, groups and programs; each with the command that
    tells. Who was merely met on the way (neighbours that nobody asked to keep, routes that expire) is left out."""
    told = {(look, line.strip()) for look in LOOKS for line in node.run(look.split()).stdout.splitlines()}
    kept = node.run(["ip", "-N", "neighbour", "show"]).stdout.splitlines()
    told |= {("neighbours", line) for line in kept if "managed" in line or "extern_learn" in line}
    return {f"{look}: {line}" for look, line in told if "expires" not in line and "valid_lft" not in line}


def map_ids(daemon: Daemon) -> set[int]:
    """The kernel's numbers of all pinned maps."""
    found = set()
    for path in daemon.pins.glob("lb_*@*"):
        with bpf.opened_pin(path) as descriptor:
            found.add(bpf.map_info(descriptor).id)
    return found


def exists(map_id: int) -> bool:
    descriptor = bpf.library().bpf_map_get_fd_by_id(map_id)
    if descriptor >= 0:
        os.close(descriptor)
    return bool(descriptor >= 0)


def test_detach_leaves_the_kernel_as_it_was_before_the_first_start(lab: Lab) -> None:
    client = lab.clients[0]
    for vip in BOTH:
        assert not connects(client, vip=vip)
    before = kernel_state(lab.director)
    with directing_wide(lab, wide_configuration(lab)) as daemon:
        for vip in BOTH:
            assert spread(client, 20, vip=vip).keys() == {node.name for node in lab.backends}
            flow = Datagrams(client, vip=vip)
            assert flow.ask(timeout_s=5)
            flow.close()
        assert daemon.stop() == 0
        during, maps = kernel_state(lab.director), map_ids(daemon)
        for trace in ("rule show: ", "route show table all: ", "neighbours: ", "link show: ", "maddress show: "):
            assert {line for line in during - before if trace in line}, trace
        assert all(exists(map_id) for map_id in maps)

        daemon.ctl("detach", "--yes", "--pins", str(daemon.pins))

    assert kernel_state(lab.director) == before
    assert not daemon.pins.exists()
    wait_until(lambda: not any(map(exists, maps)), deadline_s=20, what="the kernel to free the maps")
