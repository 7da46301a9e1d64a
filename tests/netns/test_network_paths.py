"""`KernelNetwork` against a real kernel: policy routes of the probes."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress

import pytest

from lbctl.errors import NetworkError
from tests.netns.network_rig import OTHER_VIP, VIP, Director, director, hosts, peer, started, stopped
from tests.netns.ns_helpers import Host

__all__ = ["director", "hosts", "peer"]  # fixtures


def rules_and_routes(host: Host) -> str:
    return host.run("ip rule") + host.run("ip route show table all")


def test_probe_paths_added_changed_removed_leave_no_trace(director: Director, hosts: tuple[Host, ...]) -> None:
    _, first, second, _ = hosts
    before = rules_and_routes(director.host)
    director.set_paths(director.path(0x11, first, VIP), director.path(0x12, second, VIP, OTHER_VIP))
    both = rules_and_routes(director.host)
    assert both.count("fwmark") == 2
    assert f"{VIP} via {first.address} dev eth0 table" in both
    assert f"{OTHER_VIP} via {second.address} dev eth0 table" in both

    director.set_paths(director.path(0x12, first, VIP))
    one = rules_and_routes(director.host)
    assert one.count("fwmark") == 1
    assert f"{VIP} via {first.address} dev eth0 table" in one
    assert second.address not in one
    assert str(OTHER_VIP) not in one

    director.set_paths()
    assert rules_and_routes(director.host) == before


def test_probe_paths_set_again_change_nothing(director: Director, peer: Host) -> None:
    path = director.path(0x11, peer, VIP)
    director.set_paths(path)
    with closing(director.host.call(subscribed_to_routes)) as listener:
        director.set_paths(path)
        director.host.run("ip route add 198.51.100.0/24 via 10.77.0.2")
        assert bytes([198, 51, 100, 0]) in listener.recv(4096), "the first change seen must be the marker, not lbctl's"


def subscribed_to_routes() -> socket.socket:
    ipv4_routes, ipv4_rules = 0x40, 0x80
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    listener.settimeout(10)
    listener.bind((0, ipv4_routes | ipv4_rules))
    return listener


def test_probe_paths_of_an_earlier_run_are_removed(director: Director, peer: Host) -> None:
    director.set_paths(director.path(0x11, peer, VIP))
    second = started(director.host)
    try:
        second.set_paths(second.path(0x22, peer, VIP))
    finally:
        stopped(second)
    rules = director.host.run("ip rule")
    assert "0x22" in rules
    assert "0x11" not in rules


def test_probe_paths_other_peoples_rules_stay(director: Director, peer: Host) -> None:
    director.host.run("ip rule add fwmark 0x33 table 100 priority 108")
    director.host.run("ip rule add fwmark 0x34 table 1818361890 priority 200")
    director.host.run(f"ip route add {VIP} via {peer.address} table 100")
    director.host.run(f"ip route add {VIP} via {peer.address} table 1818361890")
    before = rules_and_routes(director.host)
    director.set_paths(director.path(0x11, peer, VIP))
    director.set_paths()
    assert rules_and_routes(director.host) == before


def test_probe_paths_with_marks_that_collide_are_refused(director: Director, peer: Host) -> None:
    with pytest.raises(NetworkError, match="0x0011"):
        director.set_paths(director.path(0x11, peer, VIP), director.path(0x10011, peer, OTHER_VIP))


def serve_vip(host: Host) -> socket.socket:
    """Put the VIP on the loopback as a real server does, and answer every connection to it with the host's address."""
    host.set_sysctl("net.ipv4.conf.all.arp_ignore", 1)
    host.set_sysctl("net.ipv4.conf.all.arp_announce", 2)
    host.run(f"ip addr add {VIP}/32 dev lo")
    listener = host.call(lambda: socket.create_server((str(VIP), 104)))

    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(host.address.encode())

    threading.Thread(target=answer, daemon=True).start()
    return listener


def ask_vip(director: Director, mark: int) -> str:
    def connect() -> str:
        with socket.socket() as client:
            client.settimeout(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            client.connect((str(VIP), 104))
            return client.recv(100).decode()

    return director.host.call(connect)


def test_marked_connection_reaches_the_vip_on_the_backend_of_its_mark(
    director: Director, hosts: tuple[Host, ...]
) -> None:
    _, first, second, _ = hosts
    for host in hosts:
        host.run("ethtool -K eth0 tx off")
    with closing(serve_vip(first)), closing(serve_vip(second)):
        director.set_paths(director.path(0x11, first, VIP), director.path(0x12, second, VIP))
        assert [ask_vip(director, mark) for mark in (0x11, 0x12, 0x11)] == [
            first.address,
            second.address,
            first.address,
        ]
        director.set_paths(director.path(0x11, second, VIP))
        assert ask_vip(director, 0x11) == second.address


def test_marked_connection_with_its_link_down_goes_nowhere_else(director: Director, peer: Host) -> None:
    director.set_paths(director.path(0x11, peer, VIP))
    director.host.run("ip link set eth0 down")
    director.host.run("ip link add elsewhere type veth peer name far")
    director.host.run("ip addr add 10.77.0.200/24 dev elsewhere")
    director.host.run("ip link set elsewhere up")
    with pytest.raises(OSError, match="No route to host"):
        ask_vip(director, 0x11)
    director.set_paths(director.path(0x11, peer, VIP))
    with pytest.raises(OSError, match="No route to host"):
        ask_vip(director, 0x11)
