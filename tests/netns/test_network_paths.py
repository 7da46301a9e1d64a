"""`KernelNetwork` against a real kernel: policy routes of the probes."""

from __future__ import annotations

import asyncio
import ctypes
import platform
import socket
import threading
from collections.abc import Coroutine
from contextlib import closing, suppress
from dataclasses import replace

import pytest

from lbctl.errors import NetworkError, SystemRequirementError
from lbctl.network.kernel import KernelNetwork
from lbctl.network.port import ProbePath
from tests.netns.network_rig import (
    IPV4,
    IPV6,
    Director,
    Family,
    address,
    director,
    family,
    hosts,
    peer,
    started,
    stopped,
)
from tests.netns.ns_helpers import Host

__all__ = ["address", "director", "family", "hosts", "peer"]  # fixtures


MANY = 250
_SYS_SETRESUID = {"x86_64": 117, "aarch64": 147}[platform.machine()]
_NOBODY = 65_534
BOTH = (("-4", 0x11, IPV4), ("-6", 0x12, IPV6))


def rules_and_routes(host: Host) -> str:
    """Of both families."""
    commands = [f"ip {option} {subject}" for option in ("-4", "-6") for subject in ("rule", "route show table all")]
    return "".join(host.run(command) for command in commands)


def test_probe_paths_added_changed_removed_leave_no_trace(
    director: Director, hosts: tuple[Host, ...], family: Family
) -> None:
    first, second = family.of(hosts[1]), family.of(hosts[2])
    vip, other_vip = family.vip, family.other_vip
    before = rules_and_routes(director.host)
    director.set_paths(director.path(0x11, first, vip), director.path(0x12, second, vip, other_vip))
    both = rules_and_routes(director.host)
    assert both.count("fwmark") == 2
    assert f"{vip} via {first} dev eth0 table" in both
    assert f"{other_vip} via {second} dev eth0 table" in both

    director.set_paths(director.path(0x12, first, vip))
    one = rules_and_routes(director.host)
    assert one.count("fwmark") == 1
    assert f"{vip} via {first} dev eth0 table" in one
    assert f"via {second} " not in one
    assert f"{other_vip} " not in one

    director.set_paths()
    assert rules_and_routes(director.host) == before


def test_probe_paths_of_both_families_live_side_by_side(director: Director, hosts: tuple[Host, ...]) -> None:
    paths = {option: director.path(mark, given.of(hosts[1]), given.vip) for option, mark, given in BOTH}
    director.set_paths(*paths.values())
    for option, path in paths.items():
        assert f"fwmark {path.mark:#x} " in director.host.run(f"ip {option} rule")
    director.set_paths(paths["-6"])
    assert "fwmark" not in director.host.run("ip -4 rule")
    assert "fwmark" in director.host.run("ip -6 rule")


def test_probe_paths_set_again_change_nothing(director: Director, address: str, family: Family) -> None:
    path = director.path(0x11, address, family.vip)
    director.set_paths(path)
    with closing(director.host.call(subscribed_to_routes)) as listener:
        director.set_paths(path)
        director.host.run("ip route add 198.51.100.0/24 via 10.77.0.2")
        assert bytes([198, 51, 100, 0]) in listener.recv(4096), "the first change seen must be the marker, not lbctl's"


def subscribed_to_routes() -> socket.socket:
    ipv4_routes, ipv4_rules, ipv6_routes, ipv6_rules = 0x40, 0x80, 0x400, 0x40000
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    listener.settimeout(10)
    listener.bind((0, ipv4_routes | ipv4_rules | ipv6_routes | ipv6_rules))
    return listener


def test_probe_paths_of_an_earlier_run_are_removed(director: Director, address: str, family: Family) -> None:
    director.set_paths(director.path(0x11, address, family.vip))
    second = started(director.host)
    try:
        second.set_paths(second.path(0x22, address, family.vip))
    finally:
        stopped(second)
    rules = director.host.run(f"ip {family.option} rule")
    assert "0x22" in rules
    assert "0x11" not in rules


def test_probe_paths_other_peoples_rules_stay(director: Director, address: str, family: Family) -> None:
    ip = f"ip {family.option}"
    director.host.run(f"{ip} rule add fwmark 0x33 table 100 priority 108")
    director.host.run(f"{ip} rule add fwmark 0x34 table 1818361890 priority 200")
    director.host.run(f"{ip} route add {family.vip} via {address} table 100")
    director.host.run(f"{ip} route add {family.vip} via {address} table 1818361890")
    before = rules_and_routes(director.host)
    director.set_paths(director.path(0x11, address, family.vip))
    director.set_paths()
    assert rules_and_routes(director.host) == before


def many_paths(director: Director, address: str, family: Family) -> list[ProbePath]:
    """More than one system call takes."""
    return [director.path(mark, address, family.vip) for mark in range(1, MANY + 1)]


def counts(director: Director, family: Family) -> tuple[int, int]:
    """Of the rules, and of the routes."""
    rules = director.host.run(f"ip {family.option} rule").count("fwmark")
    return rules, director.host.run(f"ip {family.option} route show table all proto 108").count(str(family.vip))


