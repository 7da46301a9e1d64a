"""`KernelNetwork` against a real kernel: neighbours and the event stream."""

from __future__ import annotations

import asyncio
import resource
from ipaddress import ip_address

import pytest

from lbctl.errors import NetworkError
from tests.netns.network_rig import (
    IPV4,
    IPV6,
    Director,
    Family,
    address,
    claim,
    director,
    family,
    hosts,
    peer,
    started,
    stopped,
)
from tests.netns.ns_helpers import Host, eventually

__all__ = ["address", "director", "family", "hosts", "peer"]  # fixtures


def test_manage_neighbour_cold_is_resolved_and_flagged(director: Director, peer: Host, address: str) -> None:
    director.manage(address)
    director.await_mac(address, peer.mac)
    shown = director.host.run(f"ip neigh show {address}")
    assert "managed extern_learn" in shown
    director.manage(address)
    assert director.host.run("ip neigh show").count(address) == 1


def test_manage_neighbour_failed_before_is_resolved(
    director: Director, peer: Host, address: str, family: Family
) -> None:
    director.host.set_sysctl(f"{family.sysctls}.neigh.eth0.retrans_time_ms", 50)
    peer.run("ip link set eth0 down")
    director.host.run(f"ip neigh replace {address} dev eth0 use nud none")
    director.await_entry(address, lambda entry: entry.state == "failed")
    peer.run("ip link set eth0 up")
    director.manage(address)
    director.await_mac(address, peer.mac)


def test_manage_neighbour_permanent_is_left_alone(director: Director, peer: Host, address: str) -> None:
    pinned = f"{address} dev eth0 lladdr 02:00:00:00:00:99"
    director.host.run(f"ip neigh add {pinned} nud permanent")
    director.manage(address)
    assert f"{pinned} PERMANENT" in director.host.run("ip neigh show")
    director.release(address)
    assert f"{pinned} PERMANENT" in director.host.run("ip neigh show")


def test_release_neighbour_managed_is_deleted_and_stays_so(director: Director, peer: Host, address: str) -> None:
    director.manage(address)
    director.await_mac(address, peer.mac)
    for _ in range(2):
        director.release(address)
    director.await_entry(address, lambda entry: entry.state == "deleted" and entry.mac is None)
    assert address not in director.host.run("ip neigh show")


def test_release_neighbour_of_an_interface_that_is_gone_is_nothing_to_do(director: Director, address: str) -> None:
    director.manage(address)
    director.host.run("ip link del eth0")
    director.release(address)


def test_manage_neighbour_unknown_interface_is_refused(director: Director) -> None:
    with pytest.raises(NetworkError, match="index 4711"):
        director.loop.run(director.network.manage_neighbours(4711, [IPV4.vip]))


def test_manage_neighbours_of_which_one_is_refused_names_it_and_keeps_back_none_of_the_others(
    director: Director, hosts: tuple[Host, ...]
) -> None:
    director.host.set_sysctl("net.ipv6.conf.eth0.disable_ipv6", 1)
    _, first, second, _ = hosts
    wanted = [ip_address(address) for address in (first.address, IPV6.of(first), second.address)]
    with pytest.raises(NetworkError, match=f"manage neighbour {wanted[1]} on eth0: IPv6 is disabled"):
        director.loop.run(director.network.manage_neighbours(director.link.ifindex, wanted))
    for host in (first, second):
        director.await_mac(host.address, host.mac)
    second.set_mac("02:00:00:00:00:7a")
    director.await_mac(second.address, bytes.fromhex("02000000007a"))  # it is watched


def test_events_first_tell_the_neighbours_that_exist(director: Director, peer: Host, address: str) -> None:
    director.manage(address)
    director.await_mac(address, peer.mac)
    second = started(director.host)
    try:
        second.await_mac(address, peer.mac)
    finally:
        stopped(second)


def test_mac_change_with_an_announcement_is_told(director: Director, peer: Host, address: str) -> None:
    director.manage(address)
    director.await_mac(address, peer.mac)
    peer.set_mac("02:00:00:00:00:77")
    claim(peer, address)
    director.await_mac(address, bytes.fromhex("020000000077"))


def test_mac_change_without_a_word_is_found(director: Director, peer: Host, address: str) -> None:
    director.manage(address)
    director.await_mac(address, peer.mac)
    peer.set_mac("02:00:00:00:00:78")
    director.await_mac(address, bytes.fromhex("020000000078"))
    assert "managed extern_learn" in director.host.run(f"ip neigh show {address}")


