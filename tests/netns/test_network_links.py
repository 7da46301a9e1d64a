"""`KernelNetwork` against a real kernel: links."""

from __future__ import annotations

from ipaddress import IPv4Interface

import pytest

from lbctl.errors import NetworkError
from lbctl.network.port import Link, LinkChanged
from tests.netns.network_rig import Director, director, hosts, peer
from tests.netns.ns_helpers import eventually

__all__ = ["director", "hosts", "peer"]  # fixtures


def test_link_existing_tells_what_the_kernel_has(director: Director) -> None:
    assert director.link.mac == director.host.mac
    assert director.link.addresses == (IPv4Interface("10.77.0.1/24"),)
    assert director.link.is_up
    assert director.link.mtu == 1500


def test_link_unknown_error_names_it_and_those_that_exist(director: Director) -> None:
    with pytest.raises(NetworkError) as caught:
        director.loop.run(director.network.link("eth7"))
    assert "eth7" in caught.value.message
    assert "eth0, lo" in caught.value.hint


def test_link_going_down_and_up_is_told(director: Director) -> None:
    director.host.run("ip link set eth0 down")
    eventually(lambda: (link := director.last_link_event()) and not link.is_up)
    director.host.run("ip link set eth0 up")
    eventually(lambda: (link := director.last_link_event()) and link.is_up)


def test_link_new_mac_and_address_are_told(director: Director) -> None:
    director.host.set_mac("02:00:00:00:0a:0a")
    director.host.run("ip addr add 10.78.0.1/24 dev eth0")

    def link_with_both() -> Link | None:
        link = director.last_link_event()
        return link if link is not None and len(link.addresses) == 2 else None

    link = eventually(link_with_both)
    assert link.mac == bytes.fromhex("020000000a0a")
    assert IPv4Interface("10.78.0.1/24") in link.addresses


def test_link_removed_is_told_as_none(director: Director) -> None:
    director.host.run("ip link del eth0")
    eventually(lambda: LinkChanged(ifindex=director.link.ifindex, link=None) in director.events)
