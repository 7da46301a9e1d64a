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
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from itertools import count
from pathlib import Path as FilePath

import numpy as np

from lbctl.core.model import Address, Network, OnEmpty, Protocol
from lbctl.core.tables import Tables
from lbctl.dataplane.addresses import address_field
from lbctl.dataplane.layout import FLOW, FLOW_KEY4, FLOW_KEY6, HALF_OPENS, Reason
from lbctl.dataplane.objectfile import compile_source
from lbctl.dataplane.port import Assigned
from tests.bench import controller
from tests.bench.paths import FIRST_ACK, FIRST_ACK6, PATHS, PORT, SYN, UDP_PORT, Path, Setting
from tests.packets.hashes import hash_flow
from tests.packets.rig import Rig, rig_of
from tests.packets.world import SERVICES, backend_row, tables

BARE = "bench_bare"
INGRESS = "bench_ingress"
HANDSHAKES = (FIRST_ACK, FIRST_ACK6)
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


def listed(held: Tables, client: Address) -> Tables:
    """The same tables, with a list of sources for every service: the client and 1,000 others."""
    prefixes: dict[Network, int] = {IPv4Network((0x0B00_0000 + number * 256, 24)): 0 for number in range(1000)}
    services = {key: replace(row, source_list=1) for key, row in held.services.items() if key.vip.version == 4}
    prefixes[IPv4Network((int(client) >> 24 << 24, 8))] = 0
    return replace(held, services=services, sources={1: prefixes})


def hold(rig: Rig, setting: Setting, client: Address) -> None:
    """The tables of a setting; nothing is remembered but what belongs to it."""
    limit = {Setting.LIMITED: MANY, Setting.FULL: 1}.get(setting, 0)
    is_private = setting in (Setting.PRIVATE, Setting.ASSIGNED)
    rows = {number: backend_row(number, limit=limit) for number in (1, 2, 3)}
    held = tables(rows, is_private=is_private, on_empty=OnEmpty.DROP)
    rig.hold(listed(held, client) if setting is Setting.LISTED else held)
    rig.forget()
    if setting is Setting.FULL:
        rig.connections["opened"][1:4] = 1
    if setting is Setting.ASSIGNED:
        rig.dataplane.assign({Assigned(pool_id=1, source=client): 1 | 7 << 16})


def measure(rig: Rig, paths: Sequence[Path], rounds: int) -> dict[str, list[Sample]]:
    """All rounds of all paths, interleaved."""
    samples: dict[str, list[Sample]] = {path.name: [] for path in paths}
    handshakes = {path.destination.version: client_without_collisions(path, after=100_000) for path in HANDSHAKES}
    for number in range(rounds):
        for index, path in enumerate(paths):
            is_handshake = path.reason is Reason.FIRST_ACK
            client = handshakes[path.destination.version] if is_handshake else path.client(FIRST_CLIENT + index)
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
    print(f"{'path':<38} {'ns':>7} {'over bare':>10} {'ratio':>6}   (median of {rounds} interleaved rounds)")
    for row in rows:
        print(f"{row['path']:<38} {row['ns']:>7} {row['over_bare_ns']:>+10} {row['ratio']:>6}")


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
