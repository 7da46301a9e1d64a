"""The controller with 1,000 services over 100 pools of 100 backends: from facts to the kernel's memory, and what that takes.

Run as a process of its own (``python -m tests.bench.large ROUNDS``), so that the memory is that of the daemon's core and of
nothing else; it prints JSON: values by the names of `LIMITS`. `figures` runs it. Probes and the network are left out: every
backend has answered before the first tables are made.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv4Interface
from unittest.mock import patch

from lbctl.core import slots
from lbctl.core.model import Backend, CheckTiming, Declaration, Interface, Pool, PoolKind, Protocol, Service, TcpCheck
from lbctl.core.plan import Plan, SetSlots
from lbctl.core.verdict import Outcome, ProbeResult
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.reports.status import anonymous_bytes
from lbctl.daemon.state.overrides import Overrides
from lbctl.dataplane.objectfile import compile_source
from lbctl.network.port import Link, Neighbour
from tests.bench.figures import Figure, figure
from tests.packets.rig import Rig, rig_of
from tests.packets.world import LOOPBACK, OWN_MAC

POOLS, BACKENDS, SERVICES = 100, 100, 1_000
LIMITS = {
    "large: first tables": ("s", 10.0),
    "large: one weight changed": ("ms", 1000.0),
    "large: nothing changed": ("ms", 1000.0),
    "large: slot tables computed at first": ("", float(POOLS)),
    "large: slot tables computed for one weight": ("", 1.0),
    "large: steps written for one weight": ("", 1.0),
    "large: slot tables computed for nothing": ("", 1.0),
    "large: anonymous memory of the core": ("MB", 200.0),
    "large: BPF maps": ("MB", 100.0),
}
NIC = Interface(name="lo", address=IPv4Interface("10.0.0.1/8"))
LINK = Link(ifindex=LOOPBACK, name="lo", mac=OWN_MAC, addresses=(IPv4Interface("10.0.0.1/8"),), is_up=True, mtu=1500)
CHECK = TcpCheck(port=104, timing=CheckTiming(rise=1))
HEALTHY = ProbeResult(outcome=Outcome.HEALTHY, detail="connected to port 104")


def backend(pool: int, number: int, *, weight: int = 100) -> Backend:
    """One of a pool."""
    address = IPv4Address("10.1.0.0") + 256 * pool + number
    return Backend(
        pool=f"pool{pool}", name=f"server{number}", address=address, interface=NIC.name, weight=weight, check=CHECK
    )


def pool(number: int) -> Pool:
    """With all its backends."""
    members = tuple(backend(number, each) for each in range(1, BACKENDS + 1))
    return Pool(name=f"pool{number}", kind=PoolKind.OTHER, storage=None, backends=members)


def service(number: int) -> Service:
    """One of four to a VIP; the pools take turns."""
    return Service(
        name=f"service{number}",
        vip=IPv4Address("10.200.0.1") + number // 4,
        ports=(1_000 + number % 4,),
        protocol=Protocol.TCP,
        pool=f"pool{number % POOLS}",
        interface=NIC.name,
        idle_timeout_s=3600.0,
    )


def declaration() -> Declaration:
    """All of it."""
    return Declaration(
        interfaces=(NIC,), services=tuple(map(service, range(SERVICES))), pools=tuple(map(pool, range(POOLS)))
    )


def with_weight(declared: Declaration, weight: int) -> Declaration:
    """The same, but one backend of the first pool has another weight."""
    first, *others = declared.pools
    changed = replace(first, backends=(backend(0, 1, weight=weight), *first.backends[1:]))
    return replace(declared, pools=(changed, *others))


def meet_all(reconciler: Reconciler) -> None:
    """Every backend answers ARP and its first probe."""
    for each in reconciler.declaration.backends():
        mac = b"\x02\x00" + each.address.packed
        found = Neighbour(ifindex=LOOPBACK, address=each.address, mac=mac, usable=True, state="reachable")
        reconciler.neighbour_seen(found)
        reconciler.observed.probed(each.label, HEALTHY, now=0.0)


@contextmanager
def counting_tables() -> Iterator[list[int]]:
    """The sizes of the slot tables that are computed meanwhile."""
    sizes: list[int] = []
    with patch.object(slots, "assign", wraps=slots.assign) as assign:
        yield sizes
    sizes += [call.kwargs["size"] for call in assign.call_args_list]


def timed(rig: Rig, reconciler: Reconciler) -> tuple[float, int, Plan]:
    """One reconciliation: seconds, slot tables computed, what was done."""
    with rig.elsewhere(), counting_tables() as computed:
        began = time.perf_counter()
        plan = reconciler.reconcile(now=0.0)
        took = time.perf_counter() - began
    return took, len(computed), plan


def measure(rig: Rig, rounds: int) -> dict[str, list[float]]:
    """Values by the names of `LIMITS`."""
    values: dict[str, list[float]] = {name: [] for name in LIMITS}
    note = partial(_note, values)
    declared = declaration()
    reconciler = Reconciler(declared, rig.dataplane, overrides=Overrides(), actives={}, now=0.0)
    reconciler.neighbourhood.met({NIC.name: LINK})
    meet_all(reconciler)
    took_s, computed, _ = timed(rig, reconciler)
    note({"first tables": took_s, "slot tables computed at first": computed})
    for number in range(rounds):
        reconciler.declare(with_weight(declared, 10 + number), now=0.0)
        took_s, computed, plan = timed(rig, reconciler)
        assert all(isinstance(step, SetSlots) for step in plan.steps), plan.steps
        note({"one weight changed": 1000 * took_s, "slot tables computed for one weight": computed})
        note({"steps written for one weight": len(plan.steps)})
        took_s, computed, plan = timed(rig, reconciler)
        assert plan.is_empty
        note({"nothing changed": 1000 * took_s, "slot tables computed for nothing": computed})
    note({"anonymous memory of the core": anonymous_bytes() / 1e6, "BPF maps": rig.dataplane.memory_bytes() / 1e6})
    return values


def _note(values: dict[str, list[float]], found: dict[str, float]) -> None:
    for name, value in found.items():
        values[f"large: {name}"].append(value)


def figures(rounds: int) -> list[Figure]:
    """Those of a fresh process."""
    argv = [sys.executable, "-m", __spec__.name, str(rounds)]
    values = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return [figure(name, values[name], unit=unit, limit=limit) for name, (unit, limit) in LIMITS.items()]


def main() -> None:
    """Measure, print."""
    with rig_of(compile_source()) as rig:
        print(json.dumps(measure(rig, int(sys.argv[1]))))


if __name__ == "__main__":
    main()
