"""Who may come: sources that a service does not allow get nothing and are counted, and live connections stay what they were."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lbctl.core.model import Address
from lbctl.daemon.models import ServiceStatus
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP, VIP6, Lab, plan_lab
from tests.netns.director_rig import Datagrams, Line, connects, pings, reload, spread, status
from tests.netns.wide_rig import directing_wide, packets, wide_configuration

by_family = pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, clients=3, ipv6=True)) as built:
        yield built


def allowing(lab: Lab, *nodes: Node) -> str:
    """The file with services that let these clients in, and nobody else."""
    config = {
        vip: [str(node.address if vip.version == 4 else node.address6) for node in nodes] for vip in lab.plan.vips
    }
    return wide_configuration(lab, service_of=lambda vip: {"allow": config[vip]})


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    with directing_wide(lab, allowing(lab, *lab.clients[:2])) as running:
        yield running


@pytest.fixture(autouse=True)
def first_two_may_come(lab: Lab, daemon: Daemon) -> Iterator[None]:
    yield
    reload(daemon, allowing(lab, *lab.clients[:2]))


def service(daemon: Daemon, vip: Address, protocol: str) -> ServiceStatus:
    return next(row for row in status(daemon).services if (row.vip, row.protocol) == (vip, protocol))


@by_family
def test_allow_list_lets_in_whom_it_names_and_nobody_else(lab: Lab, daemon: Daemon, vip: Address) -> None:
    for client in lab.clients[:2]:
        assert spread(client, 30, vip=vip).keys() == {"backend1", "backend2"}
    assert not connects(lab.clients[2], vip=vip)
    assert Datagrams(lab.clients[2], vip=vip).ask(timeout_s=0.2) == ""


@by_family
def test_denied_packets_are_counted_of_their_service_and_shown(lab: Lab, daemon: Daemon, vip: Address) -> None:
    before = {protocol: service(daemon, vip, protocol).denied for protocol in ("tcp", "udp")}
    dropped = packets(daemon, "denied")
    asking = Datagrams(lab.clients[2], vip=vip)
    for _ in range(5):
        assert asking.ask(timeout_s=0.05) == ""
    assert not connects(lab.clients[2], vip=vip)
    assert service(daemon, vip, "udp").denied == before["udp"] + 5
    assert service(daemon, vip, "tcp").denied == before["tcp"] + 1
    assert packets(daemon, "denied") == dropped + 6
    shown = daemon.ctl("status").stdout
    print(f"\n{shown}")
    assert "denied" in shown


@by_family
def test_denied_source_is_not_answered_at_all(lab: Lab, daemon: Daemon, vip: Address) -> None:
    """No reset: to a scan the port is silent."""
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        Line(lab.clients[2], vip=vip, timeout_s=0.5)
    assert time.monotonic() - began >= 0.5
    assert pings(lab.clients[2], vip)  # the VIP belongs to all its services


@by_family
def test_allow_list_that_names_a_source_no_more_leaves_its_connections_alone(
    lab: Lab, daemon: Daemon, vip: Address
) -> None:
    client = lab.clients[1]
    flow = Datagrams(client, vip=vip)
    with Line(client, vip=vip) as line:
        name = flow.ask(timeout_s=5)
        reload(daemon, allowing(lab, lab.clients[0]))
        assert not connects(client, vip=vip)
        assert line.is_alive
        assert flow.ask(timeout_s=5) == name
        assert connects(lab.clients[0], vip=vip, timeout_s=5)
        reload(daemon, allowing(lab, *lab.clients))
        assert connects(lab.clients[2], vip=vip, timeout_s=5)
        reload(daemon, wide_configuration(lab))
        assert all(connects(node, vip=vip, timeout_s=5) for node in lab.clients)
        assert line.is_alive
    flow.close()
