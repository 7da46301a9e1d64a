"""The controller's figures: slots to the kernel, start to first forwarded packet, resets, memory, and what 1,000 services take
(`large`, `changing`, `crowded`). Each with its limit and the ratio to it. Writes ``build/controller.json``: a list of
``{"figure", "value", "unit", "limit", "ratio", "rounds"}``."""

from __future__ import annotations

import selectors
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from ipaddress import IPv4Address

import numpy as np

from lbctl.core import slots
from lbctl.core.plan import SetSlots
from lbctl.dataplane.layout import MAPS
from lbctl.dataplane.maps import shared_array
from lbctl.dataplane.objectfile import compile_source
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab, plan_lab
from tests.bench import changing, crowded, large
from tests.bench.figures import Figure, figure
from tests.netns.director_rig import configuration, directing, line_to, serving, wait_state
from tests.netns.vanishing import vanished
from tests.packets.rig import Rig, rig_of

VIP = IPv4Address("192.0.2.100")
PORT = 8042
SYN_EVERY_S = 0.01
GIVE_UP_S = 30.0
SERVER = f"""
import socketserver
class Hello(socketserver.BaseRequestHandler):
    def handle(self): pass
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
Server(("", {PORT}), Hello).serve_forever()
"""
CONFIG = """
interfaces:
  eth0: {address: 192.0.2.10/24}
services:
  web: {vip: 192.0.2.100, ports: [8042], protocol: tcp, pool: servers}
pools:
  servers:
    kind: web
    check: {type: tcp, interval: 1s, timeout: 500ms}
    backends:
"""


def slots_to_kernel(rig: Rig, size: int, rounds: int) -> Figure:
    """A complete re-weighting of one pool: from the computed owners to the last slot in the kernel's memory."""
    weights = [dict.fromkeys(map(str, range(8)), 100), {str(i): 100 - 10 * i for i in range(8)}]
    tables = [(slots.assign(chosen, size=size) + 1).astype(np.uint32) for chosen in weights]
    took, held = [], shared_array(rig.loaded.maps["lb_slots"], MAPS["lb_slots"])
    for number in range(rounds):
        before, after = tables[number % 2], tables[(number + 1) % 2]
        started = time.perf_counter()
        at = np.flatnonzero(before != after)
        rig.dataplane.write(SetSlots(pool_id=1, base=0, size=size, at=at, before=before[at], after=after[at]))
        rig.dataplane.seal()
        took.append((time.perf_counter() - started) * 1000)
        assert np.array_equal(held[at], after[at]), "the kernel does not hold what was written"
    return figure("slots to the kernel" if size == 1021 else f"slots to the kernel, {size}", took, unit="ms", limit=1.0)


@contextmanager
def director() -> Iterator[tuple[Lab, Daemon]]:
    """A lab with three servers and a daemon that has not been started."""
    with Lab(plan_lab(backends=3, clients=1, vips=(VIP,))) as lab:
        for backend in lab.backends:
            backend.popen([sys.executable, "-c", SERVER])
        rows = "".join(f"      {backend.name}: {{address: {backend.address}}}\n" for backend in lab.backends)
        yield lab, Daemon(lab, config=CONFIG + rows)


def seconds_to_first_connection(client: Node, since: float) -> float:
    """New connections every few milliseconds until one is answered; seconds from ``since``."""
    with client.enter(), selectors.DefaultSelector() as selector:
        while time.monotonic() < since + GIVE_UP_S:
            attempt = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            attempt.connect_ex((str(VIP), PORT))
            selector.register(attempt, selectors.EVENT_WRITE)
            for key, _ in selector.select(SYN_EVERY_S):
                opened = key.fileobj
                assert isinstance(opened, socket.socket)
                if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    return time.monotonic() - since
                selector.unregister(opened)
                opened.close()
    raise SystemExit(f"bench: no connection within {GIVE_UP_S:.0f} s of the daemon's start")


def start_to_first_packet() -> float:
    """``lbctl run`` to the first connection, with known neighbours on all sides."""
    with director() as (lab, daemon):
        for backend in lab.backends:
            lab.director.run(["ping", "-c", "1", "-W", "1", str(backend.address)])
        client = lab.clients[0]
        client.ip(f"neigh replace {VIP} lladdr {lab.director.mac} dev eth0 nud permanent")
        started = time.monotonic()
        process = daemon.launch()
        took = seconds_to_first_connection(client, started)
        lab.director.end(process)
        return took


def memory() -> tuple[float, float]:
    """(anonymous memory of the daemon, memory of the BPF maps), in MB, after it has begun to forward."""
    with director() as (_, daemon):
        daemon.start()
        told = daemon.status()["memory"]
        daemon.stop()
        return told["daemon_anonymous"] / 1e6, told["bpf_maps"] / 1e6


def resets(rounds: int) -> list[Figure]:
    """A host's link is cut: from its declaration in the kernel to the reset of a client that waits, and one that sends."""
    after_ms: dict[str, list[float]] = {"waiting": [], "sending": []}
    with (
        Lab(plan_lab(backends=2)) as lab,
        serving(lab.backends),
        directing(lab, configuration(*lab.backends)) as daemon,
    ):
        client, dying = lab.clients[0], lab.backends[0]
        for _ in range(rounds):
            wait_state(daemon, dying, "up")
            with (
                line_to(client, dying) as waiting,
                line_to(client, dying) as sending,
                vanished(lab, dying, waiting=waiting, sending=sending) as timeline,
            ):
                for who, found in after_ms.items():
                    found.append(1000 * timeline.after_declaration_s(who))
    return [
        figure("reset after declaration, waiting client", after_ms["waiting"], unit="ms", limit=50.0),
        figure("reset after declaration, sending client", after_ms["sending"], unit="ms", limit=50.0),
    ]


def measure(rounds: int) -> list[dict[str, object]]:
    """All figures."""
    with rig_of(compile_source()) as rig:
        figures = [slots_to_kernel(rig, size, rounds * 10) for size in (1021, 65_537)]
    starts = [start_to_first_packet() for _ in range(max(3, rounds // 5))]
    figures.append(figure("lbctl run to first forwarded packet", starts, unit="s", limit=2.0))
    figures += resets(max(3, rounds // 5))
    daemon_mb, maps_mb = memory()
    figures.append(figure("daemon's anonymous memory", [daemon_mb], unit="MB", limit=100.0))
    figures.append(figure("BPF maps", [maps_mb], unit="MB", limit=100.0))
    figures += large.figures(max(3, rounds // 5))
    figures += changing.figures(max(3, rounds // 5))
    figures += crowded.figures(max(3, rounds // 5))
    return [asdict(row) for row in figures]
