"""Established means established: whatever the operator, the agents and the daemon do, no connection breaks and none moves."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from lbctl.core.model import Address
from lbctl.dataplane import bpf, loader
from lbctl.lab.agent import DEFAULT_PORT
from lbctl.lab.daemon import Daemon
from lbctl.lab.processes import signal_group
from lbctl.lab.topology import VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.acceptance import peers
from tests.acceptance.stage import slots_by_backend
from tests.acceptance.traffic import Report, Traffic
from tests.netns.pinned import PinnedBackends, generation_of, opened

pytestmark = pytest.mark.alone

PORT = 9001
POOL = "servers"
LIVE = 2000
NEW = 10_000
DURATION_S = 60.0
TALK_EVERY_S = 3.0
KINDS = 5
"""Drains, reloads, restarts, crashes, upgrades."""
WEIGHTS = ((100, 100, 100), (10, 100, 200), (200, 10, 100), (100, 250, 5))
ROOT = Path(__file__).parents[2]
ENTRY = re.compile(r"^int lb_ingress\(struct xdp_md \*ctx\)\n\{\n", re.MULTILINE)


def configuration(lab: Lab, weights: tuple[int, ...]) -> str:
    """One service. Its agents' answers change each time they are asked: every 100 ms."""
    rows = ", ".join(
        f"{node.name}: {{address: {node.address}, weight: {weight}}}"
        for node, weight in zip(lab.backends, weights, strict=True)
    )
    check = "{type: tcp, interval: 2s, timeout: 1500ms, fall: 3}"
    return f"""
interfaces:
  eth0: {{address: {lab.director.address}/24}}
services:
  names: {{vip: {VIP}, ports: [{PORT}], pool: {POOL}}}
pools:
  {POOL}:
    kind: web
    check: {check}
    agent: {{port: {DEFAULT_PORT}, interval: 100ms, timeout: 80ms}}
    backends: {{{rows}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedProgram:
    """The program behind the director's link, as the kernel has it. The tag is a hash of its instructions."""

    id: int
    tag: str


def attached_program(daemon: Daemon) -> AttachedProgram:
    """What runs at this moment."""
    (link,) = daemon.pins.glob(loader.LINK_PREFIX + "*")
    with bpf.opened_pin(link) as descriptor:
        attached = bpf.link_info(descriptor).program_id
    with bpf.opened_pin(daemon.pins / loader.INGRESS) as program:
        told = dict(line.split(":\t") for line in Path(f"/proc/self/fdinfo/{program}").read_text().splitlines())
    assert int(told["prog_id"]) == attached
    return AttachedProgram(id=attached, tag=told["prog_tag"])


def another_version(directory: Path) -> Path:
    """A copy of the checkout whose program has one instruction more."""
    for part in ("lbctl", "ebpf"):
        shutil.copytree(ROOT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))
    source = directory / "ebpf" / "lb.c"
    text, replaced = ENTRY.subn(lambda head: head[0] + '\tasm volatile("%0 = %0" : "+r"(ctx));\n', source.read_text())
    assert replaced == 1
    source.write_text(text)
    return directory


