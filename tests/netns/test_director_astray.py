"""Somebody leads the director's probes elsewhere: what comes back from there says nothing of the servers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from lbctl.lab.node import Node
from lbctl.lab.topology import SUBNET, VIP, Lab, plan_lab
from tests.netns.director_rig import (
    POOL,
    TCP_PORT,
    Line,
    configuration,
    directing,
    line_to,
    serving,
    spread,
    wait_backend,
)

OWN_TABLE = "100"
OWN, ELSEWHERE = f"the VIP {VIP} is an address of the director's own", f"leads probes of {VIP} elsewhere"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, clients=1)) as built, serving(built.backends):
        yield built


@contextmanager
def vip_on_loopback(director: Node) -> Iterator[None]:
    """As a VRRP daemon puts it there that somebody starts beside lbctl: nobody listens there."""
    director.run(["ip", "address", "add", f"{VIP}/32", "dev", "lo"])
    yield
    director.run(["ip", "address", "del", f"{VIP}/32", "dev", "lo"])


@contextmanager
def vip_with_a_listener(director: Node) -> Iterator[None]:
    """And where somebody does, every server would seem to be well."""
    with director.enter():
        listener = socket.create_server(("", TCP_PORT))
    with vip_on_loopback(director), listener:
        yield


@contextmanager
def rule_for_own_address(director: Node) -> Iterator[None]:
    """As on machines with several NICs. Without a priority the kernel puts it ahead of lbctl's."""
    director.run(["ip", "route", "add", str(SUBNET), "dev", "eth0", "table", OWN_TABLE])
    director.run(["ip", "rule", "add", "from", str(SUBNET[10]), "table", OWN_TABLE])
    yield
    director.run(["ip", "rule", "del", "table", OWN_TABLE])
    director.run(["ip", "route", "flush", "table", OWN_TABLE])


@pytest.mark.parametrize(
    ("mishap", "told"), [(vip_on_loopback, OWN), (vip_with_a_listener, OWN), (rule_for_own_address, ELSEWHERE)]
)
def test_probes_that_somebody_leads_astray_are_no_finding_about_the_servers(
    lab: Lab, mishap: Callable[[Node], AbstractContextManager[None]], told: str
) -> None:
    """With the VIP on the director itself, all servers would refuse, and all their clients be reset."""
    client, (first, second) = lab.clients[0], lab.backends
    with (
        directing(lab, configuration(first, second)) as daemon,
        line_to(client, first) as one,
        line_to(client, second) as other,
    ):
        with mishap(lab.director):
            for node in lab.backends:
                wait_backend(daemon, node, lambda row: told in row.reason)
            with pytest.raises(TimeoutError):  # several probes long
                one.wait(timeout_s=2)
            assert one.is_alive and other.is_alive
            assert spread(client).keys() == {first.name, second.name}
        for node in lab.backends:
            wait_backend(daemon, node, lambda row: row.state == "up" and row.reason.endswith("accepts connections"))
        assert "is down" not in daemon.log.read_text()


def test_active_server_is_not_replaced_because_the_director_hears_nobody_for_a_while(lab: Lab) -> None:
    """As behind a firewall's rule. Its connections would be reset, at the first server that is heard longer, or again."""
    client = lab.clients[0]
    with directing(lab, configuration(*lab.backends, pool={"policy": "failover"})) as daemon, Line(client) as line:
        names = {node.name for node in lab.backends}
        before = {line.backend: "up", (names - {line.backend}).pop(): "standby"}
        for order in (lab.backends, lab.backends[::-1]):
            for node in order:
                node.ip(f"route add blackhole {SUBNET[10]}/32")
            daemon.wait_states(POOL, dict.fromkeys(names, "down"))
            for node in order:
                node.ip(f"route del blackhole {SUBNET[10]}/32")
            daemon.wait_states(POOL, before)
            assert line.is_alive
