"""How a lab is put together from namespaces, veth pairs and a bridge, and how it is taken apart."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from lbctl.errors import LabError
from lbctl.lab import bpf, vlans
from lbctl.lab.namespaces import enter, processes_in, run_ethtool, run_ip, with_prefix, write_sysctls
from lbctl.lab.node import NodePlan, Role
from lbctl.lab.plan import LabPlan
from lbctl.lab.processes import end_ids
from lbctl.lab.segments import Place

_PASS_PROGRAM = "lab_pass"

_NODE_SYSCTLS = (
    ("ipv4/conf/all/rp_filter", 0),
    ("ipv4/conf/default/rp_filter", 0),
    ("ipv4/conf/all/accept_redirects", 0),
    ("ipv4/ip_unprivileged_port_start", 0),
)
_NO_IPV6_SYSCTLS = tuple((f"ipv6/conf/{scope}/disable_ipv6", 1) for scope in ("all", "default"))
_IPV6_SYSCTLS = tuple(
    (f"ipv6/conf/{scope}/{name}", value)
    for scope in ("all", "default")
    for name, value in (("accept_dad", 0), ("accept_ra", 0), ("accept_redirects", 0), ("keep_addr_on_down", 1))
)
"""Addresses are there at once, without duplicate address detection, they stay as IPv4 ones do when a link goes down, and nobody
waits for a router."""
_ROUTER_SYSCTLS = (
    ("ipv4/ip_forward", 1),
    ("ipv4/conf/all/send_redirects", 0),
    ("ipv4/conf/default/send_redirects", 0),
    ("ipv6/conf/all/forwarding", 1),
)
_BACKEND_SYSCTLS = tuple(
    (f"ipv4/conf/{scope}/{name}", value)
    for scope in ("all", "default")
    for name, value in (("arp_ignore", 1), ("arp_announce", 2))
)
"""The two settings that keep a real server from answering ARP for the VIP on its loopback."""


def mount_bpffs(path: Path) -> None:
    """Mount a BPF filesystem of the lab's own."""
    path.mkdir()
    finished = subprocess.run(["mount", "-t", "bpf", "lbctl-lab", path], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise LabError(f"mount of a bpffs on {path}: {finished.stderr.strip()}", hint="a lab needs root")


def connect(plan: LabPlan) -> None:
    """Make the namespaces, the switch and the cables."""
    run_ip(f"netns add {namespace}" for namespace in plan.namespaces)
    write_sysctls(plan.switch, _NO_IPV6_SYSCTLS)
    for node in plan.nodes:
        write_sysctls(node.namespace, (*_NODE_SYSCTLS, *(_IPV6_SYSCTLS if plan.ipv6 else _NO_IPV6_SYSCTLS)))
    run_ip(_switch_commands(plan), namespace=plan.switch)
    for node in plan.nodes:
        _configure(node, plan)
    directors = [node for node in plan.nodes if node.role is Role.DIRECTOR]
    _let_transmit(plan, [place.port for node in directors for place in node.places])
    if plan.has_vlans:
        for node in plan.nodes:
            vlans.keep_apart(plan, node)


def replace_interface(plan: LabPlan, node: NodePlan, place: Place) -> None:
    """Take an interface of a node away, with its cable, and make it anew: same name, MAC and addresses, another index."""
    run_ip([f"link delete {place.port}", *_cable(plan, node, place)], namespace=plan.switch)
    _configure_place(node, place, plan)
    if node.role is Role.DIRECTOR:
        _let_transmit(plan, [place.port])
    if plan.has_vlans:
        vlans.keep_apart(plan, node)


def remove(prefix: str, directory: Path) -> None:
    """Take a lab down, whatever is left of it. Every step is tried; the first error is raised at the end."""
    with ExitStack() as steps:
        steps.callback(shutil.rmtree, directory, ignore_errors=True)
        for mount in _mounts_below(directory):
            steps.callback(_unmount, mount)
        namespaces = with_prefix(prefix)
        for namespace in namespaces:
            steps.callback(run_ip, [f"netns delete {namespace}"])
        steps.callback(end_ids, [pid for namespace in namespaces for pid in processes_in(namespace)])


def leftovers(prefix: str, directory: Path) -> tuple[str, ...]:
    """What there still is of a lab: namespaces, processes in them, mounts, its directory. Nothing, once it is removed."""
    namespaces = with_prefix(prefix)
    processes = [f"process {pid} in {name}" for name in namespaces for pid in sorted(processes_in(name))]
    mounts = map(str, _mounts_below(directory))
    return (*namespaces, *processes, *mounts, *([str(directory)] if directory.exists() else []))


def _switch_commands(plan: LabPlan) -> Iterator[str]:
    for wire in sorted({segment.wire for segment in plan.segments}):
        yield f"link add br{wire} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        yield f"link set br{wire} up"
    for node in plan.nodes:
        for place in node.places:
            yield from _cable(plan, node, place)


def _cable(plan: LabPlan, node: NodePlan, place: Place) -> Iterator[str]:
    end = f"type veth peer name {place.interface} netns {node.namespace} mtu {plan.mtu} address {place.mac}"
    yield f"link add {place.port} mtu {plan.mtu} {end}"
    yield f"link set {place.port} up"
    if not place.parent:
        yield f"link set {place.port} master br{place.segment.wire}"
        if plan.flooding:
            yield f"link set {place.port} type bridge_slave learning off"


def _configure(node: NodePlan, plan: LabPlan) -> None:
    if node.role is Role.BACKEND:
        write_sysctls(node.namespace, _BACKEND_SYSCTLS)
    if node.role is Role.ROUTER:
        write_sysctls(node.namespace, _ROUTER_SYSCTLS)
    for place in node.places:
        _configure_place(node, place, plan)


def _configure_place(node: NodePlan, place: Place, plan: LabPlan) -> None:
    routes = _routes(node, plan) if place == node.places[0] else ()
    run_ip([*_addresses(place, plan), *routes], namespace=node.namespace)
    # A veth leaves checksums to be filled in by a NIC that never comes; a frame rewritten by XDP would be dropped.
    run_ethtool(node.namespace, place.interface, "tx", "off")


def _addresses(place: Place, plan: LabPlan) -> Iterator[str]:
    if plan.ipv4:
        yield f"address add {place.on_link} dev {place.interface}"
    if plan.ipv6:
        yield f"address add {place.on_link6} dev {place.interface}"
    yield "link set lo up"
    yield f"link set {place.interface} up"


def _routes(node: NodePlan, plan: LabPlan) -> Iterator[str]:
    """To the segments that the node is not on, by way of the router."""
    routers = [each for each in plan.nodes if each.role is Role.ROUTER]
    here = node.places[0].segment
    gateways = [place for each in routers for place in each.places if place.segment == here]
    own = {place.segment for place in node.places}
    for gateway in gateways:
        for segment in plan.segments:
            if segment not in own and plan.ipv4:
                yield f"route add {segment.subnet} via {gateway.address}"
            if segment not in own and plan.ipv6:
                yield f"route add {segment.subnet6} via {gateway.address6}"


def _let_transmit(plan: LabPlan, ports: Iterable[str]) -> None:
    """A veth drops what its end sends by XDP_TX unless an XDP program is attached natively to the other end.

    Measured on 6.18: ``ethtool -K PEER gro on`` starts NAPI there, but is not enough.
    """
    pinned = plan.bpffs / _PASS_PROGRAM
    program = bpf.load_xdp_verdict(bpf.XDP_PASS)
    try:
        bpf.pin(program, pinned)
    finally:
        os.close(program)
    with enter(plan.switch):
        run_ip(f"link set {port} xdpdrv pinned {pinned}" for port in ports)
    pinned.unlink()


def _mounts_below(directory: Path) -> list[Path]:
    """Its bpffs, and whatever else was mounted there."""
    mounted = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    return [path for path in mounted if path.is_relative_to(directory)]


def _unmount(path: Path) -> None:
    if path.is_mount():
        subprocess.run(["umount", "--lazy", path], check=False)
