"""`KernelNetwork` against a real kernel: policy routes of the probes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from ipaddress import ip_address

import pytest

from lbctl.errors import NetworkError
from lbctl.network.port import MARK_BASE, PathsTouched, ProbePath
from tests.netns.network_rig import (
    IPV4,
    IPV6,
    Director,
    Family,
    address,
    counts,
    director,
    family,
    hosts,
    paths_of,
    peer,
    started,
    stopped,
    subscribed_to_routes,
)
from tests.netns.ns_helpers import Host, eventually

__all__ = ["address", "director", "family", "hosts", "peer"]  # fixtures


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
    assert paths_of(both) == 2
    assert f"{vip} via {first} dev eth0 table" in both
    assert f"{other_vip} via {second} dev eth0 table" in both

    director.set_paths(director.path(0x12, first, vip))
    one = rules_and_routes(director.host)
    assert paths_of(one) == 1
    assert f"{vip} via {first} dev eth0 table" in one
    assert f"via {second} " not in one
    assert f"{other_vip} " not in one

    director.set_paths()
    assert rules_and_routes(director.host) == before


def test_probe_paths_of_both_families_live_side_by_side(director: Director, hosts: tuple[Host, ...]) -> None:
    paths = {option: director.path(mark, given.of(hosts[1]), given.vip) for option, mark, given in BOTH}
    director.set_paths(*paths.values())
    for option, path in paths.items():
        assert f"fwmark {path.mark:#x} lookup {path.mark}" in director.host.run(f"ip {option} rule")
    director.set_paths(paths["-6"])
    assert "fwmark" not in director.host.run("ip -4 rule")
    assert paths_of(director.host.run("ip -6 rule")) == 1


def test_probe_paths_set_again_change_nothing(director: Director, address: str, family: Family) -> None:
    path = director.path(0x11, address, family.vip)
    director.set_paths(path)
    with closing(director.host.call(subscribed_to_routes)) as listener:
        director.set_paths(path)
        director.host.run("ip route add 198.51.100.0/24 via 10.77.0.2")
        assert bytes([198, 51, 100, 0]) in listener.recv(4096), "the first change seen must be the marker, not lbctl's"


def test_probe_paths_of_an_earlier_run_are_removed(director: Director, address: str, family: Family) -> None:
    director.set_paths(director.path(0x11, address, family.vip))
    second = started(director.host)
    try:
        second.set_paths(second.path(0x22, address, family.vip))
    finally:
        stopped(second)
    rules = director.host.run(f"ip {family.option} rule")
    assert "0x6c620022" in rules
    assert "0x6c620011" not in rules


def test_probe_paths_other_peoples_rules_stay(director: Director, address: str, family: Family) -> None:
    ip = f"ip {family.option}"
    director.host.run(f"{ip} rule add fwmark 0x33 table 100 priority 108")
    director.host.run(f"{ip} rule add fwmark 0x35 table 100 priority 40000")
    director.host.run(f"{ip} rule add fwmark 0x34 table 1818361890 priority 200")
    director.host.run(f"{ip} route add {family.vip} via {address} table 100")
    director.host.run(f"{ip} route add {family.vip} via {address} table 1818361890")
    before = rules_and_routes(director.host)
    director.set_paths(director.path(0x11, address, family.vip))
    director.set_paths()
    assert rules_and_routes(director.host) == before


def test_probe_paths_that_somebody_deletes_are_told_and_other_peoples_routes_are_not(
    director: Director, address: str, family: Family
) -> None:
    """A routing daemon may take back a million."""
    ip, mine, others = f"ip {family.option}", *(director.path(number, address, family.vip) for number in (0x11, 0x12))
    director.set_paths(mine, others)
    for verb in ("add", "del"):
        director.host.run(f"{ip} route {verb} unreachable {address} table {others.mark} proto bird")
    director.host.run(f"{ip} route flush table {mine.mark}")
    told = eventually(lambda: [event for event in tuple(director.events) if isinstance(event, PathsTouched)] or None)
    assert {event.mark for event in told} == {mine.mark}


def test_probe_paths_with_a_mark_that_two_have_are_refused(director: Director, address: str, family: Family) -> None:
    with pytest.raises(NetworkError, match="2 probe paths share the mark 0x6c620011"):
        director.set_paths(director.path(0x11, address, family.vip), director.path(0x11, address, family.other_vip))


def test_probe_paths_as_former_versions_wrote_them_are_removed(
    director: Director, address: str, family: Family
) -> None:
    """One rule to a path, ahead of other people's; all routes with the same metrics."""
    before, ip, table = rules_and_routes(director.host), f"ip {family.option}", MARK_BASE | 0x11
    director.host.run(f"{ip} rule add fwmark {table:#x} lookup {table} priority 108 protocol 108")
    director.host.run(f"{ip} route add {family.vip} via {address} dev eth0 onlink table {table} proto 108")
    director.host.run(f"{ip} route add unreachable {family.vip} table {table} proto 108 metric 65535")
    director.set_paths(director.path(0x11, address, family.vip))
    assert counts(director, family) == (1, 2)
    director.set_paths()
    assert rules_and_routes(director.host) == before


def change_paths(
    director: Director, *, before: Sequence[ProbePath], after: Sequence[ProbePath], kept: Sequence[ProbePath] = ()
) -> None:
    marks = [path.mark for path in kept]
    change = director.network.change_probe_paths(before=frozenset(before), after=frozenset(after), kept=marks)
    assert director.loop.run(change) == {}


def test_probe_paths_that_change_leave_those_beside_them_as_they_are(
    director: Director, hosts: tuple[Host, ...], address: str, family: Family
) -> None:
    stays, goes = (director.path(number, address, family.vip) for number in (0x11, 0x12))
    director.set_paths(stays)
    alone = rules_and_routes(director.host)
    change_paths(director, before=[], after=[goes], kept=[stays])
    other = replace(goes, via=ip_address(family.of(hosts[2])))
    change_paths(director, before=[goes], after=[other], kept=[stays])
    assert counts(director, family) == (2, 4)
    change_paths(director, before=[other], after=[], kept=[stays])
    assert rules_and_routes(director.host) == alone


def test_probe_paths_that_change_take_a_shelf_with_them_on_which_nobody_else_stands(
    director: Director, address: str, family: Family
) -> None:
    stays, goes = (director.path(number, address, family.vip) for number in (0x11, 0x1211))
    director.set_paths(stays)
    alone = rules_and_routes(director.host)
    change_paths(director, before=[], after=[goes], kept=[stays])
    change_paths(director, before=[goes], after=[], kept=[stays])
    assert rules_and_routes(director.host) == alone


def test_packets_with_a_mark_of_lbctls_that_has_no_path_go_nowhere(
    director: Director, address: str, family: Family
) -> None:
    director.set_paths(director.path(0x11, address, family.vip))
    with pytest.raises(OSError, match="Network is unreachable"):
        ask_vip(director, family, 0x12)


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
            client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK_BASE | mark)
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
