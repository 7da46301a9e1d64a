"""A change of a file of 1,000 services over 100 pools of 100 backends: what it takes from the text to the tables, read back.

Run as a process of its own (``python -m tests.bench.changing ROUNDS``); prints JSON: values by the names of `LIMITS`. Program,
maps and tables are real. The network is left out, and so are probes under way, the history on disk and the control socket:
every backend has answered before the first tables are made, and whoever the file does not change is not touched by a change.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address

from lbctl.config.loader import parse
from lbctl.core.drift import drift
from lbctl.core.effects.outlook import Outlook
from lbctl.core.features import features_of
from lbctl.daemon.changes.rehearsing import Rehearsal
from lbctl.daemon.models.planned import planned
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.state.overrides import Overrides
from lbctl.dataplane.objectfile import compile_source
from tests.bench.figures import Figure, figure
from tests.bench.large import BACKENDS, LINK, NIC, POOLS, SERVICES, meet_all
from tests.packets.rig import Rig, rig_of

LIMITS = {
    "changing: file read, as it was before": ("ms", 500.0),
    "changing: plan, one pool changed": ("ms", 2000.0),
    "changing: apply, one backend changed": ("ms", 300.0),
    "changing: tables read back, nothing changed": ("ms", 500.0),
}
LINKS = {NIC.name: LINK}


def file(*, weights: int = 100, first: int = 100) -> str:
    """The configuration: the first pool's backends have one weight, its first backend has one of its own."""
    services = "".join(
        f"  service{number}:\n    vip: {IPv4Address('10.200.0.1') + number // 4}\n"
        f"    ports: [{1_000 + number % 4}]\n    pool: pool{number % POOLS}\n"
        for number in range(SERVICES)
    )
    pools = "".join(map(_pool, range(1, POOLS)))
    head = f"interfaces:\n  {NIC.name}: {{address: {NIC.address}}}\nservices:\n{services}pools:\n"
    return head + _pool(0, weights=weights, first=first) + pools


def _pool(number: int, *, weights: int = 100, first: int = 100) -> str:
    check = "    check: {type: tcp, port: 104, interval: 1m, rise: 1}\n"
    backends = "".join(
        f"      server{each}: {{address: {IPv4Address('10.1.0.0') + 256 * number + each}, "
        f"weight: {first if each == 1 else weights}}}\n"
        for each in range(1, BACKENDS + 1)
    )
    return f"  pool{number}:\n    kind: other\n{check}    backends:\n{backends}"


def plan(reconciler: Reconciler, rig: Rig, text: str) -> None:
    """As ``lbctl plan``: nothing is changed."""
    declared = parse(text, source="lbctl.yaml")
    found = drift(rig.dataplane.read(), written=reconciler.current, names=reconciler.labels)
    was = Rehearsal(reconciler).tables(now=0.0)
    will_be = Rehearsal(reconciler).tables_with(declared, LINKS, now=0.0)
    outlook = Outlook(before=reconciler.declaration, after=declared, was=was, will_be=will_be)
    report = planned(
        outlook, base="", proposed="", source="", generation=0, features=features_of(declared), drift=found
    )
    assert report.changes and not report.drift, report


def apply(reconciler: Reconciler, text: str) -> None:
    """As ``lbctl apply``: what cannot be is refused before the first write, and what was written is read back."""
    reconciler.declare(parse(text, source="lbctl.yaml"), now=0.0)
    reconciler.plan(now=0.0)
    assert not reconciler.reconcile(now=0.0, is_change=True).is_empty


def read_back(reconciler: Reconciler, rig: Rig) -> None:
    """As a plan of the text in force does."""
    assert not drift(rig.dataplane.read(), written=reconciler.current, names=reconciler.labels)


def _took_ms(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - began)


def measure(rig: Rig, rounds: int) -> dict[str, list[float]]:
    """Values by the names of `LIMITS`."""
    found: list[tuple[float, ...]] = []
    reconciler = Reconciler(
        parse(file(), source="lbctl.yaml"), rig.dataplane, overrides=Overrides(), actives={}, now=0.0
    )
    reconciler.neighbourhood.met(LINKS)
    meet_all(reconciler)
    with rig.elsewhere():
        reconciler.reconcile(now=0.0)
        for number in range(rounds):
            of_pool, of_backend = file(weights=1 + number), file(first=1 + number)
            found.append(
                (
                    _took_ms(lambda: parse(file(), source="lbctl.yaml")),
                    _took_ms(lambda text=of_pool: plan(reconciler, rig, text)),  # type: ignore[misc]
                    _took_ms(lambda text=of_backend: apply(reconciler, text)),  # type: ignore[misc]
                    _took_ms(lambda: read_back(reconciler, rig)),
                )
            )
    return dict(zip(LIMITS, map(list, zip(*found, strict=True)), strict=True))


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
