"""IPv6 from end to end, beside IPv4 on the same servers: balanced, announced, checked, and with what IPv6 asks of its own."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest

from lbctl.lab.capture import Direction, Kind
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP, VIP6, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import (
    TCP_PORT,
    UDP_PORT,
    Datagrams,
    Line,
    connects,
    line_to,
    pings,
    spread,
    status,
)
from tests.netns.wide_rig import POOL6, directing_wide, packets, wait_in, wide_configuration

NOT_A_VIP = VIP6 + 2
GROUP = "ff02::1:ff00:100"
"""The solicited-node group of the VIP (RFC 4291 section 2.7.1)."""
UNSERVED = 9
BYTES = 8_000
NARROW_MTU = 1_300
ROUTER, FAR_CLIENT = "2001:db8:51::1", "2001:db8:51::2"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The third client stands behind the second, which is its router, and a link that takes small packets only."""
    with Lab(plan_lab(backends=2, clients=3, ipv6=True)) as built:
        router, far = built.clients[1:]
        far.ip("link set eth0 down")
        router.ip(f"link add eth1 mtu {NARROW_MTU} type veth peer name eth1 netns {far.namespace} mtu {NARROW_MTU}")
        router.ip(f"address add {ROUTER}/64 dev eth1", "link set eth1 up")
        router.sysctl("ipv6/conf/all/forwarding", 1)
        far.ip(
            f"address add {FAR_CLIENT}/64 dev eth1", "link set eth1 up", f"route add default via {ROUTER} advmss 1440"
        )
        for node in built.backends:
            node.ip(f"route add 2001:db8:51::/64 via {router.address6}")
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    with directing_wide(lab, wide_configuration(lab)) as running:
        yield running


def neighbour(client: Node) -> str:
    """What the client's kernel knows of the VIP's MAC."""
    return client.run(["ip", "-6", "neighbour", "show", str(VIP6)]).stdout


# A service -----------------------------------------------------------------------------------------------------------


def test_ipv6_connections_are_balanced_beside_those_of_ipv4(lab: Lab, daemon: Daemon) -> None:
    client = lab.clients[0]
    assert spread(client, 40, vip=VIP6).keys() == {"backend1", "backend2"}
    assert spread(client, 40, vip=VIP).keys() == {"backend1", "backend2"}
    asked = [Datagrams(client, vip=VIP6) for _ in range(20)]
    answers = [flow.ask(timeout_s=5) for flow in asked]
    assert set(answers) == {"backend1", "backend2"}
    assert [flow.ask(timeout_s=5) for flow in asked] == answers
    for flow in asked:
        flow.close()


def test_ipv6_answers_bypass_the_director(lab: Lab, daemon: Daemon) -> None:
    text = b"x" * 3_000_000 + b"\n"
    with lab.count_frames(lab.director) as counter, Line(lab.clients[0], vip=VIP6) as line:
        assert line.echo(text).endswith(text)
        traffic = counter.read()
    assert traffic.of(Direction.RECEIVED, Kind.CLIENT_DATA).octets > len(text)
    assert traffic.returned.frames == 0


def test_ipv6_vip_is_advertised_and_pinged_and_no_other_address(lab: Lab, daemon: Daemon) -> None:
    client = lab.clients[0]
    client.ip("neighbour flush all")
    assert pings(client, VIP6)
    assert lab.director.mac in neighbour(client)
    assert "router" not in neighbour(client)
    assert not pings(client, NOT_A_VIP)
    assert packets(daemon, "neighbour_reply") > 0


def test_ipv6_vip_belongs_to_no_kernel_but_its_group_is_joined(lab: Lab, daemon: Daemon) -> None:
    for shown in (["ip", "-6", "address", "show"], ["ip", "-6", "route", "show", "table", "local"]):
        assert f"{VIP6}/" not in lab.director.run(shown).stdout
        assert f" {VIP6} " not in lab.director.run(shown).stdout
    assert GROUP in lab.director.run(["ip", "-6", "maddress", "show", "dev", "eth0"]).stdout


