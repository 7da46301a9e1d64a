"""A director with two NICs, clients on one and most backends on the other; and what can happen to a NIC."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from lbctl.core.model import Address
from lbctl.lab.daemon import Daemon
from lbctl.lab.lines import line_to
from lbctl.lab.node import Node
from lbctl.lab.topology import SECOND_WIRE, VIP, VIP6, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import QUICK, Line, asks_for, connects, pings, spread, status
from tests.netns.wide_rig import assert_both_serve, directing_wide, pool_of, wait_all_up, wait_in, wide_configuration

FAR_VIP, FAR_VIP6 = SECOND_WIRE.address(100), SECOND_WIRE.address6(100)
VIPS: tuple[Address, ...] = (VIP, VIP6, FAR_VIP, FAR_VIP6)
NATIVE = {"eth0": "native", "eth1": "native"}
PATIENT = {**QUICK, "fall": 10}
"""Nobody is to be taken for dead while the director's own NIC is away, on however busy a machine."""
by_family = pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The third backend is a client on the second wire, and serves no VIP."""
    with Lab(plan_lab(backends=1, far_backends=2, clients=2, far=SECOND_WIRE, vips=(), ipv6=True)) as built:
        for node in built.backends[:2]:
            for vip in VIPS:
                node.add_vip(vip)
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    servers = lab.backends[:2]
    config = wide_configuration(lab, backends=servers, vips=VIPS, check=PATIENT)
    with directing_wide(lab, config, nodes=servers, vips=VIPS) as running:
        assert modes(running) == NATIVE
        yield running


def modes(daemon: Daemon) -> dict[str, str]:
    """How the program runs on each interface, as the daemon tells."""
    return {row.name: row.mode for row in status(daemon).interfaces}


def has_program(node: Node, interface: str) -> bool:
    """Whether it is there, as the kernel tells: the daemon may not know yet that the interface is another one."""
    return "prog/xdp" in node.run(["ip", "link", "show", "dev", interface]).stdout


@pytest.fixture
def lines(lab: Lab, daemon: Daemon) -> Iterator[list[Line]]:
    """A live connection to each backend in each family, which nothing that happens to a NIC may end."""
    wait_all_up(daemon)
    opened = [
        line_to(lab.clients[0], node.name, vip=vip, timeout_s=60) for vip in (VIP, VIP6) for node in lab.backends[:2]
    ]
    yield opened
    assert all(line.is_alive for line in opened)
    for line in opened:
        line.close()


# From one to the other -----------------------------------------------------------------------------------------------


@by_family
def test_nics_connections_reach_backends_behind_both(lab: Lab, daemon: Daemon, vip: Address) -> None:
    assert_both_serve(lab.clients[0], vip)


@pytest.mark.parametrize("vip", [FAR_VIP, FAR_VIP6], ids=["ipv4", "ipv6"])
def test_nics_client_on_the_second_wire_reaches_backends_behind_both(lab: Lab, daemon: Daemon, vip: Address) -> None:
    assert pings(lab.backends[2], vip)
    assert spread(lab.backends[2], 40, vip=vip).keys() == {"backend1", "backend2"}


def test_nics_each_answer_for_the_vips_of_their_own_segment(lab: Lab, daemon: Daemon) -> None:
    here, there = lab.clients[0], lab.backends[2]
    assert asks_for(here, VIP) == [lab.director.mac]
    assert asks_for(there, FAR_VIP) == [lab.director.places[1].mac]
    assert asks_for(here, FAR_VIP) == asks_for(there, VIP) == []


def bytes_received(lab: Lab) -> int:
    """By both NICs of the director."""
    rows = lab.director.run(["cat", "/proc/net/dev"]).stdout.splitlines()
    return sum(int(row.split(":")[1].split()[0]) for row in rows if row.strip().startswith("eth"))


@by_family
def test_nics_answers_of_a_backend_behind_the_other_bypass_the_director(lab: Lab, daemon: Daemon, vip: Address) -> None:
    with line_to(lab.clients[0], "backend2", vip=vip) as line:
        text, before = b"x" * 3_000_000 + b"\n", bytes_received(lab)
        assert line.echo(text) == b"backend2 " + text
        assert len(text) < bytes_received(lab) - before < 1.5 * len(text)


# What happens to a NIC -----------------------------------------------------------------------------------------------


def seconds_until(condition: Callable[[], object], what: str) -> float:
    began = time.monotonic()
    wait_until(condition, deadline_s=30, what=what)
    return time.monotonic() - began


def wait_without_share(daemon: Daemon, pool: str, name: str) -> None:
    wait_until(lambda: daemon.backends(pool)[name]["share"] == 0, deadline_s=30, what=f"{pool}/{name} to be noticed")


def wait_for_both(client: Node, vip: Address) -> None:
    """Checks failed while the cable was out, and the last one to fail may come after one is up again."""
    wait_until(
        lambda: spread(client, 40, vip=vip).keys() == {"backend1", "backend2"}, deadline_s=30, what="both to be reached"
    )


def test_nic_of_the_backends_without_cable_sends_all_to_those_behind_the_other(lab: Lab, daemon: Daemon) -> None:
    client = lab.clients[0]
    lab.cut(lab.director, cable=1)
    try:
        for vip in (VIP, VIP6):
            wait_without_share(daemon, pool_of(vip), "backend2")
            assert spread(client, 20, vip=vip).keys() == {"backend1"}
    finally:
        lab.mend(lab.director, cable=1)
    for vip in (VIP, VIP6):
        wait_in(daemon, pool_of(vip), "backend2", "up")
        wait_for_both(client, vip)


def test_nic_of_the_clients_set_down_and_up_serves_again_with_the_connections_it_had(
    lab: Lab, daemon: Daemon, lines: list[Line]
) -> None:
    lab.director.set_link(up=False)
    wait_until(lambda: not connects(lab.clients[0]), deadline_s=10, what="nothing to be forwarded")
    lab.director.set_link(up=True)
    took_s = seconds_until(lambda: connects(lab.clients[0]) and connects(lab.clients[0], vip=VIP6), "a connection")
    print(f"\nlink up: forwards after {took_s:.2f} s")
    wait_all_up(daemon)


def test_nic_with_another_mac_of_its_own_serves_at_once_with_the_connections_it_had(
    lab: Lab, daemon: Daemon, lines: list[Line]
) -> None:
    """The clients' kernels learn it from the director's announcements."""
    began = time.monotonic()
    mac = lab.director.change_mac(announce=False)
    wait_until(
        lambda: asks_for(lab.clients[0], VIP) == [mac], deadline_s=10, what="ARP to be answered with the new MAC"
    )
    assert all(line.is_alive for line in lines)
    print(f"\nown MAC changed: all goes on after {time.monotonic() - began:.2f} s, the question of 1 s included")
    assert status(daemon).interfaces[0].mac == mac
    wait_all_up(daemon)
    for vip in (VIP, VIP6):
        assert spread(lab.clients[0], 40, vip=vip).keys() == {"backend1", "backend2"}


@pytest.mark.parametrize("cable", [0, 1], ids=["clients' NIC", "backends' NIC"])
def test_nic_removed_and_made_anew_serves_again_with_the_connections_it_had(
    lab: Lab, daemon: Daemon, lines: list[Line], cable: int
) -> None:
    lab.replace_interface(lab.director, cable=cable)
    took_s = seconds_until(lambda: connects(lab.clients[0]) and connects(lab.clients[0], vip=VIP6), "a connection")
    print(f"\ninterface made anew: forwards after {took_s:.2f} s")
    wait_until(lambda: has_program(lab.director, f"eth{cable}"), deadline_s=30, what="the program to be on it")
    wait_until(
        lambda: modes(daemon) == NATIVE, deadline_s=30, what=lambda: f"both to be native; they are {modes(daemon)}"
    )
    wait_all_up(daemon)
    for vip in (VIP, VIP6):
        assert spread(lab.clients[0], 40, vip=vip).keys() == {"backend1", "backend2"}
