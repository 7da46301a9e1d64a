"""`KernelNetwork` against a real kernel: links."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from itertools import cycle

import pytest

from lbctl.errors import NetworkError
from lbctl.network.port import Link, LinkChanged
from tests.netns.network_rig import IPV4, Director, counts, director, hosts, peer
from tests.netns.ns_helpers import Host, eventually

__all__ = ["director", "hosts", "peer"]  # fixtures


def test_link_existing_tells_what_the_kernel_has(director: Director) -> None:
    assert director.link.mac == director.host.mac
    assert director.link.addresses == (IPv4Interface("10.77.0.1/24"), IPv6Interface("fd77::1/64"))
    assert director.link.is_up
    assert director.link.mtu == 1500
    assert (director.link.device, director.link.vlan, director.link.attach_index) == (0, 0, director.link.ifindex)


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


FLAPS = {
    "link": ("ip link set eth0 down", "ip link set eth0 up"),
    "address": ("ip addr del {own} dev eth0", "ip addr add {own} dev eth0"),
}


@pytest.mark.parametrize("flap", FLAPS.values(), ids=FLAPS)
def test_link_that_lost_its_routes_before_anybody_looked_is_told_as_down_and_up(
    director: Director, hosts: tuple[Host, ...], flap: tuple[str, str]
) -> None:
    """It looks as before, but probes would go nowhere."""
    path = director.path(0x11, hosts[1].address, IPV4.vip)
    director.set_paths(path)

    async def while_nobody_looks() -> None:
        for command in flap:
            director.host.run(command.format(own=f"{director.host.address}/24"))

    director.loop.run(while_nobody_looks())
    assert counts(director, IPV4) == (1, 1), "the unreachable one"
    eventually(lambda: [link.is_up for link in director.links_told()] == [False, True])
    director.set_paths(path)
    assert counts(director, IPV4) == (1, 2)


def test_link_new_mac_and_address_are_told(director: Director) -> None:
    director.host.set_mac("02:00:00:00:0a:0a")
    director.host.run("ip addr add 10.78.0.1/24 dev eth0")

    def link_with_both() -> Link | None:
        link = director.last_link_event()
        return link if link is not None and len(link.addresses) == 3 else None

    link = eventually(link_with_both)
    assert link.mac == bytes.fromhex("020000000a0a")
    assert IPv4Interface("10.78.0.1/24") in link.addresses


def test_link_removed_is_told_as_none(director: Director) -> None:
    director.host.run("ip link del eth0")
    eventually(lambda: LinkChanged(ifindex=director.link.ifindex, link=None) in director.events)


def addresses_now(director: Director) -> tuple[str, ...]:
    return tuple(str(address) for address in director.loop.run(director.network.link("eth0")).addresses)


def test_link_new_ipv6_address_is_told_once_it_is_known_to_be_no_duplicate(director: Director) -> None:
    """While the kernel still looks for duplicates it may be another station's; without a carrier it cannot look."""
    added, marker = IPv6Interface("fd78::1/64"), IPv4Interface("10.78.0.1/24")
    director.unplug()
    eventually(lambda: (link := director.last_link_event()) and not link.is_up)
    director.host.run(f"ip addr add {added} dev eth0")
    director.host.run(f"ip addr add {marker} dev eth0")
    eventually(lambda: marker in director.addresses_told())
    assert added not in director.addresses_told()
    director.plug_in()
    eventually(lambda: added in director.addresses_told())


def test_link_ipv6_address_that_another_station_has_is_left_out(director: Director, peer: Host) -> None:
    director.host.run("ip addr add fd77::2/64 dev eth0")
    eventually(lambda: "dadfailed" in director.host.run("ip -6 addr show dev eth0"))
    assert addresses_now(director) == ("10.77.0.1/24", "fd77::1/64")


def test_link_address_without_preference_is_an_address(director: Director) -> None:
    """Operators deprecate an address to keep it from being chosen as a source; it is reachable all the same."""
    director.host.run("ip addr add fd78::1/64 dev eth0 nodad preferred_lft 0")
    assert "fd78::1/64" in addresses_now(director)


def test_link_multicast_and_link_local_addresses_are_left_out(director: Director) -> None:
    director.host.run("ip addr add ff02::1:ff00:64/128 dev eth0 autojoin")
    shown = director.host.run("ip -6 addr show dev eth0")
    assert "ff02::1:ff00:64" in shown
    assert "fe80:" in shown
    assert addresses_now(director) == ("10.77.0.1/24", "fd77::1/64")


def test_link_by_the_name_of_a_vlan_tells_the_device_and_the_tags(director: Director) -> None:
    for name in ("eth0.20", "eth0.20.30", "eth0.20.30.40", "nic9.20", "eth0.4095", "eth0.x"):
        director.host.run(f"ip link add {name} type veth")
    places = {name: director.loop.run(director.network.link(name)) for name in ("eth0.20", "eth0.20.30")}
    bottom = director.link.ifindex
    assert {name: (link.device, link.vlan, link.attach_index) for name, link in places.items()} == {
        "eth0.20": (bottom, 20, bottom),
        "eth0.20.30": (bottom, 20 * 4096 + 30, bottom),
    }
    for name in ("nic9.20", "eth0.4095", "eth0.x"):
        link = director.loop.run(director.network.link(name))
        assert (link.device, link.vlan, link.attach_index) == (0, 0, link.ifindex)
    with pytest.raises(NetworkError, match=r"eth0\.20\.30\.40 carry more than 2 VLAN tags"):
        director.loop.run(director.network.link("eth0.20.30.40"))


def test_link_vlan_told_by_an_event_is_the_one_that_is_read(director: Director) -> None:
    director.host.run("ip link add eth0.20 type veth")
    sizes = cycle((1400, 1500))

    def told_of() -> Link | None:
        director.host.run(f"ip link set eth0.20 mtu {next(sizes)}")
        return director.link_told("eth0.20")

    # What was read is not told as news, also not what there was when listening began: hence first an event.
    told = eventually(told_of)
    read = director.loop.run(director.network.link("eth0.20"))
    assert (told.ifindex, told.device, told.vlan) == (read.ifindex, director.link.ifindex, 20)
