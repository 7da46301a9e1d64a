"""Mistakes around a VIP that make loops elsewhere: a backend without it, one that forwards as well, a second director."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lbctl.lab.capture import Direction, FrameCounter
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import (
    RARE,
    asks_for,
    backend,
    configuration,
    connects,
    directing,
    pings,
    reload,
    serving,
    spread,
    status,
    wait_state,
)

FRAMES_A_LOOP_EXCEEDS = 3000
"""What checks, ARP and the tests' own connections may put on the director's cable in a few seconds. A loop on a switch made
168,118 frames a second."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=3, clients=2)) as built, serving(built.backends):
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    with directing(lab, configuration(*lab.backends)) as running:
        yield running


def packets(daemon: Daemon, reason: str) -> int:
    """How many packets left the program that way."""
    counted = status(daemon).reasons.get(reason)
    return counted.packets if counted else 0


def frames(counter: FrameCounter) -> int:
    """Both directions."""
    traffic = counter.read()
    return sum(traffic.total(direction).frames for direction in Direction)


def test_backend_without_the_vip_goes_down_for_that_reason_and_returns_with_it(lab: Lab, daemon: Daemon) -> None:
    node = lab.backends[2]
    wait_state(daemon, node, "up")
    node.remove_vip(VIP)
    try:
        row = wait_state(daemon, node, "down")
        print(f"\n{row.reason}")
        assert "VIP not accepted" in row.reason
        assert str(VIP) in row.reason
        assert f"{node.address}:8042 answers at the real address" in row.reason
        assert "loopback" in row.reason
        assert node.name not in spread(lab.clients[0], 40)
        assert "down (application): VIP not accepted" in daemon.log.read_text()
    finally:
        node.add_vip(VIP)
    wait_state(daemon, node, "up")
    assert node.name in spread(lab.clients[0], 40)


def test_backend_without_the_vip_that_forwards_makes_no_loop_and_is_told(lab: Lab, daemon: Daemon) -> None:
    """It routes what it gets to the VIP's owner, the director. First with a check that does not look: clients' packets come
    back. Then with one that does: its own packets come back, and no other backend answers in the faulty one's stead."""
    node, client = lab.backends[1], lab.clients[0]
    wait_state(daemon, node, "up")
    reload(daemon, configuration(*lab.backends, check=RARE))
    with lab.count_frames(lab.director) as counter:
        node.set_forwarding(enabled=True)
        node.remove_vip(VIP)
        try:
            wait_until(
                lambda: connects(client) and backend(daemon, node).looped > 0, deadline_s=20, what="packets to return"
            )
            told, looped = daemon.ctl("status").stdout, backend(daemon, node).looped_recently
            reload(daemon, configuration(*lab.backends))
            row = wait_state(daemon, node, "down")
            wait_until(lambda: packets(daemon, "loop_own") > 3, deadline_s=20, what="probes to come back")
            assert frames(counter) < FRAMES_A_LOOP_EXCEEDS
            print(f"\n{frames(counter)} frames on the director's cable\n{told}\n{daemon.ctl('status').stdout}")
            assert "in the last minute: a backend sends packets back: the VIP is missing on its loopback" in told
            assert looped > 0
            assert "VIP not accepted" in row.reason
            assert node.name not in spread(client, 40)
            assert backend(daemon, node).state == "down"
        finally:
            node.add_vip(VIP)
            node.set_forwarding(enabled=False)
    wait_state(daemon, node, "up")


@contextmanager
def directing_twice(lab: Lab) -> Iterator[tuple[Daemon, Daemon]]:
    """Two directors with the same services; the second is started when the first serves."""
    other = configuration(*lab.backends, director=lab.directors[1].address)
    with (
        directing(lab, configuration(*lab.backends)) as first,
        directing(lab, other, director=lab.directors[1]) as second,
    ):
        yield first, second


def test_director_second_for_the_same_vip_is_refused_and_stays_silent_on_a_flooding_switch() -> None:
    plan = plan_lab(directors=2, backends=2, flooding=True)
    with Lab(plan) as lab, serving(lab.backends), directing_twice(lab) as (first, second):
        owner = lab.director.mac
        with lab.count_frames(lab.directors[1]) as counter:
            for node in lab.backends:
                wait_state(first, node, "up")
            assert [service.state for service in status(first).services] == ["active", "active"]
            print("\n" + second.ctl("status").stdout)
            for service in status(second).services:
                assert (service.state, service.reason) == ("refused", f"{owner} already answers for {VIP}")
            assert f"{VIP} is not served: {owner} already answers for it" in second.log.read_text()
            lab.clients[0].ip("neighbour flush all")
            assert asks_for(lab.clients[0], VIP) == [owner]
            assert pings(lab.clients[0], VIP)
            assert spread(lab.clients[0], 20).keys() == {"backend1", "backend2"}
            assert packets(second, "arp_reply") == packets(second, "ping_reply") == packets(second, "syn") == 0
            assert 20 * 4 < frames(counter) < FRAMES_A_LOOP_EXCEEDS  # flooded to it as well, each once


def test_director_second_takes_the_vip_once_the_first_is_gone() -> None:
    with Lab(plan_lab(directors=2, backends=1)) as lab, serving(lab.backends), directing_twice(lab) as (first, second):
        assert [service.state for service in status(second).services] == ["refused", "refused"]
        assert connects(lab.clients[0], timeout_s=5)
        first.stop()
        first.ctl("detach", "--yes", "--pins", str(first.pins))
        wait_until(
            lambda: {service.state for service in status(second).services} == {"active"},
            deadline_s=50,
            what="the second director to serve",
        )
        wait_until(lambda: connects(lab.clients[0]), deadline_s=10, what="the second director to forward")
        assert asks_for(lab.clients[0], VIP) == [lab.directors[1].mac]