@dataclass(slots=True, kw_only=True)
class Turmoil:
    """Everything that may be done to a director, again and again; each waits until it has taken effect."""

    lab: Lab
    daemon: Daemon
    other_tree: Path
    done: Counter[str] = field(default_factory=Counter)
    tags: set[str] = field(default_factory=set)

    def go_on_until(self, is_over: Callable[[], bool]) -> None:
        """One after the other, and each at least once."""
        for act in cycle(self._round()):
            if is_over() and len(self.done) == KINDS:
                return
            act()

    def _round(self) -> Iterator[Callable[[], None]]:
        for anew in (self.restart, self.crash, self.upgrade):
            for node, weights in zip(cycle(self.lab.backends), WEIGHTS, strict=False):
                yield partial(self.drain, node.name)
                yield partial(self.reload, weights)
            yield anew

    def drain(self, name: str) -> None:
        """Drain a backend; enable it when weights have changed without it."""
        self.daemon.ctl("drain", f"{POOL}/{name}")
        self._wait(lambda: self._slots()[name] == 0, f"{name} to lose its slots")
        self._let_weights_change()
        self.daemon.ctl("enable", f"{POOL}/{name}")
        self._wait(lambda: self._slots()[name] > 0, f"{name} to have slots again")
        self.done["drains"] += 1

    def reload(self, weights: tuple[int, ...]) -> None:
        """Another file, by SIGHUP."""
        before = self._reloads()
        self.daemon.reload(configuration(self.lab, weights))
        self._wait(lambda: self._reloads() > before, "a reload to end")
        self._let_weights_change()
        self.done["reloads"] += 1

    def restart(self) -> None:
        """In order."""
        assert self.daemon.stop() == 0
        self._start()
        self.done["restarts"] += 1

    def crash(self) -> None:
        """SIGKILL, and a start."""
        self.daemon.kill()
        self._start()
        self.done["crashes"] += 1

    def upgrade(self) -> None:
        """The other version takes over; the time after, this one again."""
        before = attached_program(self.daemon)
        self.daemon.tree = None if self.daemon.tree else self.other_tree
        assert self.daemon.stop() == 0
        self._start()
        after = attached_program(self.daemon)
        assert after.tag != before.tag
        assert after.id != before.id
        self.tags |= {before.tag, after.tag}
        self.done["upgrades"] += 1

    def _start(self) -> None:
        self.daemon.start(ready_within_s=60)
        self._let_weights_change()

    def _let_weights_change(self, *, times: int = 2) -> None:
        at_least = generation_of(self.lab.pins) + times
        self._wait(lambda: generation_of(self.lab.pins) >= at_least, "weights to change")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, deadline_s=30, what=lambda: f"{what}\n{self.daemon.log_tail()}")

    def _slots(self) -> Counter[str]:
        return slots_by_backend(self.daemon, self.lab)

    def _reloads(self) -> int:
        return self.daemon.log.read_text().count(f"reloaded {self.daemon.config}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Three servers that tell their names, each with a load agent of many moods."""

    lab: Lab
    daemon: Daemon
    servers: Mapping[str, subprocess.Popen[Any]]


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Lab(plan_lab(backends=3, clients=2)) as lab:
        servers = {node.name: peers.start(node, "names", port=PORT) for node in lab.backends}
        for node in lab.backends:
            peers.start(node, "moody", port=DEFAULT_PORT)
        daemon = Daemon(lab, config=configuration(lab, WEIGHTS[0]))
        daemon.start()
        daemon.wait_states(POOL, dict.fromkeys(servers, "up"))
        yield Stage(lab=lab, daemon=daemon, servers=servers)


def hold(lab: Lab, count: int, *, every_s: float) -> list[Traffic]:
    """Connections that go on talking, so many altogether, after all of them were answered once."""
    each = count // len(lab.clients)
    holders = [
        Traffic(node, "hold", VIP, PORT, count=each, every_s=every_s, log=lab.directory / f"{node.name}-hold.log")
        for node in lab.clients
    ]
    for holder in holders:
        holder.wait_open()
    return holders


def visit(lab: Lab, count: int, *, within_s: float) -> list[Traffic]:
    """New connections of one message each, so many altogether, spread over that time."""
    each = count // len(lab.clients)
    every_s = within_s / each
    return [
        Traffic(node, "visit", VIP, PORT, count=each, every_s=every_s, log=lab.directory / f"{node.name}-visit.log")
        for node in lab.clients
    ]


def flows_by_end(lab: Lab) -> Mapping[tuple[int, int], str]:
    """The backend of every flow in the kernel's table, by client and port."""
    backends = PinnedBackends(lab.pins)
    names: dict[Address, str] = {node.address: node.name for node in lab.backends}
    return {
        (client, port): names[backends.address_of(reference)]
        for keys, flows in opened("lb_flows_tcp4", lab.pins).batches()
        for client, port, reference in zip(
            keys["client"].tolist(), keys["client_port"].tolist(), flows["backend"].tolist(), strict=True
        )
    }


def test_connections_live_and_new_ones_survive_a_minute_of_everything(stage: Stage, tmp_path: Path) -> None:
    lab = stage.lab
    turmoil = Turmoil(lab=lab, daemon=stage.daemon, other_tree=another_version(tmp_path / "other"))
    holders = hold(lab, LIVE, every_s=TALK_EVERY_S)
    began, generation = time.monotonic(), generation_of(lab.pins)
    visitors = visit(lab, NEW, within_s=0.9 * DURATION_S)
    turmoil.go_on_until(lambda: time.monotonic() - began > DURATION_S and all(each.is_over for each in visitors))
    took_s, changes = time.monotonic() - began, generation_of(lab.pins) - generation
    flows = flows_by_end(lab)
    held, visited = [each.end() for each in holders], [each.end() for each in visitors]

    assert [fault for report in (*held, *visited) for fault in report.faults] == []
    served = {
        (int(each.node.address), port): server
        for each, report in zip(holders, held, strict=True)
        for port, server in report.servers.items()
    }
    assert len(served) == LIVE
    assert {end: flows.get(end) for end in served} == served
    assert sum(report.messages for report in visited) == NEW
    names = {node.name for node in lab.backends}
    assert set(served.values()) == names
    assert {name for report in visited for name in report.visited} == names
    assert len(turmoil.done) == KINDS
    assert len(turmoil.tags) == 2
    assert changes > 5 * took_s
    print(told(turmoil, held, visited, took_s=took_s, changes=changes))


def told(turmoil: Turmoil, held: list[Report], visited: list[Report], *, took_s: float, changes: int) -> str:
    """The figures in words."""
    done = ", ".join(f"{count} {what}" for what, count in sorted(turmoil.done.items()))
    slowest_s = max(report.slowest_answer_s for report in (*held, *visited))
    connect_s = max(report.slowest_connect_s for report in visited)
    return (
        f"{took_s:.0f} s of {changes} weight changes ({changes / took_s:.1f} a second), {done}: {LIVE} live connections with "
        f"{sum(report.messages for report in held)} messages and {NEW} new ones, 0 broken, 0 moved; "
        f"slowest answer {slowest_s * 1000:.0f} ms, slowest connect {connect_s * 1000:.0f} ms"
    )


def test_traffic_whose_server_dies_is_told_as_broken(stage: Stage) -> None:
    """The check above can fail, and then names those connections that did break."""
    (holder, *others) = hold(stage.lab, 60, every_s=0.2)
    signal_group(stage.servers["backend2"], signal.SIGKILL)
    report = holder.end()
    broken = {f"port {port} of {server}" for port, server in report.servers.items() if server == "backend2"}
    assert broken
    assert {fault.partition(":")[0] for fault in report.faults} == broken
    for other in others:
        other.end()
