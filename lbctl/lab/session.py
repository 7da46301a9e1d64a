"""A lab that outlives a command: ``lbctl lab up``, ``shell``, ``down``. Its plan is kept under /run/lbctl-lab."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path

from lbctl.errors import LabError, UsageError
from lbctl.lab import ownership, wiring
from lbctl.lab.interrupts import uninterrupted, unwinding_on_termination
from lbctl.lab.node import Node, NodePlan, Role
from lbctl.lab.processes import Processes
from lbctl.lab.segments import HOME, Place, segment_of
from lbctl.lab.topology import Lab, LabPlan

RECORD = Path("/run/lbctl-lab/lab.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonPaths:
    """What ``lbctl run`` is told on a director of a standing lab, so that it keeps off the machine's own lbctl."""

    config: Path
    pins: Path
    socket: Path
    state: Path


def up(plan: LabPlan) -> Lab:
    """Build a lab and leave it standing, after removing what killed ones have left. `UsageError` if one stands already."""
    remove_abandoned()
    if RECORD.exists():
        raise UsageError("a lab is up already", hint="end it with: lbctl lab down")
    RECORD.parent.mkdir(mode=0o755, exist_ok=True)
    lab = Lab(plan)
    with unwinding_on_termination():
        lab.build()
        try:
            RECORD.write_text(_to_json(plan))
            lab.leave_standing()
        except BaseException:
            with uninterrupted():
                RECORD.unlink(missing_ok=True)
                lab.tear_down()
            raise
    return lab


def down() -> LabPlan:
    """Take the standing lab down, with every process that lives in it. `UsageError` if none stands."""
    plan = current()
    with uninterrupted():
        wiring.remove(plan.prefix, plan.directory)
        RECORD.unlink()
    return plan


def remove_abandoned() -> tuple[str, ...]:
    """Remove the labs whose owner was killed before it could; return their prefixes. One that is alive is never touched."""
    with uninterrupted(), ownership.abandoned() as labs:
        for lab in labs:
            wiring.remove(lab.prefix, lab.directory)
            _forget(lab.prefix)
        return tuple(lab.prefix for lab in labs)


def shell(name: str, command: Sequence[str] = ()) -> None:
    """Become a command, or else a shell, on a node of the standing lab (this process is replaced).

    Commands of lbctl reach the node's own daemon there. `UsageError` for an unknown node or command.
    """
    lab_plan = current()
    plan = find_node(lab_plan, name)
    program = list(command) or [os.environ.get("SHELL", "/bin/sh")]
    environment = _environment(lab_plan, plan)
    if shutil.which(program[0], path=environment["PATH"]) is None:
        raise UsageError(f"{program[0]}: no such command", hint="name a program that is installed on this machine")
    argv = Node(plan, processes=Processes()).inside(program)
    os.execvpe(argv[0], argv, environment)


def paths_of(plan: LabPlan, director: str) -> DaemonPaths:
    """Where a director of a standing lab keeps its daemon's files."""
    directory = plan.directory / director
    return DaemonPaths(
        config=directory / "lbctl.yaml",
        pins=plan.bpffs / director,
        socket=directory / "lbctl.sock",
        state=directory / "state",
    )


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


def _environment(lab: LabPlan, node: NodePlan) -> dict[str, str]:
    prompt = f"[{node.name}] \\w # "
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # Bash reads its start-up files after the environment; they would put their own prompt in this one's place.
    extra = {"PATH": path, "PS1": prompt, "PROMPT_COMMAND": f"PS1={shlex.quote(prompt)}"}
    if node.role is Role.DIRECTOR:
        paths = paths_of(lab, node.name)
        extra |= {"LBCTL_SOCKET": str(paths.socket), "LBCTL_PINS": str(paths.pins), "LBCTL_CONFIG": str(paths.config)}
    return {**os.environ, **extra}


def _forget(prefix: str) -> None:
    """Drop the record of a standing lab that never came to stand, or that a reboot took away."""
    with suppress(UsageError, LabError):
        if current().prefix == prefix:
            RECORD.unlink()


def _switch_node(plan: LabPlan) -> NodePlan:
    nowhere = Place(segment=HOME, host=0, interface="none", port="none")
    return NodePlan(name="switch", role=Role.CLIENT, namespace=plan.switch, places=(nowhere,))


def _to_json(plan: LabPlan) -> str:
    nodes = [
        {
            "name": node.name,
            "role": node.role,
            "namespace": node.namespace,
            "places": [{**asdict(place), "segment": place.segment.name} for place in node.places],
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
        "ipv4": plan.ipv4,
        "ipv6": plan.ipv6,
    }
    return json.dumps(record, indent=2)


def _from_json(text: str) -> LabPlan:
    record = json.loads(text)
    nodes = tuple(
        NodePlan(
            name=node["name"],
            role=Role(node["role"]),
            namespace=node["namespace"],
            places=tuple(Place(**{**place, "segment": segment_of(place["segment"])}) for place in node["places"]),
        )
        for node in record["nodes"]
    )
    return LabPlan(
        prefix=record["prefix"],
        directory=Path(record["directory"]),
        nodes=nodes,
        vips=tuple(map(ip_address, record["vips"])),
        flooding=record["flooding"],
        mtu=record["mtu"],
        ipv4=record["ipv4"],
        ipv6=record["ipv6"],
    )
