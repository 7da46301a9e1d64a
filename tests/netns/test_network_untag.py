"""`KernelNetwork` against a real kernel: VLAN tags stay in the frames."""

from __future__ import annotations

import pytest

from lbctl.errors import NetworkError
from tests.netns.network_rig import Director, director, hosts, peer
from tests.netns.ns_helpers import Host

__all__ = ["director", "hosts", "peer"]  # fixtures


def off_loads(host: Host, name: str = "eth0") -> set[str]:
    """What ``ethtool -k`` says of tags of received frames."""
    return {line for line in host.run(f"ethtool -k {name}").splitlines() if line.startswith("rx-vlan-")}


def test_untag_switches_both_off_loads_off_and_nothing_else(director: Director) -> None:
    before = director.host.run("ethtool -k eth0").splitlines()
    assert {"rx-vlan-offload: on", "rx-vlan-stag-hw-parse: on"} <= set(before)
    for _ in range(2):
        assert director.loop.run(director.network.untag(director.link.ifindex)) == ""
    after = director.host.run("ethtool -k eth0").splitlines()
    assert set(after) - set(before) == {"rx-vlan-offload: off", "rx-vlan-stag-hw-parse: off"}


def test_untag_of_an_interface_that_has_no_such_off_load_changes_nothing(director: Director) -> None:
    before = director.host.run("ethtool -k lo")
    loopback = director.loop.run(director.network.link("lo"))
    assert director.loop.run(director.network.untag(loopback.ifindex)) == ""
    assert director.host.run("ethtool -k lo") == before


def test_untag_of_an_interface_that_was_renamed_finds_it(director: Director) -> None:
    director.host.run("ip link set eth0 down")
    director.host.run("ip link set eth0 name nic0")
    assert director.loop.run(director.network.untag(director.link.ifindex)) == ""
    assert "rx-vlan-offload: off" in off_loads(director.host, "nic0")


def test_untag_of_an_interface_that_is_gone_is_refused(director: Director) -> None:
    with pytest.raises(NetworkError, match="index 4711"):
        director.loop.run(director.network.untag(4711))
