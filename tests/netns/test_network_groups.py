"""`KernelNetwork` against a real kernel: the groups in which stations ask for IPv6 VIPs."""

from __future__ import annotations

import subprocess
from ipaddress import IPv6Address

import pytest

from lbctl.errors import NetworkError
from tests.netns.network_rig import Director, director, hosts, peer, started, stopped
from tests.netns.ns_helpers import Host, eventually

__all__ = ["director", "hosts", "peer"]  # fixtures

VIP = IPv6Address("fd77::1:2345")
NAMESAKE = IPv6Address("fd79::1:2345")
OTHER_VIP = IPv6Address("fd77::1:6789")
GROUP, MAC = "ff02::1:ff01:2345", "33:33:ff:01:23:45"
OTHER_GROUP = "ff02::1:ff01:6789"


def listen(director: Director, *vips: IPv6Address) -> None:
    director.loop.run(director.network.listen_for(director.link.ifindex, frozenset(vips)))


def groups(host: Host) -> set[str]:
    """Which the kernel is in on eth0, and which MACs the NIC was told to receive."""
    return {word for word in host.run("ip maddr show dev eth0").split() if ":" in word}


def test_listen_for_joins_the_group_in_the_kernel_and_in_the_nic(director: Director) -> None:
    listen(director, VIP, NAMESAKE, OTHER_VIP)
    assert {GROUP, MAC, OTHER_GROUP} <= groups(director.host)


def test_listen_for_others_leaves_the_groups_of_those_before(director: Director) -> None:
    before = groups(director.host)
    listen(director, VIP, NAMESAKE)
    listen(director, NAMESAKE, OTHER_VIP)
    assert {GROUP, OTHER_GROUP} <= groups(director.host)
    listen(director, OTHER_VIP)
    assert GROUP not in groups(director.host)
    listen(director)
    assert groups(director.host) == before


def test_listen_for_finds_what_an_earlier_run_joined(director: Director) -> None:
    listen(director, VIP, OTHER_VIP)
    second = started(director.host)
    try:
        listen(second, OTHER_VIP)
    finally:
        stopped(second)
    assert GROUP not in groups(director.host)
    assert OTHER_GROUP in groups(director.host)


def test_listen_for_leaves_alone_what_an_operator_joined(director: Director) -> None:
    director.host.run(f"ip addr add {GROUP}/128 dev eth0 autojoin")
    listen(director, VIP)
    listen(director)
    assert GROUP in groups(director.host)


def test_listen_for_shows_in_no_routing_table_but_the_local_one(director: Director) -> None:
    before = director.host.run("ip -6 route")
    listen(director, VIP)
    assert director.host.run("ip -6 route") == before


def test_listen_for_stays_in_the_group_when_the_link_was_down(director: Director) -> None:
    listen(director, VIP)
    director.host.run("ip link set eth0 down")
    eventually(lambda: (link := director.last_link_event()) and not link.is_up)
    director.host.run("ip link set eth0 up")
    eventually(lambda: (link := director.last_link_event()) and link.is_up)
    listen(director, VIP, OTHER_VIP)
    assert {GROUP, MAC, OTHER_GROUP} <= groups(director.host)


def answers(peer: Host, address: str) -> bool:
    """Whether a ping of that address succeeds, and so its neighbour discovery."""
    argv = ["nsenter", f"--net=/run/netns/{peer.namespace}", "ping", "-6", "-c", "1", "-W", "2", address]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def test_listen_for_does_not_hide_the_directors_own_address_in_the_same_group(director: Director, peer: Host) -> None:
    director.host.run("ip addr add fd77::aa01:2345/64 dev eth0 nodad")
    listen(director, VIP)
    eventually(lambda: answers(peer, "fd77::aa01:2345"), within_s=20)
    listen(director)
    peer.run("ip neigh flush dev eth0")
    eventually(lambda: answers(peer, "fd77::aa01:2345"), within_s=20)


def test_listen_for_on_an_interface_without_ipv6_is_refused_with_what_to_do(director: Director) -> None:
    director.host.set_sysctl("net.ipv6.conf.eth0.disable_ipv6", 1)
    with pytest.raises(NetworkError, match="eth0: IPv6 is disabled") as caught:
        listen(director, VIP)
    assert "disable_ipv6=0" in caught.value.hint
    with pytest.raises(NetworkError, match="fd77::2 on eth0: IPv6 is disabled"):
        director.manage("fd77::2")