def test_mac_change_that_the_kernel_ignores_for_its_locktime_is_found(director: Director, peer: Host) -> None:
    an_hour_of_ticks = 360_000
    director.host.set_sysctl("net.ipv4.neigh.eth0.locktime", an_hour_of_ticks)
    director.manage(peer.address)
    director.await_mac(peer.address, peer.mac)
    peer.set_mac("02:00:00:00:00:79")
    director.await_mac(peer.address, bytes.fromhex("020000000079"))
    assert "managed extern_learn" in director.host.run(f"ip neigh show {peer.address}")


def test_peer_vanished_is_told_as_failed_and_its_return_as_usable(hosts: tuple[Host, ...], family: Family) -> None:
    peer = hosts[1]
    address = family.of(peer)
    hosts[0].set_sysctl(f"{family.sysctls}.neigh.eth0.retrans_time_ms", 100)
    director = started(hosts[0], confirm_interval_s=0.05)
    try:
        director.manage(address)
        director.await_mac(address, peer.mac)
        peer.run("ip link set eth0 down")
        failed = director.await_entry(address, lambda entry: entry.state == "failed")
        assert (failed.mac, failed.usable) == (None, False)
        assert "managed extern_learn" in hosts[0].run(f"ip neigh show {address}")
        peer.run("ip link set eth0 up")
        director.await_mac(address, peer.mac)
    finally:
        stopped(director)


def test_managed_neighbour_returns_after_the_link_was_down(director: Director, peer: Host, address: str) -> None:
    director.manage(address)
    director.await_mac(address, peer.mac)
    director.host.run("ip link set eth0 down")
    director.await_entry(address, lambda entry: not entry.usable)
    director.host.run("ip link set eth0 up")
    director.await_mac(address, peer.mac)
    assert "managed extern_learn" in director.host.run(f"ip neigh show {address}")


def test_managed_neighbour_returns_after_the_carrier_was_lost(director: Director, peer: Host, address: str) -> None:
    director.manage(address)
    director.await_mac(address, peer.mac)
    director.unplug()
    director.await_entry(address, lambda entry: not entry.usable)
    eventually(lambda: (link := director.last_link_event()) and not link.is_up)
    director.plug_in()
    director.await_mac(address, peer.mac)


def test_managed_neighbour_returns_after_an_operator_flushed_it(director: Director, peer: Host, address: str) -> None:
    director.manage(address)
    director.await_mac(address, peer.mac)
    told = len(director.events)
    director.host.run("ip neigh flush dev eth0")
    eventually(
        lambda: (
            len(director.events) > told
            and (entry := director.entry(address))
            and entry.usable
            and "managed extern_learn" in director.host.run(f"ip neigh show {address}")
        )
    )


def test_requests_at_the_same_time_do_not_disturb_each_other(
    director: Director, peer: Host, address: str, family: Family
) -> None:
    async def all_at_once() -> None:
        path = frozenset([director.path(0x11, address, family.vip)])
        await asyncio.gather(
            *(director.network.neighbours(director.link.ifindex) for _ in range(10)),
            *(director.network.link("eth0") for _ in range(10)),
            *(director.network.set_probe_paths(path) for _ in range(10)),
            *(director.network.manage_neighbours(director.link.ifindex, [ip_address(address)]) for _ in range(10)),
        )

    director.loop.run(all_at_once())
    assert director.host.run(f"ip {family.option} rule").count("fwmark") == 2, "the path's, and that to its shelf"


def test_events_flooded_beyond_the_buffer_end_with_the_truth(hosts: tuple[Host, ...]) -> None:
    director = started(hosts[0], receive_buffer_bytes=16_384)
    addresses = [f"10.77.0.{last}" for last in range(10, 210)]
    memory_before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        flood = "".join(
            f"neigh replace {address} lladdr 02:00:00:00:00:{turn:02x} nud permanent dev eth0\n"
            for turn in range(1, 101)
            for address in addresses
        )
        hosts[0].run("ip -batch -", stdin=flood)
        last_mac = bytes.fromhex("020000000064")
        for address in addresses:
            director.await_mac(address, last_mac)
        assert director.network.overruns > 0
        assert director.link in director.links_told(), "it may have been down: nobody can tell"
        hosts[0].run(f"ip neigh del {addresses[0]} dev eth0")
        director.await_entry(addresses[0], lambda entry: entry.state == "deleted")
    finally:
        stopped(director)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_before_kib < 32 * 1024
