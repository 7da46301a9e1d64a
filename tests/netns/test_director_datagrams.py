"""Numbered datagrams, 10,000 a second, through all that happens to a daemon: not one more is missing than when nothing happens.

What the director does to them is counted exactly: none may be dropped by the program, none may reach the director's own kernel
(as it would while no program is attached), and no flow may come to a second server. What is missing beyond that was lost in the
queues of the virtual cables, when a processor was kept busy by others: in quiet runs as in the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from lbctl.dataplane.layout import Reason
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import VIP, Lab, plan_lab
from tests.netns.director_rig import UDP_PORT, configuration, directing, reload, serving, status, wait_state
from tests.netns.sequence import RATE, Outcome, Receiver, Sender
from tests.netns.test_director_upgrade import changed

QUEUE = 256
"""Frames: ``VETH_RING_SIZE`` of the kernel's veth driver. One moment of starvation costs as many at most."""
DROPS = frozenset(reason.name.lower() for reason in Reason if reason >= Reason.NO_SERVICE)
ASTRAY = ("InAddrErrors", "ForwDatagrams", "InNoRoutes", "OutNoRoutes", "InUnknownProtos")
"""What the director's own kernel counts of packets that are not its own."""

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("compiling")]


@dataclass(slots=True, kw_only=True)
class Stage:
    """A director, a receiver on every server, and numbers for runs."""

    lab: Lab
    daemon: Daemon
    receivers: list[Receiver]
    runs: Iterator[int]
    other: Path

    def quietly(self, datagrams: int) -> Outcome:
        """Nothing happens."""
        return self._sender(datagrams).end(self.receivers)

    def through(self, happen: Callable[[], object]) -> Outcome:
        """It begins before and ends after what happens."""
        sender = self._sender(0)
        self.quietly(RATE // 10)  # by then it sends
        happen()
        self.quietly(RATE // 10)
        return sender.end(self.receivers)

    def _sender(self, datagrams: int) -> Sender:
        return Sender(self.lab.clients[0], VIP, UDP_PORT, run=next(self.runs), count=datagrams)

    def drops(self) -> dict[str, int]:
        """Of the program."""
        return {name: row.packets for name, row in status(self.daemon).reasons.items() if name in DROPS}

    def astray(self) -> dict[str, int]:
        """In the director's own kernel."""
        found: dict[str, int] = {}
        lines = self.daemon.node.run(["cat", "/proc/net/snmp", "/proc/net/netstat"]).stdout.splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            if names.startswith(("Ip:", "IpExt:")):
                found |= {n: int(v) for n, v in zip(names.split(), values.split(), strict=True) if n in ASTRAY}
        return found

    # What happens -----------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """By SIGKILL, and another start."""
        self.daemon.kill()
        self.daemon.start()

    def upgrade(self) -> None:
        """Another version, or this one again: flow tables of another layout."""
        assert self.daemon.stop() == 0
        self.daemon.tree = None if self.daemon.tree else self.other
        self.daemon.start()

    def reload(self) -> None:
        """Other weights, by SIGHUP: half of the slots change hands."""
        weights = {node.name: next(self.runs) % 7 * 30 + 10 for node in self.lab.backends}
        assert "reloaded" in reload(self.daemon, configuration(*self.lab.backends, weights=weights))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Of its own: the usual servers take the datagrams' port."""
    with Lab(plan_lab(backends=2)) as built, serving(built.backends, vips=()):
        yield built


@pytest.fixture
def stage(lab: Lab, tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        daemon = stack.enter_context(directing(lab, configuration(*lab.backends)))
        receivers = [Receiver(node, VIP, UDP_PORT) for node in lab.backends]
        for receiver in receivers:
            stack.callback(receiver.close)
        for node in lab.backends:
            wait_state(daemon, node, "up")
        yield Stage(
            lab=lab,
            daemon=daemon,
            receivers=receivers,
            runs=count(1),
            other=changed(tmp_path / "other", struct="flow", mirror="FLOW", words=2),
        )


def compare(stage: Stage, happenings: list[Callable[[], object]]) -> str:
    """Quiet runs and others in turn, of about as many datagrams; the figures in words. Fails if the director has lost one."""
    drops, astray = stage.drops(), stage.astray()
    quiet, eventful = [], []
    for happen in happenings:
        eventful.append(stage.through(happen))
        quiet.append(stage.quietly(eventful[-1].sent))

    assert stage.drops() == drops
    assert stage.astray() == astray
    for outcome in (*quiet, *eventful):
        assert outcome.twice == 0
        assert {len(homes) for homes in outcome.homes.values()} == {1}
    missing, usual = sum(each.missing for each in eventful), sum(each.missing for each in quiet)
    assert missing <= usual + QUEUE
    overtaken = [sum(each.late for each in runs) for runs in (eventful, quiet)]  # a sender may change processors
    rate = sum(each.sent for each in eventful) / sum(each.took_s for each in eventful)
    return (
        f"{rate:.0f} a second: {len(eventful)} runs with {sum(each.sent for each in eventful)} datagrams through "
        f"{', '.join(dict.fromkeys(each.__name__ for each in happenings))}: {missing} missing; {len(quiet)} quiet runs with "
        f"{sum(each.sent for each in quiet)}: {usual} missing; none dropped by the program, none astray, no flow moved; "
        f"{overtaken[0]} and {overtaken[1]} overtaken"
    )


def test_datagrams_are_not_lost_by_a_crash_an_upgrade_or_a_reload(stage: Stage) -> None:
    print(compare(stage, [stage.kill, stage.upgrade, stage.reload]))


@pytest.mark.long
def test_datagrams_are_not_lost_by_thirty_crashes_upgrades_and_reloads(stage: Stage) -> None:
    print(compare(stage, [stage.kill, stage.upgrade, stage.reload] * 10))


def test_datagrams_that_a_director_without_its_program_loses_are_found(stage: Stage) -> None:
    """The check above can fail: what goes astray while nothing is attached is counted, and missing."""
    astray = stage.astray()

    def detach() -> None:
        assert stage.daemon.stop() == 0
        stage.daemon.ctl("detach", "--yes", "--pins", str(stage.daemon.pins))
        stage.daemon.start()

    outcome = stage.through(detach)
    assert outcome.missing > QUEUE
    assert stage.astray() != astray
