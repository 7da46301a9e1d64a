"""The director's rules and routes for its probes are deleted by somebody else: a network manager that starts, an operator."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from lbctl.errors import NetworkError
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab, plan_lab
from lbctl.lab.wait import wait_until
from lbctl.network.port import MARKS
from lbctl.probes.port import Target
from lbctl.probes.tcp import probe_tcp
from tests.netns.director_rig import configuration, directing, line_to, serving, wait_state

NOWHERE = IPv4Address("198.51.100.1")
DELETIONS = (
    "ip rule flush protocol 108",
    "ip route flush table all proto 108",
    "ip route flush table all proto 108 dev eth0",
    "ip rule del priority 108",
)
"""The third leaves the unreachable routes, which are of no interface."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, clients=1)) as built, serving(built.backends):
        yield built


def paths(director: Node) -> list[str]:
    """lbctl's rules and routes, as ``ip`` prints them."""
    printed = [director.run(f"ip -N {what}".split()).stdout for what in ("rule", "route show table all")]
    return sorted(line for text in printed for line in text.splitlines() if "proto 108" in line)


@pytest.mark.parametrize("deletion", DELETIONS)
def test_rules_and_routes_that_somebody_deleted_are_put_back_and_no_connection_ends(lab: Lab, deletion: str) -> None:
    """Without them probes go nowhere, and every healthy server would seem to be dead, its clients reset."""
    client, (first, second) = lab.clients[0], lab.backends
    with (
        directing(lab, configuration(first, second)) as daemon,
        line_to(client, first) as one,
        line_to(client, second) as other,
    ):
        before = paths(lab.director)
        lab.director.run(deletion.split())
        wait_until(lambda: paths(lab.director) == before, deadline_s=20, what="the rules and routes to be back")
        with pytest.raises(TimeoutError):  # several probes long
            one.wait(timeout_s=2)
        assert one.is_alive and other.is_alive
        for node in lab.backends:
            wait_state(daemon, node, "up")
        warning = "WARNING somebody deleted rules or routes of lbctl's probes (protocol 108); they are put back"
        assert warning in daemon.log.read_text()


def test_removal_of_a_backend_is_not_taken_for_somebody_elses_deletion(lab: Lab) -> None:
    with directing(lab, configuration(*lab.backends)) as daemon:
        before, said = len(paths(lab.director)), daemon.log.read_text()
        daemon.config.write_text(configuration(lab.backends[0]))
        daemon.ctl("apply", "--yes", str(daemon.config))
        wait_until(lambda: len(paths(lab.director)) < before, deadline_s=20, what="its rule and routes to go")
        wait_state(daemon, lab.backends[0], "up")
        assert "somebody deleted" not in daemon.log.read_text().removeprefix(said)


def test_probe_without_a_route_is_no_finding_about_the_server(lab: Lab) -> None:
    target = Target(address=NOWHERE, port=9, timeout_s=5, mark=MARKS[0])
    with lab.clients[0].enter(), pytest.raises(NetworkError, match="its policy rule or route is missing"):
        asyncio.run(probe_tcp(target))