def test_probe_paths_by_the_hundred_are_set_found_again_and_removed(
    director: Director, address: str, family: Family
) -> None:
    paths = many_paths(director, address, family)
    director.set_paths(*paths)
    assert counts(director, family) == (MANY, 2 * MANY)
    second = started(director.host)
    try:
        with closing(director.host.call(subscribed_to_routes)) as listener:
            second.set_paths(*paths)
            director.host.run("ip route add 198.51.100.0/24 via 10.77.0.2")
            assert bytes([198, 51, 100, 0]) in listener.recv(4096), "nothing of it is written anew"
        second.set_paths(paths[-1])
        assert counts(second, family) == (1, 2)
    finally:
        stopped(second)


def test_probe_path_that_is_refused_among_hundreds_is_named_and_keeps_none_back(
    director: Director, hosts: tuple[Host, ...], address: str, family: Family
) -> None:
    wrong = replace(director.path(MANY + 1, family.of(hosts[2]), family.vip), ifindex=4711)
    with pytest.raises(
        NetworkError, match=f"set the route to {family.vip} via {wrong.via} of the probes: No such device"
    ):
        director.set_paths(*many_paths(director, address, family), wrong)
    assert counts(director, family)[1] == 2 * MANY + 1, "all but that one, which is unreachable"
    director.set_paths(*many_paths(director, address, family))
    assert counts(director, family) == (MANY, 2 * MANY)


def test_loop_turns_while_hundreds_of_probe_paths_are_set(director: Director, address: str, family: Family) -> None:
    async def turns_while(work: Coroutine[None, None, None]) -> int:
        task, turns = asyncio.create_task(work), 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        await task
        return turns

    paths = frozenset(many_paths(director, address, family))
    turns = director.loop.run(turns_while(director.network.set_probe_paths(paths)))
    assert turns >= 2 * MANY // 100, "one at least for each hundred of the routes"


def test_probe_paths_without_permission_are_refused_in_words(director: Director, address: str, family: Family) -> None:
    def set_as_nobody() -> None:
        assert ctypes.CDLL(None).syscall(_SYS_SETRESUID, *3 * [_NOBODY]) == 0  # of this thread alone
        asyncio.run(KernelNetwork().set_probe_paths(frozenset([director.path(0x11, address, family.vip)])))

    with pytest.raises(SystemRequirementError, match="Operation not permitted") as caught:
        director.host.call(set_as_nobody)
    assert "CAP_NET_ADMIN" in str(caught.value.hint)
    assert counts(director, family) == (0, 0)


def test_probe_paths_with_marks_that_collide_are_refused(director: Director, address: str, family: Family) -> None:
    with pytest.raises(NetworkError, match="0x0011"):
        director.set_paths(director.path(0x11, address, family.vip), director.path(0x10011, address, family.other_vip))


def serve_vip(host: Host, family: Family) -> socket.socket:
    """Put the VIP on the loopback as a real server does, and answer every connection to it with the host's address."""
    host.set_sysctl("net.ipv4.conf.all.arp_ignore", 1)
    host.set_sysctl("net.ipv4.conf.all.arp_announce", 2)
    host.run(f"ip addr add {family.vip}/{family.host_bits} dev lo{family.at_once}")
    listener = host.call(lambda: socket.create_server((str(family.vip), 104), family=family.socket_family))

    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(host.address.encode())

    threading.Thread(target=answer, daemon=True).start()
    return listener


def ask_vip(director: Director, family: Family, mark: int) -> str:
    def connect() -> str:
        with socket.socket(family.socket_family) as client:
            client.settimeout(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            client.connect((str(family.vip), 104))
            return client.recv(100).decode()

    return director.host.call(connect)


def test_marked_connection_reaches_the_vip_on_the_backend_of_its_mark(
    director: Director, hosts: tuple[Host, ...], family: Family
) -> None:
    _, first, second, _ = hosts
    for host in hosts:
        host.run("ethtool -K eth0 tx off")
    with closing(serve_vip(first, family)), closing(serve_vip(second, family)):
        director.set_paths(
            director.path(0x11, family.of(first), family.vip), director.path(0x12, family.of(second), family.vip)
        )
        assert [ask_vip(director, family, mark) for mark in (0x11, 0x12, 0x11)] == [
            first.address,
            second.address,
            first.address,
        ]
        director.set_paths(director.path(0x11, family.of(second), family.vip))
        assert ask_vip(director, family, 0x11) == second.address


def test_marked_connection_with_its_link_down_goes_nowhere_else(
    director: Director, address: str, family: Family
) -> None:
    path = director.path(0x11, address, family.vip)
    director.set_paths(path)
    director.host.run("ip link set eth0 down")
    director.host.run("ip link add elsewhere type veth peer name far")
    director.host.run(f"ip addr add {family.subnet[200]}/{family.subnet.prefixlen} dev elsewhere")
    director.host.run("ip link set elsewhere up")
    with pytest.raises(OSError, match="No route to host"):
        ask_vip(director, family, 0x11)
    director.set_paths(path)
    with pytest.raises(OSError, match="No route to host"):
        ask_vip(director, family, 0x11)
