"""What all measurements on the program share: flows in its tables, and one run, of which it is proven which way it went."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from lbctl.core.model import Address, Protocol
from lbctl.dataplane.addresses import address_field
from lbctl.dataplane.layout import FLOW, FLOW_KEY4, FLOW_KEY6, HALF_OPENS, Reason
from tests.bench.paths import PORT, SYN, UDP_PORT, Path
from tests.packets.hashes import hash_flow
from tests.packets.rig import Rig
from tests.packets.world import SERVICES

BARE = "bench_bare"
INGRESS = "bench_ingress"
FIRST_PORT = 40_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one path, in nanoseconds a packet."""

    ns: int
    bare_ns: int


def ports_in_order(path: Path, amount: int) -> list[int]:
    """The client ports of the repeats: the step is added to the port as it lies in memory, which is big-endian."""
    start = int.from_bytes(FIRST_PORT.to_bytes(2, "big"), "little")
    steps = (start + path.port_step * (i + 1) & 0xFFFF for i in range(amount))
    return [int.from_bytes(step.to_bytes(2, "little"), "big") for step in steps]


def enter_flows(rig: Rig, path: Path, client: Address) -> None:
    """Put the flows of a path into the table, to backend 1."""
    port = PORT if path.protocol == "tcp" else UDP_PORT
    ports = ports_in_order(path, path.flows)
    keys = np.zeros(len(ports), FLOW_KEY4 if client.version == 4 else FLOW_KEY6)
    keys["client"], keys["vip"] = address_field(client), address_field(path.destination)
    keys["client_port"], keys["vip_port"] = ports, port
    flows = np.zeros(len(ports), FLOW)
    flows["backend"], flows["last_seen"] = 1 | 7 << 16, rig.clock.jiffies()
    flows["service"] = SERVICES[path.destination, port, Protocol(path.protocol)]
    rig.flows[f"lb_flows_{path.protocol}{client.version}"].set_all(keys, flows)


def client_without_collisions(path: Path, after: int) -> Address:
    """A client whose connections all find a row of their own in the half-open array, so that every ACK finds its SYN."""
    ports = ports_in_order(path, path.repeats)
    for number in count(after):
        client = path.client(number)
        rows = {hash_flow(client, path.destination, port, PORT) % HALF_OPENS for port in ports}
        if len(rows) == len(ports):
            return client
    raise AssertionError("count() is endless")


def time_path(rig: Rig, path: Path, client: Address) -> int:
    """Nanoseconds a packet of one run; fails if a repeat left by another way."""
    packet = path.packet(client, FIRST_PORT)
    before = rig.reasons()
    outcome = rig.run(packet, program=INGRESS, repeat=path.repeats)
    took = {name: packets - before[name] for name, packets in rig.reasons().items() if packets != before[name]}
    expected = {} if path.reason is Reason.NOT_VIP else {path.reason.name.lower(): path.repeats}
    if took != expected:
        raise SystemExit(f"bench: {path.name}: expected {expected}, the program counted {took}")
    return outcome.duration_ns


def one_round(rig: Rig, path: Path, client: Address) -> Sample:
    """Bare, then the path, from the state that the path needs."""
    if path.reason is Reason.FIRST_ACK:
        time_path(rig, replace(path, reason=Reason.SYN, flags=SYN), client)
    bare = rig.run(path.packet(client, FIRST_PORT), program=BARE, repeat=path.repeats).duration_ns
    return Sample(ns=time_path(rig, path, client), bare_ns=bare)
