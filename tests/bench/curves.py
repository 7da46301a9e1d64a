"""``make curves``: nanoseconds per packet over a bare forwarder, against the number of backends, of services, and of flows.

Established connections and SYNs, IPv4. The packets of a point go through all of its connections, one after the other, and so
to all of its services and backends: what grows is what has to be fetched from memory. Writes ``build/curves.svg`` and
``build/curves.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lbctl.dataplane import loader
from lbctl.dataplane.layout import Reason, sized
from lbctl.dataplane.objectfile import compile_source
from tests.bench.crowd import ACK, SYN, Crowd
from tests.bench.svg import Panel, drawn
from tests.packets.devices import devices, mounted_bpffs
from tests.packets.rig import Rig

BARE, INGRESS = "curves_bare", "curves_ingress"
USUAL = Crowd(backends=3, services=1, connections=1_000)
CURVES: Mapping[str, tuple[Crowd, ...]] = {
    "backends": tuple(replace(USUAL, backends=number) for number in (3, 100, 1_000)),
    "services": tuple(replace(USUAL, services=number) for number in (1, 64, 1_000)),
    "connections": tuple(replace(USUAL, connections=10**exponent) for exponent in range(7)),
}
REPEATS = 200_000
ROOM = 1 << 20
"""Flows that the table holds."""
KINDS = {"established": (ACK, Reason.ESTABLISHED), "SYN": (SYN, Reason.SYN)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One kind of packets in one crowd, over ``rounds`` rounds."""

    curve: str
    number: int
    kind: str
    over_bare_ns: float
    rounds: int


@contextmanager
def large_rig() -> Iterator[Rig]:
    """The program with a table for `ROOM` flows."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbctl-curves-")))
        pins = stack.enter_context(mounted_bpffs(directory))
        source = compile_source(Path(__file__).with_name("curves.c"))
        loaded = loader.load(source, pins, sized(tcp_flows=ROOM, has_ipv6=False))
        yield Rig(loaded, pins, stack.enter_context(devices()))


def over_bare_ns(rig: Rig, crowd: Crowd, kind: str) -> int:
    """One measurement, in the rig's tables; fails if a packet went another way than the kind's. All connections were met once
    before, so that what is measured is no first meeting."""
    flags, reason = KINDS[kind]
    frame, repeats = crowd.frame(flags), max(REPEATS, crowd.connections)
    rig.run(frame, program=INGRESS, repeat=crowd.connections)
    bare = rig.run(frame, program=BARE, repeat=repeats).duration_ns
    before = rig.reasons()
    took = rig.run(frame, program=INGRESS, repeat=repeats).duration_ns
    ways = {name: n - before[name] for name, n in rig.reasons().items() if n != before[name]}
    if ways != {reason.name.lower(): repeats}:
        raise SystemExit(f"curves: {kind}, {crowd}: {repeats} packets, the program counted {ways}")
    return took - bare


def measure(rounds: int) -> list[Point]:
    """All points in every round."""
    found: dict[tuple[str, int, str], list[int]] = {}
    cases = [(curve, crowd, kind) for curve, crowds in CURVES.items() for crowd in crowds for kind in KINDS]
    with large_rig() as rig:
        for number in range(rounds):
            for curve, crowd, kind in cases:
                prepare(rig, crowd, kind)
                found.setdefault((curve, getattr(crowd, curve), kind), []).append(over_bare_ns(rig, crowd, kind))
            print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return [
        Point(curve=curve, number=number, kind=kind, over_bare_ns=statistics.median(values), rounds=rounds)
        for (curve, number, kind), values in found.items()
    ]


def prepare(rig: Rig, crowd: Crowd, kind: str) -> None:
    """The crowd's tables, and its flows if they are established."""
    rig.hold(crowd.tables())
    rig.forget()
    if kind == "established":
        crowd.enter(rig)


def print_points(points: Sequence[Point]) -> None:
    """The table: a row for each number, a column for each kind."""
    print(f"{'ns per packet over bare':<30}" + "".join(f"{kind:>14}" for kind in KINDS))
    for curve, crowds in CURVES.items():
        for crowd in crowds:
            number = getattr(crowd, curve)
            values = [p.over_bare_ns for p in points if (p.curve, p.number) == (curve, number)]
            print(f"{curve:<14}{number:>16,}" + "".join(f"{value:>+14.0f}" for value in values))


def panels(points: Sequence[Point]) -> list[Panel]:
    """One for each curve."""
    return [
        Panel(
            title=curve,
            lines={
                kind: [(p.number, p.over_bare_ns) for p in points if (p.curve, p.kind) == (curve, kind)]
                for kind in KINDS
            },
        )
        for curve in CURVES
    ]


def main() -> None:
    """Measure, print the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("build"))
    options = parser.parse_args()
    points = measure(options.rounds)
    print_points(points)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "curves.json").write_text(json.dumps([asdict(point) for point in points], indent=1) + "\n")
    plot = options.output / "curves.svg"
    plot.write_text(drawn(panels(points), unit="ns per packet over a bare forwarder"))
    print(f"drawn: {plot}")


if __name__ == "__main__":
    main()
