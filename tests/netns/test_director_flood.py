"""A flood of real frames from clients that do not exist: real connections live through it, and begin during it.

Figures (``pytest -s`` prints them) are compared with a fifth of their target."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lbctl.dataplane import bpf
from lbctl.dataplane.maps import possible_cpus
from lbctl.lab.bpf import XDP_PASS, load_xdp_verdict
from lbctl.lab.daemon import Daemon
from lbctl.lab.namespaces import enter
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab, plan_lab
from tests.netns.director_rig import (
    POOL,
    TCP_PORT,
    Line,
    configuration,
    directing,
    line_to,
    serving,
    status,
    wait_state,
)
from tests.packets.frames import TCP_OPTIONS, tcp
from tests.packets.rig import BUDGET
from tests.packets.spoofer import ACKS, SYNS, Spoofer, compile_spoofer, spoofer_of

RATE_TARGET = 100_000
"""Spoofed frames a second through the director."""
FLOOD = 1_000_000
"""Frames at least, nine SYNs to an ACK."""
BURST = 45_000
NEW_CONNECTIONS = 200
OUTCOMES = {"syn", "picked_up", "over_budget"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=3, clients=2)) as built, serving(built.backends):
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    with directing(lab, configuration(*lab.backends)) as running:
        for node in lab.backends:
            wait_state(running, node, "up")
        yield running


@pytest.fixture(scope="module")
def spoofer(lab: Lab) -> Iterator[Spoofer]:
    """Frames from the second client; its end of the cable accepts what XDP sends."""
    attacker = lab.clients[1]
    program = load_xdp_verdict(XDP_PASS)
    with enter(lab.plan.switch):
        link = bpf.create_xdp_link(program, socket.if_nametoindex(attacker.plan.port), generic=False)
    try:
        with spoofer_of(compile_spoofer()) as loaded:
            macs = (bytes.fromhex(node.mac.replace(":", "")) for node in (attacker, lab.director))
            loaded.send_between(client_mac=next(macs), own_mac=next(macs))
            yield loaded
    finally:
        os.close(link)
        os.close(program)


class Flood:
    """SYNs and ACKs from one node to the VIP, as fast as one thread can, until it is told to stop."""

    def __init__(self, spoofer: Spoofer, node: Node) -> None:
        self._spoofer = spoofer
        self._node = node
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.frames = 0

    def _send(self) -> None:
        frame = tcp("S", TCP_PORT, options=TCP_OPTIONS)
        with self._node.enter():
            ifindex = socket.if_nametoindex(self._node.interface)
            while not self._stop.is_set():
                for segments, count in ((SYNS, BURST), (ACKS, BURST // 9)):
                    self._spoofer.send(frame, segments, count, ifindex=ifindex)
                    self.frames += count

    @contextmanager
    def going_on(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()


def flooded(daemon: Daemon) -> Counter[str]:
    """Packets so far of the reasons that spoofed ones leave by."""
    reasons = status(daemon).reasons
    return Counter({name: reasons[name].packets for name in OUTCOMES & reasons.keys()})


def test_flood_of_real_frames_leaves_an_idle_connection_alone_and_new_ones_succeed(
    lab: Lab, daemon: Daemon, spoofer: Spoofer
) -> None:
    client, held = lab.clients[0], lab.backends[0]
    idle = line_to(client, held)
    daemon.ctl("drain", f"{POOL}/{held.name}")  # its slots belong to others from now on: only its flow holds the line
    before, began = flooded(daemon), time.monotonic()
    flood, answered = Flood(spoofer, lab.clients[1]), Counter[str]()

    with flood.going_on():
        while answered.total() < NEW_CONNECTIONS or flood.frames < FLOOD:
            with Line(client) as line:
                assert line.is_alive
                answered[line.backend] += 1
    took_s = time.monotonic() - began

    passed = flooded(daemon) - before
    rate = passed.total() / took_s
    print(
        f"\n{flood.frames} spoofed frames in {took_s:.1f} s, {rate:.0f} a second through the director, {dict(passed)};"
    )
    print(f"{answered.total()} connections made meanwhile: {dict(answered)}")
    assert idle.is_alive
    idle.close()
    assert answered.keys() == {node.name for node in lab.backends[1:]}
    assert rate > RATE_TARGET / 5
    assert passed["over_budget"] > 0
    assert passed["picked_up"] <= possible_cpus() * BUDGET * (took_s + 2)
