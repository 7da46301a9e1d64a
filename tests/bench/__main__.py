"""``make bench``: nanoseconds per packet by path, against a bare MAC-swap program in the same run.

Rounds are interleaved (bare, path, path, …, bare, path, …), so that a change of clock speed or a noisy neighbour meets all
of them; each figure is the median over the rounds of the difference and the ratio *within* a round. That every repeat took
the path meant is proven by the program's own counters. Writes ``build/bench.json``.
Then come real frames by the second (`live`, to ``build/live.json``) and the controller's figures (`controller`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from ipaddress import IPv4Network
from pathlib import Path as FilePath

from lbctl.core.model import Address, Network, OnEmpty
from lbctl.core.tables import Tables
from lbctl.dataplane.layout import Reason
from lbctl.dataplane.objectfile import compile_source
from lbctl.dataplane.port import Assigned
from tests.bench import controller, live
from tests.bench.paths import FIRST_ACK, FIRST_ACK6, PATHS, Path, Setting
from tests.bench.timing import Sample, client_without_collisions, enter_flows, one_round
from tests.packets.rig import Rig, rig_of
from tests.packets.world import backend_row, tables

HANDSHAKES = (FIRST_ACK, FIRST_ACK6)
FIRST_CLIENT = 100
"""Addresses that are stepped through must not meet the director's own."""
MANY = 1 << 29
"""A limit that no path reaches."""


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
    print(f"\n{'figure':<43} {'value':>9} {'unit':<5} {'limit':>7} {'ratio':>7}")
    for row in rows:
        print(f"{row['figure']:<43} {row['value']:>9} {row['unit']:<5} {row['limit']:>7} {row['ratio']:>7}")


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
        rates = live.measure(rig, options.rounds)
    rows = [summarise(name, samples) for name, samples in results.items()]
    print_paths(rows, options.rounds)
    write(options.output / "bench.json", rows)
    live.print_rates(rates)
    write(options.output / "live.json", [asdict(rate) for rate in rates])
    figures = controller.measure(options.rounds)
    print_figures(figures)
    write(options.output / "controller.json", figures)


if __name__ == "__main__":
    main()
