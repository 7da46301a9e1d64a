"""A lab that outlives a command: ``lbctl lab up``, ``shell``, ``down``. Its plan is kept under /run/lbctl-lab."""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Address
from pathlib import Path

from lbctl.errors import LabError, UsageError
from lbctl.lab import wiring
from lbctl.lab.interrupts import uninterrupted
from lbctl.lab.node import Node, NodePlan, Role
from lbctl.lab.processes import Processes
from lbctl.lab.topology import Lab, LabPlan

RECORD = Path("/run/lbctl-lab/lab.json")


def up(plan: LabPlan) -> Lab:
    """Build a lab and leave it standing. `UsageError` if one stands already."""
    if RECORD.exists():
        raise UsageError("a lab is up already", hint="end it with: lbctl lab down")
    RECORD.parent.mkdir(mode=0o755, exist_ok=True)
    RECORD.write_text(_to_json(plan))  # first, so that `down` finds whatever an interrupted `up` has made
    lab = Lab(plan)
    try:
        lab.build()
    except BaseException:
        RECORD.unlink()
        raise
    return lab


def down() -> LabPlan:
    """Take the standing lab down, with every process that lives in it."""
    plan = current()
    with uninterrupted():
        wiring.remove(plan)
        RECORD.unlink()
    return plan


def shell(name: str) -> None:
    """Become a shell on a node of the standing lab (this process is replaced). `UsageError` for an unknown node."""
    lab_plan = current()
    plan = find_node(lab_plan, name)
    program = os.environ.get("SHELL", "/bin/sh")
    environment = {**os.environ, "PS1": f"[{plan.name} {plan.address}] \\w # "}
    argv = Node(plan, processes=Processes()).inside([program])
    os.execvpe(argv[0], argv, environment)


def current() -> LabPlan:
    """The plan of the standing lab. `UsageError` if there is none, `LabError` if its record cannot be read."""
    try:
        return _from_json(RECORD.read_text())
    except FileNotFoundError:
        raise UsageError("no lab is up", hint="start one with: lbctl lab up") from None
    except (ValueError, KeyError) as error:
        raise LabError(f"{RECORD} cannot be read: {error}", hint="look at `ip netns`, then remove the file") from error


def find_node(plan: LabPlan, name: str) -> NodePlan:
    """The node of that name; ``switch`` is one, too. `UsageError` listing the names there are."""
    for node in (*plan.nodes, _switch_node(plan)):
        if node.name == name:
            return node
    names = ", ".join(node.name for node in plan.nodes)
    raise UsageError(f"the lab has no node {name!r}", hint=f"its nodes are {names}, switch")


def _switch_node(plan: LabPlan) -> NodePlan:
    return NodePlan(name="switch", role=Role.CLIENT, namespace=plan.switch, address=IPv4Address("0.0.0.0"), port="none")


def _to_json(plan: LabPlan) -> str:
    nodes = [
        {
            "name": node.name,
            "role": node.role,
            "namespace": node.namespace,
            "address": str(node.address),
            "port": node.port,
        }
        for node in plan.nodes
    ]
    record = {
        "prefix": plan.prefix,
        "directory": str(plan.directory),
        "nodes": nodes,
        "vips": [str(vip) for vip in plan.vips],
        "flooding": plan.flooding,
        "mtu": plan.mtu,
    }
    return json.dumps(record, indent=2)


def _from_json(text: str) -> LabPlan:
    record = json.loads(text)
    nodes = tuple(
        NodePlan(
            name=node["name"],
            role=Role(node["role"]),
            namespace=node["namespace"],
            address=IPv4Address(node["address"]),
            port=node["port"],
        )
        for node in record["nodes"]
    )
    return LabPlan(
        prefix=record["prefix"],
        directory=Path(record["directory"]),
        nodes=nodes,
        vips=tuple(map(IPv4Address, record["vips"])),
        flooding=record["flooding"],
        mtu=record["mtu"],
    )
