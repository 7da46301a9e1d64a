"""``make bench``: nanoseconds per packet by path, against a bare MAC-swap program in the same run.

Rounds are interleaved (bare, path, path, …, bare, path, …), so that a change of clock speed or a noisy neighbour meets all
of them; each figure is the median over the rounds of the difference and the ratio *within* a round. That every repeat took
the path meant is proven by the program's own counters. Writes ``build/bench.json``.
Then come the controller's figures (`controller`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path as FilePath

import numpy as np

from lbctl.core.model import OnEmpty
from lbctl.dataplane.layout import FLOW, FLOW_KEY4, HALF_OPENS, Reason
from lbctl.dataplane.objectfile import compile_source
from lbctl.dataplane.port import Assigned
from tests.bench import controller
from tests.bench.paths import CLIENT, FIRST_ACK, PATHS, PORT, SYN, UDP_PORT, VIP, Path, Setting
from tests.packets.hashes import hash_flow
from tests.packets.rig import Rig, backend_row, rig_of, tables

BARE = "bench_bare"
INGRESS = "bench_ingress"
FIRST_PORT = 40_000
FIRST_CLIENT = 100
"""Addresses that are stepped through must not meet the director's own."""
MANY = 1 << 29
"""A limit that no path reaches."""


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


def enter_flows(rig: Rig, path: Path, client: IPv4Address) -> None:
    """Put the flows of a path into the table, to backend 1."""
    is_tcp = path.protocol == "tcp"
    ports = ports_in_order(path, path.flows)
    keys, flows = np.zeros(len(ports), FLOW_KEY4), np.zeros(len(ports), FLOW)
    keys["client"], keys["vip"] = int(client), int(VIP)
    keys["client_port"], keys["vip_port"] = ports, PORT if is_tcp else UDP_PORT
    flows["backend"], flows["last_seen"], flows["service"] = 1 | 7 << 16, rig.clock.jiffies(), 1 if is_tcp else 3
    rig.flows["lb_flows_tcp4" if is_tcp else "lb_flows_udp4"].set_all(keys, flows)


def client_without_collisions(path: Path, after: int) -> IPv4Address:
    """A client whose connections all find a row of their own in the half-open array, so that every ACK finds its SYN."""
    ports = ports_in_order(path, path.repeats)
    for number in count(after):
        client = IPv4Address(int(CLIENT) + number)
        if len({hash_flow(client, VIP, port, PORT) % HALF_OPENS for port in ports}) == len(ports):
            return client
    raise AssertionError("count() is endless")


def time_path(rig: Rig, path: Path, client: IPv4Address) -> int:
    """Nanoseconds a packet of one run; fails if a repeat left by another way."""
    packet = path.packet(client, FIRST_PORT)
    before = rig.reasons()
    outcome = rig.run(packet, program=INGRESS, repeat=path.repeats)
    took = {name: packets - before[name] for name, packets in rig.reasons().items() if packets != before[name]}
    expected = {} if path.reason is Reason.NOT_VIP else {path.reason.name.lower(): path.repeats}
    if took != expected:
        raise SystemExit(f"bench: {path.name}: expected {expected}, the program counted {took}")
    return outcome.duration_ns


def one_round(rig: Rig, path: Path, client: IPv4Address) -> Sample:
    """Bare, then the path, from the state that the path needs."""
    if path.reason is Reason.FIRST_ACK:
        handshake = Path(
            name=path.name, protocol="tcp", reason=Reason.SYN, flags=SYN, port_step=1, repeats=path.repeats
        )
        time_path(rig, handshake, client)
    bare = rig.run(path.packet(client, FIRST_PORT), program=BARE, repeat=path.repeats).duration_ns
    return Sample(ns=time_path(rig, path, client), bare_ns=bare)


def hold(rig: Rig, setting: Setting, client: IPv4Address) -> None:
    """The tables of a setting; nothing is remembered but what belongs to it."""
    limit = {Setting.LIMITED: MANY, Setting.FULL: 1}.get(setting, 0)
    is_private = setting in (Setting.PRIVATE, Setting.ASSIGNED)
    rows = {number: backend_row(number, limit=limit) for number in (1, 2, 3)}
    rig.hold(tables(rows, is_private=is_private, on_empty=OnEmpty.DROP))
    rig.forget()
    if setting is Setting.FULL:
        rig.connections["opened"][1:4] = 1
    if setting is Setting.ASSIGNED:
        rig.dataplane.assign({Assigned(pool_id=1, source=client): 1 | 7 << 16})


def measure(rig: Rig, paths: Sequence[Path], rounds: int) -> dict[str, list[Sample]]:
    """All rounds of all paths, interleaved."""
    samples: dict[str, list[Sample]] = {path.name: [] for path in paths}
    handshakes = client_without_collisions(FIRST_ACK, after=100_000)
    for number in range(rounds):
        for index, path in enumerate(paths):
            client = handshakes if path.reason is Reason.FIRST_ACK else IPv4Address(int(CLIENT) + FIRST_CLIENT + index)
            hold(rig, path.setting, client)
            if path.flows:
                enter_flows(rig, path, client)
            samples[path.name].append(one_round(rig, path, client))
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return samples


def summarise(name: str, samples: Sequence[Sample]) -> dict[str, object]:
    """One row of the table."""
    return {
        "path": name,
        "ns": statistics.median(sample.ns for sample in samples),
        "over_bare_ns": statistics.median(sample.ns - sample.bare_ns for sample in samples),
        "ratio": round(statistics.median(sample.ns / sample.bare_ns for sample in samples), 2),
        "rounds": len(samples),
    }


def print_paths(rows: Sequence[dict[str, object]], rounds: int) -> None:
    """The data plane's table."""
    print(f"{'path':<26} {'ns':>7} {'over bare':>10} {'ratio':>6}   (median of {rounds} interleaved rounds)")
    for row in rows:
        print(f"{row['path']:<26} {row['ns']:>7} {row['over_bare_ns']:>+10} {row['ratio']:>6}")


def print_figures(rows: Sequence[dict[str, object]]) -> None:
    """The controller's table."""
    print(f"\n{'figure':<38} {'value':>9} {'unit':<5} {'limit':>7} {'ratio':>7}")
    for row in rows:
        print(f"{row['figure']:<38} {row['value']:>9} {row['unit']:<5} {row['limit']:>7} {row['ratio']:>7}")


def write(path: FilePath, rows: Sequence[dict[str, object]]) -> None:
    """As JSON, for those who compare."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    """Measure, print the tables, write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--output", type=FilePath, default=FilePath("build"))
    options = parser.parse_args()
    with rig_of(compile_source(FilePath(__file__).with_name("bench.c"))) as rig:
        results = measure(rig, PATHS, options.rounds)
    rows = [summarise(name, samples) for name, samples in results.items()]
    print_paths(rows, options.rounds)
    write(options.output / "bench.json", rows)
    figures = controller.measure(options.rounds)
    print_figures(figures)
    write(options.output / "controller.json", figures)


if __name__ == "__main__":
    main()
