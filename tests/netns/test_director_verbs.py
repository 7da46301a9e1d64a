"""Weights, drains that are waited for, hosts in two pools and rolling maintenance, while clients keep their connections."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from lbctl.cli.client import get, post, put
from lbctl.daemon.models import Done, TargetStatus, Weighting
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import SUBNET, VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import (
    QUICK,
    TCP_PORT,
    Line,
    backend,
    directing,
    line_to,
    reload,
    serving,
    spread,
    status,
    wait_backend,
    wait_state,
)

PORTAL = SUBNET[101]


def configuration(lab: Lab, *, weight: int = 100) -> str:
    """Two hosts, each in two pools: ``a`` and ``v`` are the first, ``b`` and ``w`` the second."""
    first, second = ({"address": str(node.address)} for node in lab.backends)
    pools = {"lines": {"a": {**first, "weight": weight}, "b": second}, "portal": {"v": first, "w": second}}
    vips = {"lines": VIP, "portal": PORTAL}
    return json.dumps(
        {
            "interfaces": {"eth0": {"address": f"{lab.director.address}/24"}},
            "services": {
                name: {"vip": str(vip), "ports": [TCP_PORT], "protocol": "tcp", "pool": name}
                for name, vip in vips.items()
            },
            "pools": {name: {"kind": "other", "check": QUICK, "backends": rows} for name, rows in pools.items()},
        }
    )


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, vips=[VIP, PORTAL])) as built, serving(built.backends):
        yield built


@pytest.fixture(scope="module")
def running(lab: Lab) -> Iterator[Daemon]:
    with directing(lab, configuration(lab)) as daemon:
        yield daemon


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    """All is up at the beginning, and again at the end."""
    for name in "abvw":
        wait_state(running, name, "up")
    yield running
    for pool in ("lines", "portal"):
        post(running.socket, f"/v1/pools/{pool}/enable", Done)
        put(running.socket, f"/v1/pools/{pool}/weight", Weighting(weight=None), Done)


def spawn(daemon: Daemon, *arguments: str) -> subprocess.Popen[Any]:
    """A command that goes on for a while."""
    command, output = [sys.executable, "-m", "lbctl", *arguments], daemon.directory / f"{arguments[0]}.out"
    output.unlink(missing_ok=True)
    return daemon.node.popen(command, output=output, environment={"LBCTL_SOCKET": str(daemon.socket)})


def said(daemon: Daemon, verb: str) -> str:
    return (daemon.directory / f"{verb}.out").read_text()


def wait_said(daemon: Daemon, verb: str, words: str) -> None:
    wait_until(lambda: words in said(daemon, verb), deadline_s=20, what=lambda: said(daemon, verb))


def states(daemon: Daemon) -> dict[str, str]:
    return {row.name: row.state for pool in status(daemon).pools for row in pool.backends}


def test_lines_live_on_through_weights_drains_and_slow_starts_and_new_ones_follow(lab: Lab, daemon: Daemon) -> None:
    client, (first, second) = lab.clients[0], lab.backends
    with line_to(client, first) as one, line_to(client, second) as other:
        for command in (
            ("weight", "lines/a", "0"),
            ("weight", "lines/a", "200"),
            ("drain", "lines/a"),
            ("enable", "lines/a", "--slow-start", "1h"),
        ):
            daemon.ctl(*command)
            assert one.is_alive
            assert other.is_alive
            if command in {("weight", "lines/a", "0"), ("drain", "lines/a")}:
                assert spread(client).keys() == {second.name}
        row = wait_backend(daemon, "a", lambda row: row.slow_start_percent == 10)
        assert (row.given_weight, row.effective_weight) == (200, 20.0)
        assert row.share == pytest.approx(20 / 120, abs=0.002)
        daemon.ctl("enable", "lines/a")
        assert backend(daemon, "a").share == pytest.approx(2 / 3, abs=0.002)
        assert one.is_alive


def test_weight_stays_through_restart_and_reload_and_default_is_the_files(lab: Lab, daemon: Daemon) -> None:
    with line_to(lab.clients[0], lab.backends[0]) as line:
        daemon.ctl("weight", "lines/a", "25")
        share = backend(daemon, "a").share
        daemon.kill()
        daemon.start()
        row = backend(daemon, "a")
        assert (row.weight, row.given_weight, row.share) == (100, 25, share)
        assert "reloaded" in reload(daemon, configuration(lab, weight=40))
        row = backend(daemon, "a")
        assert (row.weight, row.given_weight, row.weight_declared_then, row.share) == (40, 25, 100, share)
        assert "weight 25 by an operator" in daemon.ctl("status").stdout
        daemon.ctl("weight", "lines/a", "default")
        assert backend(daemon, "a").share == pytest.approx(40 / 140, abs=0.002)
        reload(daemon, configuration(lab))
        assert line.is_alive


def test_drain_that_waits_ends_with_the_last_connection(lab: Lab, daemon: Daemon) -> None:
    with line_to(lab.clients[0], lab.backends[0]) as line, line_to(lab.clients[0], lab.backends[0]) as last:
        waiting = spawn(daemon, "drain", "lines/a", "--wait", "--timeout", "60s")
        for number, one in ((2, line), (1, last)):
            wait_said(daemon, "drain", f"lines/a: {number} connection")
            assert waiting.poll() is None
            one.close()
        assert waiting.wait(timeout=20) == 0
        assert said(daemon, "drain").endswith("lines/a: nobody is connected any more\n")


class Handshake:
    """A TCP connection to the VIP, frame by frame; its client has an address that nobody has, and answers nothing."""

    def __init__(self, lab: Lab, *, port: int) -> None:
        self._node, self._port = lab.clients[0], port
        self._link = Ether(src=self._node.mac, dst=lab.director.mac)

    def send(self, flags: str, *, seq: int) -> None:
        segment = TCP(sport=self._port, dport=TCP_PORT, flags=flags, seq=seq, ack=0 if flags == "S" else 1)
        with self._node.enter(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
            raw.bind((self._node.interface, 0))
            raw.send(bytes(self._link / IP(src=str(SUBNET[222]), dst=str(VIP)) / segment))


def begun_with_first_backend(lab: Lab, daemon: Daemon) -> Handshake:
    """A handshake whose SYN went to ``a``."""
    for port in range(50_000, 50_100):
        begun = Handshake(lab, port=port)
        begun.send("S", seq=1)
        wait_until(lambda: sum(half_open(daemon)) == 1, deadline_s=20, what=lambda: f"a SYN in {half_open(daemon)}")
        if half_open(daemon)[0]:
            return begun
        begun.send("A", seq=2)
        begun.send("FA", seq=2)
        wait_until(lambda: sum(half_open(daemon)) == 0, deadline_s=20, what=lambda: f"no SYN in {half_open(daemon)}")
    raise AssertionError("of a hundred connections none went to the first backend")


def half_open(daemon: Daemon) -> list[int]:
    return [row.half_open for row in get(daemon.socket, "/v1/pools/lines", TargetStatus).backends]


def test_drain_that_waits_does_not_end_before_a_handshake_that_began_earlier(lab: Lab, daemon: Daemon) -> None:
    handshake = begun_with_first_backend(lab, daemon)
    waiting = spawn(daemon, "drain", "lines/a", "--wait", "--timeout", "60s")
    wait_said(daemon, "drain", "lines/a: no connection left, but 1 handshake may still be completed")
    handshake.send("A", seq=2)
    wait_said(daemon, "drain", "lines/a: 1 connection left")
    assert waiting.poll() is None
    handshake.send("FA", seq=2)
    assert waiting.wait(timeout=20) == 0


def test_drain_that_waits_goes_on_over_a_killed_daemon_and_a_file_without_its_backend(lab: Lab, daemon: Daemon) -> None:
    with line_to(lab.clients[0], lab.backends[0]):
        waiting = spawn(daemon, "drain", "lines/a", "--wait", "--timeout", "60s")
        wait_said(daemon, "drain", "lines/a: 1 connection left")
        daemon.kill()
        wait_said(daemon, "drain", "the daemon does not answer; the wait goes on")
        daemon.start()
        reload(
            daemon, configuration(lab).replace(f'"a": {{"address": "{lab.backends[0].address}", "weight": 100}}, ', "")
        )
        wait_said(daemon, "drain", "lines/a: 1 connection left (removed: no longer in the file")
    assert waiting.wait(timeout=20) == 0
    reload(daemon, configuration(lab))


def test_drain_that_waits_too_long_ends_with_one_and_cuts_nobody(lab: Lab, daemon: Daemon) -> None:
    with line_to(lab.clients[0], lab.backends[0]) as line:
        ended = daemon.ctl("drain", "lines/a", "--wait", "--timeout", "1s", check=False)
        assert ended.returncode == 1
        assert "(lines/a: 1 connection left); the drain stays" in ended.stderr
        assert backend(daemon, "a").state == "draining"
        assert line.is_alive


def test_host_is_drained_in_both_its_pools_by_one_command_of_a_user_who_is_noted(lab: Lab, daemon: Daemon) -> None:
    client, (first, second) = lab.clients[0], lab.backends
    with line_to(client, first) as one, line_to(client, first, vip=PORTAL) as other:
        daemon.ctl("drain", str(first.address))
        assert states(daemon) == {"a": "draining", "b": "up", "v": "draining", "w": "up"}
        assert spread(client, vip=VIP).keys() == spread(client, vip=PORTAL).keys() == {second.name}
        assert one.is_alive
        assert other.is_alive
    line = json.loads((daemon.state / "audit.jsonl").read_text().splitlines()[-1])
    assert (line["user"], line["action"], line["target"]) == ("root", "drain", f"host {first.address}")


class Traffic:
    """A client that opens connections, uses a few at a time, and ends the oldest, without a pause."""

    def __init__(self, client: Node) -> None:
        self._client = client
        self._is_over = threading.Event()
        self.opened = 0
        self.broken: list[str] = []
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def _go_on(self) -> None:
        kept: list[Line] = []
        while not self._is_over.wait(0.02):
            try:
                kept.append(Line(self._client, vip=(VIP, PORTAL)[self.opened % 2]))
                self.opened += 1
                self.broken += [f"moved from {line.backend}" for line in kept if not line.is_alive]
            except OSError as error:
                self.broken.append(repr(error))
            if len(kept) > 6:
                kept.pop(0).close()
        for line in kept:
            line.close()

    def end(self) -> None:
        self._is_over.set()
        self._thread.join(timeout=20)


@contextmanager
def traffic(client: Node) -> Iterator[Traffic]:
    found = Traffic(client)
    try:
        yield found
    finally:
        found.end()


def test_maintenance_rolls_over_both_hosts_under_traffic_and_breaks_nothing(lab: Lab, daemon: Daemon) -> None:
    client, hosts = lab.clients[0], [str(node.address) for node in lab.backends]
    seen: list[frozenset[str]] = []
    with traffic(client) as clients:
        wait_until(lambda: clients.opened > 10, deadline_s=20, what="traffic")
        before = clients.opened
        rolling = spawn(
            daemon, "maintenance", *hosts, "--yes", "--hold", "0s", "--slow-start", "1s", "--timeout", "60s"
        )

        def is_over() -> bool:
            seen.append(frozenset(name for name, state in states(daemon).items() if state == "draining"))
            return rolling.poll() is not None

        wait_until(is_over, deadline_s=100, what=lambda: said(daemon, "maintenance"))
        opened = clients.opened - before
    assert rolling.returncode == 0, said(daemon, "maintenance")
    assert set(seen) == {frozenset(), frozenset("av"), frozenset("bw")}
    assert clients.broken == []
    assert opened > 10
    assert set(states(daemon).values()) == {"up"}
    assert status(daemon).reasons.get("turned_away") is None


def test_maintenance_of_the_other_host_is_refused_while_one_is_drained(lab: Lab, daemon: Daemon) -> None:
    first, second = (str(node.address) for node in lab.backends)
    daemon.ctl("drain", first)
    ended = daemon.ctl("maintenance", second, "--yes", "--hold", "0s", check=False)
    assert ended.returncode == 1
    assert f"nobody else in pool lines takes new connections, so host {second} was not drained" in ended.stderr
    assert states(daemon) == {"a": "draining", "b": "up", "v": "draining", "w": "up"}
