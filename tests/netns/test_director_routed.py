"""A VIP that belongs to no subnet: routers know that the way to it leads to the director, and nobody asks for it by ARP."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from lbctl.core.model import Address
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import SECOND_WIRE, Lab, plan_lab
from tests.netns.director_rig import ArpEar, asks_for, connects, pings, reload, spread, status
from tests.netns.wide_rig import directing_wide, wide_configuration

VIP, VIP6 = SECOND_WIRE.address(100), SECOND_WIRE.address6(100)
SECOND_VIP = SECOND_WIRE.address(101)
ROUTER, FAR_CLIENT = "198.51.100.1", "198.51.100.2"
ROUTER6, FAR_CLIENT6 = "2001:db8:51::1", "2001:db8:51::2"
by_family = pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])
ROUTED = {"announce": "routed"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The second client is the router of the third, and knows the way to the VIPs. The first is on the director's segment."""
    vips = (VIP, VIP6, SECOND_VIP)
    with Lab(plan_lab(backends=2, clients=3, vips=vips, ipv6=True)) as built:
        router, far = built.clients[1:]
        far.ip("link set eth0 down")
        router.ip(f"link add eth1 type veth peer name eth1 netns {far.namespace}")
        router.ip(f"address add {ROUTER}/24 dev eth1", f"address add {ROUTER6}/64 dev eth1", "link set eth1 up")
        router.set_forwarding(enabled=True)
        router.ip(*(f"route add {vip} via {director_of(built, vip)}" for vip in vips))
        far.ip(f"address add {FAR_CLIENT}/24 dev eth1", f"address add {FAR_CLIENT6}/64 dev eth1", "link set eth1 up")
        far.run(["ethtool", "-K", "eth1", "tx", "off"])
        far.ip(f"route add default via {ROUTER}", f"route add default via {ROUTER6}")
        for node in built.backends:
            node.ip(
                f"route add 198.51.100.0/24 via {router.address}", f"route add 2001:db8:51::/64 via {router.address6}"
            )
        yield built


def director_of(lab: Lab, vip: Address) -> Address:
    """The next hop to a VIP."""
    return lab.director.address if vip.version == 4 else lab.director.address6


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    with directing_wide(lab, wide_configuration(lab, vips=(VIP, VIP6), service_of=lambda _: ROUTED)) as running:
        yield running


@by_family
def test_routed_vip_serves_clients_behind_the_router(lab: Lab, daemon: Daemon, vip: Address) -> None:
    far = lab.clients[2]
    assert spread(far, 40, vip=vip).keys() == {"backend1", "backend2"}
    assert pings(far, vip)
    with far.enter(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(vip), 9), timeout=20)


@by_family
def test_routed_vip_serves_a_neighbour_that_has_the_route(lab: Lab, daemon: Daemon, vip: Address) -> None:
    near = lab.clients[0]
    assert not connects(near, vip=vip)
    near.ip(f"route add {vip} via {director_of(lab, vip)}")
    try:
        assert spread(near, 40, vip=vip).keys() == {"backend1", "backend2"}
    finally:
        near.ip(f"route delete {vip}")


def test_routed_vip_is_not_answered_for(lab: Lab, daemon: Daemon) -> None:
    near = lab.clients[0]
    assert asks_for(near, VIP) == []
    near.ip(f"route add {VIP6} dev eth0")
    try:
        assert not pings(near, VIP6)
    finally:
        near.ip(f"route delete {VIP6}")
    assert {(row.announce, row.state) for row in status(daemon).services} == {("routed", "active")}


def test_routed_vip_added_by_reload_serves_and_is_not_announced(lab: Lab, daemon: Daemon) -> None:
    ear = ArpEar(lab.clients[0])
    reload(daemon, wide_configuration(lab, vips=(VIP, VIP6, SECOND_VIP), service_of=lambda _: ROUTED))
    assert connects(lab.clients[2], vip=SECOND_VIP, timeout_s=5)
    with pytest.raises(TimeoutError):
        while ear.next(deadline_s=3).sender != SECOND_VIP:
            pass
    ear.close()
