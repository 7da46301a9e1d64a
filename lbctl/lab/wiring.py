"""How a lab is put together from namespaces, veth pairs and a bridge, and how it is taken apart."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from lbctl.errors import LabError
from lbctl.lab import bpf
from lbctl.lab.namespaces import enter, processes_in, run_ip, with_prefix, write_sysctls
from lbctl.lab.node import INTERFACE, PREFIX_LENGTH, NodePlan, Role
from lbctl.lab.plan import BPFFS, LabPlan
from lbctl.lab.processes import end_ids

_BRIDGE = "br0"
_PASS_PROGRAM = "lab_pass"

_NODE_SYSCTLS = (
    ("ipv6/conf/all/disable_ipv6", 1),
    ("ipv6/conf/default/disable_ipv6", 1),
    ("ipv4/conf/all/rp_filter", 0),
    ("ipv4/conf/default/rp_filter", 0),
    ("ipv4/conf/all/accept_redirects", 0),
    ("ipv4/ip_unprivileged_port_start", 0),
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
    for namespace in plan.namespaces:
        write_sysctls(namespace, _NODE_SYSCTLS)
    run_ip(_switch_commands(plan), namespace=plan.switch)
    for node in plan.nodes:
        _configure(node, mtu=plan.mtu)
    _let_directors_transmit(plan)


def remove(prefix: str, directory: Path) -> None:
    """Take a lab down, whatever is left of it. Every step is tried; the first error is raised at the end."""
    with ExitStack() as steps:
        steps.callback(shutil.rmtree, directory, ignore_errors=True)
        steps.callback(_unmount, directory / BPFFS)
        namespaces = with_prefix(prefix)
        for namespace in namespaces:
            steps.callback(run_ip, [f"netns delete {namespace}"])
        steps.callback(end_ids, [pid for namespace in namespaces for pid in processes_in(namespace)])


def leftovers(prefix: str, directory: Path) -> tuple[str, ...]:
    """What there still is of a lab: namespaces, processes in them, mounts, its directory. Nothing, once it is removed."""
    namespaces = with_prefix(prefix)
    processes = [f"process {pid} in {name}" for name in namespaces for pid in sorted(processes_in(name))]
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line]
    return (*namespaces, *processes, *mounts, *([str(directory)] if directory.exists() else []))


def _switch_commands(plan: LabPlan) -> Iterator[str]:
    yield f"link add {_BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    yield f"link set {_BRIDGE} up"
    for node in plan.nodes:
        cable = f"mtu {plan.mtu} type veth peer name {INTERFACE} netns {node.namespace} mtu {plan.mtu}"
        yield f"link add {node.port} {cable} address {node.mac}"
        yield f"link set {node.port} master {_BRIDGE} up"
        if plan.flooding:
            yield f"link set {node.port} type bridge_slave learning off"


def _configure(node: NodePlan, *, mtu: int) -> None:
    if node.role is Role.BACKEND:
        write_sysctls(node.namespace, _BACKEND_SYSCTLS)
    run_ip(
        [
            "link set lo up",
            f"address add {node.address}/{PREFIX_LENGTH} dev {INTERFACE}",
            f"link set {INTERFACE} up",
        ],
        namespace=node.namespace,
    )
    # A veth leaves checksums to be filled in by a NIC that never comes; a frame rewritten by XDP would be dropped.
    _ethtool(node.namespace, INTERFACE, "tx", "off")


def _let_directors_transmit(plan: LabPlan) -> None:
    """A veth drops what its end sends by XDP_TX unless an XDP program is attached natively to the other end.

    Measured on 6.18: ``ethtool -K PEER gro on`` starts NAPI there, but is not enough.
    """
    pinned = plan.bpffs / _PASS_PROGRAM
    program = bpf.load_xdp_verdict(bpf.XDP_PASS)
    try:
        bpf.pin(program, pinned)
    finally:
        os.close(program)
    directors = [node for node in plan.nodes if node.role is Role.DIRECTOR]
    with enter(plan.switch):
        run_ip(f"link set {node.port} xdpdrv pinned {pinned}" for node in directors)
    pinned.unlink()


def _ethtool(namespace: str, interface: str, *features: str) -> None:
    with enter(namespace):
        finished = subprocess.run(["ethtool", "-K", interface, *features], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise LabError(f"ethtool -K {interface} {' '.join(features)} in {namespace}: {finished.stderr.strip()}")


def _unmount(path: Path) -> None:
    if path.is_mount():
        subprocess.run(["umount", "--lazy", path], check=False)
