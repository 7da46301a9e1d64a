"""Numbered HL7 messages over failover and failback: one receiver at a time, in order, and none lost that was acknowledged."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise

import pytest

from lbctl.lab.daemon import Daemon
from lbctl.lab.hl7 import Event, Receiver, Sender, merged
from lbctl.lab.topology import VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.acceptance.stage import backends_by_name, backends_of, reboot, status_of, wait_state

POOL = "feeds"
SOME = 50
"""Messages enough to see who gets them; a tenth of that would do."""


def configuration(lab: Lab, *, failback: str) -> str:
    """A pool of receivers, by default with failover because they are HL7's."""
    check = "{type: tcp, interval: 300ms, timeout: 200ms, fall: 2, rise: 1}"
    return f"""
interfaces:
  eth0: {{address: {lab.director.address}/24}}
services:
  feed: {{vip: {VIP}, preset: hl7, pool: {POOL}}}
pools:
  {POOL}: {{kind: hl7, failback: {failback}, check: {check}, backends: {backends_of(lab)}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A sender, and two receivers behind the VIP."""

    lab: Lab
    daemon: Daemon
    sender: Sender
    receivers: tuple[Receiver, ...]

    def wait_state(self, receiver: Receiver, state: str) -> str:
        """Wait until lbctl says so of a receiver; its reason."""
        return wait_state(self.daemon, receiver.node.name, state, deadline_s=40).reason

    def turns(self) -> list[str]:
        """The receivers in the order in which they took over."""
        return [name for name, _ in groupby(name for _, name in merged(self.receivers))]

    def end(self) -> list[int]:
        """Let the sender come to its end; the numbers that were acknowledged."""
        self.sender.end()
        return [event.number for event in self.sender.acknowledged()]


Play = Callable[[str], AbstractContextManager[Feed]]


@pytest.fixture
def play() -> Play:
    """A feed that runs, at the first of its receivers, given the pool's way of failing back."""

    @contextmanager
    def playing(failback: str) -> Iterator[Feed]:
        with Lab(plan_lab(backends=2)) as lab:
            receivers = tuple(Receiver(node, log=lab.directory / f"{node.name}.feed") for node in lab.backends)
            daemon = Daemon(lab, config=configuration(lab, failback=failback))
            daemon.start()
            daemon.wait_states(POOL, {"backend1": "up", "backend2": "standby"})
            sender = Sender(lab.clients[0], VIP, log=lab.directory / "sender.feed")
            feed = Feed(lab=lab, daemon=daemon, sender=sender, receivers=receivers)
            receivers[0].wait_messages(SOME)
            yield feed

    return playing


def assert_order_and_completeness(acknowledged: list[int], received: list[tuple[Event, str]]) -> None:
    """Whatever was acknowledged was taken in; each message after the one before it, and twice at most where the receiver
    changed before the sender had heard of the first."""
    assert acknowledged == list(range(1, len(acknowledged) + 1))
    assert set(acknowledged) <= {event.number for event, _ in received}
    for (before, _), (after, _) in pairwise(received):
        is_again = after.number == before.number and after.port != before.port
        assert after.number == before.number + 1 or is_again


def assert_cut_off(feed: Feed, former: Receiver, *, taken: int) -> None:
    """Nothing more comes to a former receiver, and no connection is left there."""
    feed.sender.wait_acknowledged(SOME)
    assert len(former.messages()) == taken
    wait_until(lambda: former.connections() == 0, deadline_s=5, what=f"the connections at {former.node.name} to end")


def test_messages_keep_order_over_a_vanished_receiver_restarts_and_failback_by_hand(play: Play) -> None:
    with play("manual") as feed:
        first, second = feed.receivers
        feed.lab.cut(first.node)
        second.wait_messages(SOME)
        feed.lab.mend(first.node)
        assert feed.wait_state(first, "standby") == "takes over if backend2 fails"
        taken, lost = len(first.messages()), len(feed.sender.lost())
        restart(feed.daemon)
        second.wait_messages(SOME)
        assert active(feed.daemon) == ["backend2"]
        assert (len(first.messages()), len(feed.sender.lost())) == (taken, lost)

        said = feed.daemon.ctl("activate", f"{POOL}/backend1").stdout
        first.wait_messages(SOME)
        assert_cut_off(feed, second, taken=len(second.messages()))
        restart(feed.daemon, crashed=True)
        feed.sender.wait_acknowledged(SOME)
        assert "backend1 is active now; connections to backend2 are reset" in said
        assert active(feed.daemon) == ["backend1"]

        acknowledged = feed.end()
        assert_order_and_completeness(acknowledged, merged(feed.receivers))
        assert feed.turns() == ["backend1", "backend2", "backend1"]
        assert [event.why for event in feed.sender.lost()] == ["ConnectionResetError"] * 2
        print(f"{len(acknowledged)} messages acknowledged, in turn by {feed.turns()}")

        feed.daemon.ctl("activate", f"{POOL}/backend2")
        reboot(feed.daemon)
        assert active(feed.daemon) == ["backend2"]


def test_messages_keep_order_when_a_receiver_hangs_and_goes_on_as_one_that_gets_nothing_more(play: Play) -> None:
    with play("manual") as feed:
        first, second = feed.receivers
        first.signal(signal.SIGSTOP)
        taken = len(first.messages())
        second.wait_messages(SOME)
        stopped = backends_by_name(feed.daemon)["backend1"]
        first.signal(signal.SIGCONT)
        wait_until(lambda: has_lost(first), deadline_s=10, what="the receiver to learn that its connection is dead")
        feed.wait_state(first, "standby")
        late = first.messages()[taken:]
        assert_cut_off(feed, first, taken=taken + len(late))

        acknowledged = feed.end()
        in_flight = feed.sender.lost()[0].number
        assert stopped.state == "down"
        assert [event.number for event in late] in ([], [in_flight])  # it lay in its socket; nobody heard the answer
        on_time = [row for row in merged(feed.receivers) if row[0] not in late]
        assert_order_and_completeness(acknowledged, on_time)
        assert [name for name, _ in groupby(name for _, name in on_time)] == ["backend1", "backend2"]
        assert [event.why for event in feed.sender.lost()] == ["ConnectionResetError"]


def test_messages_keep_order_over_a_killed_receiver_and_automatic_failback(play: Play) -> None:
    with play("automatic") as feed:
        first, second = feed.receivers
        first.kill()
        second.wait_messages(SOME)
        first.start()
        first.wait_messages(SOME)
        assert_cut_off(feed, second, taken=len(second.messages()))
        acknowledged = feed.end()
        assert_order_and_completeness(acknowledged, merged(feed.receivers))
        assert feed.turns() == ["backend1", "backend2", "backend1"]


def has_lost(receiver: Receiver) -> bool:
    """Whether a connection of its sender's was reset. (Probes end theirs in order.)"""
    return any(event.why == "ConnectionResetError" for event in receiver.events("lost"))


def restart(daemon: Daemon, *, crashed: bool = False) -> None:
    """End the daemon, in order or not, and start it again."""
    if crashed:
        daemon.kill()
    else:
        assert daemon.stop() == 0
    daemon.start()
    wait_until(lambda: len(active(daemon)) == 1, deadline_s=20, what="an active backend")


def active(daemon: Daemon) -> list[str]:
    """The backends that get new connections."""
    (pool,) = status_of(daemon).pools
    return [row.name for row in pool.backends if row.state == "up"]