def test_ipv6_port_without_a_service_is_refused_at_once(lab: Lab, daemon: Daemon) -> None:
    """By TCP and by UDP, from near and from behind a router."""
    for client in (lab.clients[0], lab.clients[2]):
        began = time.monotonic()
        with client.enter(), pytest.raises(ConnectionRefusedError):
            socket.create_connection((str(VIP6), UNSERVED), timeout=20)
        assert time.monotonic() - began < 5 * 0.1  # a SYN that is lost is sent again after a second
        with client.enter(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asking:
            asking.settimeout(5)
            asking.connect((str(VIP6), UNSERVED))
            asking.send(b"anybody?")
            with pytest.raises(ConnectionRefusedError):
                asking.recv(1)


# Its backends --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("announce", [True, False], ids=["announced", "silent"])
def test_ipv6_backend_mac_changed_traffic_flows_again_within_seconds(lab: Lab, daemon: Daemon, announce: bool) -> None:
    client, node = lab.clients[0], lab.backends[0]
    with line_to(client, node, vip=VIP6) as line:
        changed = time.monotonic()
        mac = node.change_mac(announce=announce)
        wait_until(lambda: connects(client, vip=VIP6), deadline_s=5, what="a connection")
        assert line.is_alive
        print(f"\nMAC changed: answered after {time.monotonic() - changed:.3f} s")
    wait_until(
        lambda: daemon.backends(POOL6)[node.name]["mac"] == mac, deadline_s=10, what="the status to show the new MAC"
    )
    wait_in(daemon, POOL6, node.name, "up")


def test_ipv6_vip_off_a_loopback_takes_the_backend_down_in_its_pool_only(lab: Lab, daemon: Daemon) -> None:
    node = lab.backends[1]
    node.remove_vip(VIP6)
    try:
        wait_in(daemon, POOL6, node.name, "down")
        row = daemon.backends(POOL6)[node.name]
        print(f"\n{row['reason']}")
        assert "VIP not accepted" in row["reason"]
        assert str(VIP6) in row["reason"]
        assert node.name not in spread(lab.clients[0], 30, vip=VIP6)
        assert daemon.backends("servers")[node.name]["state"] == "up"
    finally:
        node.add_vip(VIP6)
    wait_in(daemon, POOL6, node.name, "up")
    assert node.name in spread(lab.clients[0], 40, vip=VIP6)


def test_ipv6_halt_resets_the_backends_connections(lab: Lab, daemon: Daemon) -> None:
    client, (node, other) = lab.clients[0], lab.backends
    with line_to(client, node, vip=VIP6) as line, line_to(client, other, vip=VIP6) as bystander:
        daemon.ctl("halt", f"{POOL6}/{node.name}")
        try:
            with pytest.raises(ConnectionResetError):
                line.wait(timeout_s=5)
            assert bystander.is_alive
        finally:
            daemon.ctl("enable", f"{POOL6}/{node.name}")
    wait_in(daemon, POOL6, node.name, "up")


# Fragments and ICMPv6 errors -----------------------------------------------------------------------------------------


def test_ipv6_datagrams_in_fragments_arrive_whole_at_one_backend(lab: Lab, daemon: Daemon) -> None:
    before, names = packets(daemon, "fragment"), set()
    for _ in range(20):
        sent = os.urandom(BYTES)
        with lab.clients[0].enter(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asking:
            asking.settimeout(10)
            asking.connect((str(VIP6), UDP_PORT))
            asking.send(sent)
            name, _, echoed = asking.recv(65_535).partition(b" ")
        assert echoed == sent
        names.add(name)
    assert names == {b"backend1", b"backend2"}
    assert packets(daemon, "fragment") == before + 20 * 5
    assert packets(daemon, "lost_fragment") == 0


def test_ipv6_transfer_across_a_hop_with_a_smaller_mtu_completes(lab: Lab, daemon: Daemon) -> None:
    """The servers send segments that the hop does not take until packet-too-big (RFC 4443 section 3.2) tells them."""
    before = packets(daemon, "icmp_error")
    text = os.urandom(300_000).hex().encode() + b"\n"
    with Line(lab.clients[2], vip=VIP6, timeout_s=30) as line:
        assert line.echo(text) == line.backend.encode() + b" " + text
        server = lab.node(line.backend)
    assert f"mtu {NARROW_MTU}" in server.run(["ip", "route", "get", FAR_CLIENT, "from", str(VIP6)]).stdout
    assert packets(daemon, "icmp_error") > before


# Without IPv4 --------------------------------------------------------------------------------------------------------


def test_director_without_any_ipv4_serves() -> None:
    with (
        Lab(plan_lab(backends=2, ipv4=False, ipv6=True)) as alone,
        directing_wide(alone, wide_configuration(alone)) as daemon,
    ):
        assert spread(alone.clients[0], 40, vip=VIP6, port=TCP_PORT).keys() == {"backend1", "backend2"}
        assert pings(alone.clients[0], VIP6)
        (interface,) = status(daemon).interfaces
        assert (interface.address, interface.mode) == (None, "native")
