"""Backends on another VLAN of the director's one NIC: what comes untagged goes on with their tag, and the other way round."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from lbctl.core.model import Address
from lbctl.lab.daemon import Daemon
from lbctl.lab.topology import TAGGED, VIP, VIP6, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import (
    UDP_PORT,
    asks_for,
    connects,
    family_of,
    line_to,
    pings,
    spread,
    status,
)
from tests.netns.wide_rig import assert_both_serve, directing_wide, packets, pool_of, wait_in, wide_configuration

VLAN_VIP, VLAN_VIP6 = TAGGED.address(100), TAGGED.address6(100)
VIPS: tuple[Address, ...] = (VIP, VIP6, VLAN_VIP, VLAN_VIP6)
by_family = pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The third backend is a client of the VIPs on its own VLAN, and serves none."""
    with Lab(plan_lab(backends=1, far_backends=2, far=TAGGED, vips=(), ipv6=True)) as built:
        near, far, _ = built.backends
        for vip in VIPS:
            near.add_vip(vip)
            far.add_vip(vip)
        yield built


@pytest.fixture(scope="module", params=["generic", "native"])
def daemon(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    lab.director.run(["ethtool", "-K", "eth0", "rxvlan", "on"])
    servers = lab.backends[:2]
    config = wide_configuration(lab, backends=servers, vips=VIPS, mode=request.param)
    with directing_wide(lab, config, nodes=servers, vips=VIPS) as running:
        assert {row.mode for row in status(running).interfaces} == {request.param}
        yield running


@by_family
def test_vlan_connections_reach_backends_on_both_sides(lab: Lab, daemon: Daemon, vip: Address) -> None:
    client = lab.clients[0]
    assert_both_serve(client, vip)
    with line_to(client, lab.backends[1], vip=vip) as line:
        text = b"x" * 1_000_000 + b"\n"
        assert line.echo(text) == b"backend2 " + text


@pytest.mark.parametrize("vip", [VLAN_VIP, VLAN_VIP6], ids=["ipv4", "ipv6"])
def test_vlan_client_with_the_tag_reaches_backends_on_both_sides(lab: Lab, daemon: Daemon, vip: Address) -> None:
    client = lab.backends[2]
    assert pings(client, vip)
    assert spread(client, 40, vip=vip).keys() == {"backend1", "backend2"}
    assert not connects(client, vip=vip, port=9)  # refused: a reset with the tag


def test_vlan_of_a_vip_alone_hears_that_it_is_ours(lab: Lab, daemon: Daemon) -> None:
    untagged, tagged = lab.clients[0], lab.backends[2]
    assert asks_for(untagged, VIP) == asks_for(tagged, VLAN_VIP) == [lab.director.mac]
    assert asks_for(untagged, VLAN_VIP) == asks_for(tagged, VIP) == []


def test_vlan_refusal_comes_back_with_the_tag_at_once(lab: Lab, daemon: Daemon) -> None:
    before = packets(daemon, "wrong_port")
    for vip in (VLAN_VIP, VLAN_VIP6):
        with lab.backends[2].enter(), pytest.raises(ConnectionRefusedError):
            socket.create_connection((str(vip), 9), timeout=20)
    assert packets(daemon, "wrong_port") == before + 2


@by_family
def test_vlan_datagram_in_fragments_arrives_whole(lab: Lab, daemon: Daemon, vip: Address) -> None:
    names = set()
    for _ in range(20):
        sent = os.urandom(6_000)
        with lab.clients[0].enter(), socket.socket(family_of(vip), socket.SOCK_DGRAM) as asking:
            asking.settimeout(10)
            asking.connect((str(vip), UDP_PORT))
            asking.send(sent)
            name, _, echoed = asking.recv(65_535).partition(b" ")
        assert echoed == sent
        names.add(name)
    assert names == {b"backend1", b"backend2"}


@by_family
def test_vlan_backend_mac_changed_keeps_its_connections(lab: Lab, daemon: Daemon, vip: Address) -> None:
    node = lab.backends[1]
    with line_to(lab.clients[0], node, vip=vip) as line:
        mac = node.change_mac()
        assert line.is_alive
    wait_until(
        lambda: daemon.backends(pool_of(vip))[node.name]["mac"] == mac, deadline_s=10, what="the status to show the MAC"
    )
    wait_in(daemon, pool_of(vip), node.name, "up")


@by_family
def test_vlan_backend_without_the_vip_goes_down_for_that_reason(lab: Lab, daemon: Daemon, vip: Address) -> None:
    node = lab.backends[1]
    node.remove_vip(vip)
    try:
        wait_in(daemon, pool_of(vip), node.name, "down")
        assert "VIP not accepted" in daemon.backends(pool_of(vip))[node.name]["reason"]
        assert spread(lab.clients[0], 20, vip=vip).keys() == {"backend1"}
    finally:
        node.add_vip(vip)
    wait_in(daemon, pool_of(vip), node.name, "up")


def test_vlan_is_told_with_the_device_below(lab: Lab, daemon: Daemon) -> None:
    assert [(row.name, row.device, row.vlans) for row in status(daemon).interfaces] == [
        ("eth0", "eth0", ()),
        ("eth0.20", "eth0", (20,)),
    ]


def test_vlan_interfaces_share_one_program(lab: Lab, daemon: Daemon) -> None:
    said = lab.director.run(["ip", "link", "show"]).stdout
    assert said.count("prog/xdp") == 1


def test_vlan_tags_are_left_in_the_frames_in_both_modes(lab: Lab, daemon: Daemon) -> None:
    """A NIC that takes them out hides them from the program in generic mode, too (see `lbctl.network.offload`)."""
    shown = lab.director.run(["ethtool", "-k", "eth0"]).stdout
    assert "rx-vlan-offload: off" in shown
