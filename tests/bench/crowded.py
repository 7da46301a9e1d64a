"""The whole daemon with 10,000 backends and their probes: a director in the lab whose one neighbour has that many addresses.

``python -m tests.bench.crowded`` prints the figures, and what happens on the way. 1,000 services on 100 VIPs, 100 pools of 100
backends, each probed by TCP through its VIP once a minute. Nothing is left out: ARP, policy routes, history on the disk, the
control socket.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from ipaddress import IPv4Address
from pathlib import Path as FilePath

from lbctl.cli.client import APPLY_TIMEOUT_S, PLAN_TIMEOUT_S, post
from lbctl.daemon.models import Application, Done, PlanReport, Proposal
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.bench.figures import Figure, figure

POOLS, BACKENDS, SERVICES = 100, 100, 1_000
OWN, FIRST_BACKEND, FIRST_VIP = "10.0.0.1/8", IPv4Address("10.1.0.0"), IPv4Address("10.200.0.1")
PORT = 104
SETTLED_WITHIN_S, WATCHED_S = 150.0, 20.0
LIMITS = {
    "crowded: daemon's start to all backends up": ("s", 60.0),
    "crowded: share of a core when nothing happens": ("%", 50.0),
    "crowded: lbctl plan, file unchanged": ("ms", 500.0),
    "crowded: plan, one pool changed": ("ms", 2000.0),
    "crowded: apply, one backend changed": ("ms", 300.0),
}
SERVER = f"""
import socket
listening = socket.create_server(("0.0.0.0", {PORT}), backlog=4096)
while True:
    listening.accept()[0].close()
"""


def backend_addresses() -> list[IPv4Address]:
    """Those of the pools, one after the other."""
    return [FIRST_BACKEND + 256 * pool + each for pool in range(POOLS) for each in range(1, BACKENDS + 1)]


def vips() -> list[IPv4Address]:
    """One to a pool."""
    return [FIRST_VIP + number for number in range(POOLS)]


def file(*, weights: int = 100, first: int = 100) -> str:
    """The configuration: the first pool's backends have one weight, its first backend has one of its own."""
    services = "".join(
        f"  service{number}:\n    vip: {FIRST_VIP + number % POOLS}\n"
        f"    ports: [{1_000 + number // POOLS}]\n    pool: pool{number % POOLS}\n"
        for number in range(SERVICES)
    )
    pools = "".join(map(_pool, range(1, POOLS)))
    head = f"interfaces:\n  eth0: {{address: {OWN}}}\nservices:\n{services}pools:\n"
    return head + _pool(0, weights=weights, first=first) + pools


def _pool(number: int, *, weights: int = 100, first: int = 100) -> str:
    check = f"    check: {{type: tcp, port: {PORT}, interval: 1m, rise: 1}}\n"
    backends = "".join(
        f"      server{each}: {{address: {FIRST_BACKEND + 256 * number + each}, "
        f"weight: {first if each == 1 else weights}}}\n"
        for each in range(1, BACKENDS + 1)
    )
    return f"  pool{number}:\n    kind: other\n{check}    backends:\n{backends}"


@contextmanager
def crowded() -> Iterator[Daemon]:
    """A daemon that has not been started, and the node that is all its backends."""
    with Lab(plan_lab(backends=1, clients=0, vips=vips())) as lab:
        lab.director.ip(f"address add {OWN} dev eth0")
        populate(lab.backends[0])
        yield Daemon(lab, config=file())


def populate(node: Node) -> None:
    """Give the node all addresses, and a server that listens on all."""
    node.ip("route add 10.0.0.0/8 dev eth0", *(f"address add {each}/32 dev eth0" for each in backend_addresses()))
    node.popen([sys.executable, "-c", SERVER])


def base(daemon: Daemon) -> str:
    """Of the text in force."""
    return sha256(daemon.config.read_bytes()).hexdigest()


def plan(daemon: Daemon, text: str) -> PlanReport:
    """As ``lbctl plan`` asks for it."""
    proposal = Proposal(text=text, source=str(daemon.config))
    return post(daemon.socket, "/v1/plan", PlanReport, content=proposal, timeout_s=PLAN_TIMEOUT_S)


def apply(daemon: Daemon, text: str) -> Done:
    """As ``lbctl apply`` does of another file, whose text the daemon's own has then."""
    application = Application(text=text, source="changed.yaml", base=base(daemon))
    return post(daemon.socket, "/v1/apply", Done, content=application, timeout_s=APPLY_TIMEOUT_S)


def backends_up(daemon: Daemon) -> int:
    """How many are, by the log: with so many, to ask for the status would be a load of its own."""
    return daemon.log.read_text().count(" is up: ")


def core_seconds(daemon: Daemon) -> float:
    """Processor time of the daemon so far."""
    fields = FilePath(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _took_s(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _apply_s(daemon: Daemon, text: str) -> float:
    """Of the request; it was planned, as everybody does."""
    plan(daemon, text)
    return _took_s(lambda: apply(daemon, text))


def share_of_a_core(daemon: Daemon) -> float:
    """What the daemon takes while nothing happens but its probes, in per cent."""
    before = core_seconds(daemon)
    took_s = _took_s(lambda: time.sleep(WATCHED_S))
    return 100 * (core_seconds(daemon) - before) / took_s


def settle(daemon: Daemon) -> float:
    """Start the daemon and wait until every backend is up; seconds that took."""
    everybody = POOLS * BACKENDS

    def start() -> None:
        daemon.start(ready_within_s=SETTLED_WITHIN_S)
        print(f"ready; {backends_up(daemon)} of {everybody} up", file=sys.stderr)
        wait_until(
            lambda: backends_up(daemon) == everybody, deadline_s=SETTLED_WITHIN_S, pause_s=1.0, what="all to be up"
        )

    return _took_s(start)


def measure(daemon: Daemon, rounds: int) -> dict[str, list[float]]:
    """Values by the names of `LIMITS`."""
    began = [settle(daemon)], [share_of_a_core(daemon)]
    found: list[tuple[float, ...]] = []
    for number in range(rounds):
        found.append(
            (
                1000 * _took_s(lambda: daemon.ctl("plan", str(daemon.config))),
                1000 * _took_s(lambda weights=1 + number: plan(daemon, file(weights=weights))),  # type: ignore[misc]
                1000 * _apply_s(daemon, file(first=1 + number)),
            )
        )
    return dict(zip(LIMITS, (*began, *map(list, zip(*found, strict=True))), strict=True))


def figures(rounds: int) -> list[Figure]:
    """Those of one start."""
    with crowded() as daemon:
        values = measure(daemon, rounds)
        daemon.stop()
        return [figure(name, values[name], unit=unit, limit=limit) for name, (unit, limit) in LIMITS.items()]


def main() -> None:
    """Measure, print."""
    for row in figures(5):
        print(asdict(row))


if __name__ == "__main__":
    main()
