"""A director from its first packet on: how soon it forwards, what it answers for itself, and what it leaves to the kernel.

Figures (``pytest -s`` prints them) are compared with five times their target; the bench holds the targets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import SUBNET, VIP, Lab, plan_lab
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
    wait_backend,
    wait_state,
)

NOT_A_VIP = SUBNET[102]
GHOST = SUBNET[90]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=3, clients=2)) as built, serving(built.backends):
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    config = configuration(*lab.backends, more_backends={"ghost": GHOST})
    with directing(lab, config) as running:
        for node in lab.backends:
            wait_state(running, node, "up")
        yield running


def seconds_to_first_success(lab: Lab, daemon: Daemon) -> tuple[float, float]:
    """From the start of ``lbctl run`` to a client's first answer through the VIP, and to READY=1."""
    successes: list[float] = []

    def knock() -> None:
        wait_until(lambda: connects(lab.clients[0]), deadline_s=30, what="a first connection")
        successes.append(time.monotonic())

    began = time.monotonic()
    client = threading.Thread(target=knock)
    client.start()
    ready_s = daemon.start()
    client.join()
    return successes[0] - began, ready_s


@pytest.mark.usefixtures("compiling")
def test_director_cold_start_then_warm_start_forwards_within_seconds() -> None:
    """Cold: no station knows another's MAC. Warm: the director's kernel knows the backends', as after a restart."""
    with Lab(plan_lab(backends=3)) as lab, serving(lab.backends):
        daemon = Daemon(lab, config=configuration(*lab.backends))
        cold_s, ready_s = seconds_to_first_success(lab, daemon)
        print(f"\ncold start: first answer after {cold_s:.2f} s, ready after {ready_s:.2f} s")
        daemon.stop()
        daemon.ctl("detach", "--yes", "--pins", str(daemon.pins))
        wait_until(lambda: not connects(lab.clients[0]), deadline_s=5, what="forwarding to end")
        for node in lab.backends:
            assert pings(lab.director, node.address)
        warm_s, ready_s = seconds_to_first_success(lab, daemon)
        print(f"known neighbours: first answer after {warm_s:.2f} s, ready after {ready_s:.2f} s")
        daemon.stop()
    assert cold_s < 5 * 3
    assert warm_s < 5 * 2


def test_director_balances_new_connections_over_all_backends(lab: Lab, daemon: Daemon) -> None:
    assert spread(lab.clients[0], 40).keys() == {"backend1", "backend2", "backend3"}


def test_director_answers_arp_and_ping_for_the_vip_alone(lab: Lab, daemon: Daemon) -> None:
    client = lab.clients[1]
    client.ip("neighbour flush all")
    assert asks_for(client, VIP) == [lab.director.mac]
    assert pings(client, VIP)
    assert asks_for(client, NOT_A_VIP) == []
    assert not pings(client, NOT_A_VIP)


def test_director_answers_arp_for_a_vip_only_on_the_interface_that_owns_it(lab: Lab, daemon: Daemon) -> None:
    """A second cable from a client to the director; the client asks there for the VIP of the first."""
    client, director = lab.clients[1], lab.director
    director.ip(f"link add eth1 type veth peer name eth1 netns {client.namespace}")
    director.ip("link set eth1 up", "address add 198.51.100.1/24 dev eth1")
    client.ip("link set eth1 up", "address add 198.51.100.2/24 dev eth1")
    try:
        assert asks_for(client, IPv4Address("198.51.100.1"), interface="eth1") != []
        assert asks_for(client, VIP, interface="eth1") == []
    finally:
        director.ip("link delete eth1")


def test_director_kernel_owns_no_vip(lab: Lab, daemon: Daemon) -> None:
    for shown in (["ip", "address", "show"], ["ip", "route", "show", "table", "local"]):
        assert str(VIP) not in lab.director.run(shown).stdout


def test_director_port_without_a_service_is_not_passed_to_the_kernel(lab: Lab, daemon: Daemon) -> None:
    """It would refuse as well, but for reasons and with answers of its own."""

    def refused() -> int:
        reasons = status(daemon).reasons
        return reasons["wrong_port"].packets if "wrong_port" in reasons else 0

    before = refused()
    assert not connects(lab.clients[0], port=9)
    assert refused() == before + 1


def test_backend_without_a_confirmed_mac_gets_nothing(lab: Lab, daemon: Daemon) -> None:
    row = backend(daemon, "ghost")
    assert row.mac is None
    assert (row.state, row.effective_weight, row.share) == ("unresolved", 0, 0)
    assert str(GHOST) in row.reason
    assert "ghost" not in spread(lab.clients[0], 40)
    assert backend(daemon, "ghost").packets == 0
    assert "unresolved" not in status(daemon).reasons


def test_backend_whose_neighbour_failed_gets_no_new_connections_until_it_is_back(lab: Lab, daemon: Daemon) -> None:
    """The check looks once in ten minutes: only ARP can tell."""
    gone = lab.backends[1]
    reload(daemon, configuration(*lab.backends, check=RARE, more_backends={"ghost": GHOST}))
    assert gone.name in spread(lab.clients[0], 40)
    lab.cut(gone)
    try:
        row = wait_backend(daemon, gone, lambda row: row.state == "unresolved", deadline_s=30)
        print(f"\nunresolved: {row.reason}")
        assert (row.mac, row.share) == (gone.mac, 0)  # the MAC stays: live connections may go on
        assert spread(lab.clients[0], 40).keys() == {"backend1", "backend3"}
    finally:
        lab.mend(gone)
    wait_state(daemon, gone, "up", deadline_s=20)
    assert gone.name in spread(lab.clients[0], 40)
