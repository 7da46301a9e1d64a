"""What IP asks of a balancer besides TCP and UDP: fragments stay together, ICMP errors find the right server, and a port
without a service is refused at once."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from scapy.layers.inet import ICMP
from scapy.packet import Raw

from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import (
    TCP_PORT,
    UDP_PORT,
    Line,
    configuration,
    directing,
    serving,
    status,
    wait_state,
)

UNSERVED = 9
BYTES = 8_000
"""Of a datagram that takes six frames."""
NARROW_MTU = 1_000
ROUTER, FAR_CLIENT = "198.51.100.1", "198.51.100.2"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The second client stands behind the first, which is its router, and a link that takes small packets only. The servers
    are told so by nobody: the client asks for segments as an Ethernet takes them."""
    with Lab(plan_lab(backends=2, clients=3)) as built, serving(built.backends):
        router, far = built.clients[1:]
        far.ip("link set eth0 down")
        router.ip(f"link add eth1 mtu {NARROW_MTU} type veth peer name eth1 netns {far.namespace} mtu {NARROW_MTU}")
        router.ip(f"address add {ROUTER}/24 dev eth1", "link set eth1 up")
        router.sysctl("ipv4/ip_forward", 1)
        far.ip(
            f"address add {FAR_CLIENT}/24 dev eth1", "link set eth1 up", f"route add default via {ROUTER} advmss 1460"
        )
        for node in built.backends:
            node.ip(f"route add 198.51.100.0/24 via {router.address}")
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    with directing(lab, configuration(*lab.backends)) as running:
        for node in lab.backends:
            wait_state(running, node, "up")
        yield running


def packets(daemon: Daemon, reason: str) -> int:
    """How many left by that way so far."""
    found = status(daemon).reasons.get(reason)
    return found.packets if found else 0


# A port without a service --------------------------------------------------------------------------------------------


def test_port_without_a_service_is_refused_at_once_by_tcp(lab: Lab, daemon: Daemon) -> None:
    """From near and from behind a router: the reset goes back to the station that the SYN came from."""
    before = packets(daemon, "wrong_port")
    for client in (lab.clients[0], lab.clients[2]):
        began = time.monotonic()
        with client.enter(), pytest.raises(ConnectionRefusedError):
            socket.create_connection((str(VIP), UNSERVED), timeout=20)
        assert time.monotonic() - began < 5 * 0.1  # a SYN that is lost is sent again after a second
    assert packets(daemon, "wrong_port") == before + 2


def test_port_without_a_service_is_refused_at_once_by_udp(lab: Lab, daemon: Daemon) -> None:
    for client in (lab.clients[0], lab.clients[2]):
        with client.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(5)
            asking.connect((str(VIP), UNSERVED))
            asking.send(b"anybody?")
            with pytest.raises(ConnectionRefusedError) as caught:
                asking.recv(1)
            assert caught.value.errno == errno.ECONNREFUSED


def test_port_with_a_service_is_not_refused_when_others_were(lab: Lab, daemon: Daemon) -> None:
    for _ in range(20):
        with lab.clients[0].enter(), pytest.raises(ConnectionRefusedError):
            socket.create_connection((str(VIP), UNSERVED), timeout=20)
    with Line(lab.clients[0]) as line:
        assert line.is_alive


# Fragments -----------------------------------------------------------------------------------------------------------


def asking_socket(client: Node) -> socket.socket:
    """Connected to the VIP's UDP service."""
    with client.enter():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(10)
    made.connect((str(VIP), UDP_PORT))
    return made


def test_datagram_in_fragments_arrives_whole_at_one_backend(lab: Lab, daemon: Daemon) -> None:
    before = packets(daemon, "fragment")
    sent = os.urandom(BYTES)
    with asking_socket(lab.clients[0]) as asking:
        asking.send(sent)
        name, _, echoed = asking.recv(65_535).partition(b" ")

    assert name in (b"backend1", b"backend2")
    assert echoed == sent
    assert packets(daemon, "fragment") == before + 5


def test_datagrams_in_fragments_a_hundred_at_once_all_arrive_whole(lab: Lab, daemon: Daemon) -> None:
    lost = packets(daemon, "lost_fragment")
    sent = [os.urandom(BYTES) for _ in range(100)]
    with ExitStack() as open_sockets:
        asking = [open_sockets.enter_context(asking_socket(lab.clients[0])) for _ in sent]
        for client, datagram in zip(asking, sent, strict=True):
            client.send(datagram)
        answers = [client.recv(65_535).partition(b" ") for client in asking]

    assert [echoed for _, _, echoed in answers] == sent
    assert Counter(name for name, _, _ in answers).keys() == {b"backend1", b"backend2"}
    assert packets(daemon, "lost_fragment") == lost


# ICMP errors ---------------------------------------------------------------------------------------------------------


def errors_received(node: Node) -> int:
    """Destinations unreachable that the node's kernel was told of."""
    names, values = (
        line.split() for line in node.run(["cat", "/proc/net/snmp"]).stdout.splitlines() if line.startswith("Icmp:")
    )
    return int(values[names.index("InDestUnreachs")])


def wait_errors(lab: Lab, expected: dict[str, int]) -> None:
    """Wait until each backend was told of so many."""
    wait_until(
        lambda: {node.name: errors_received(node) for node in lab.backends} == expected,
        deadline_s=10,
        what=f"ICMP errors: {expected}",
    )


def path_mtu(node: Node) -> str:
    """What the node's kernel knows of the way from the VIP to the far client."""
    return node.run(["ip", "route", "get", FAR_CLIENT, "from", str(VIP)]).stdout


def fragmentation_needed(to_port: int) -> bytes:
    """The message of a router that quotes no more than it must: the IP header and 8 bytes."""
    quoted = struct.pack(">BBHHHBBH", 0x45, 0, 1500, 1, 0x4000, 63, socket.IPPROTO_TCP, 0)
    quoted += VIP.packed + socket.inet_aton(FAR_CLIENT) + struct.pack(">HHI", TCP_PORT, to_port, 1)
    return bytes(ICMP(type=3, code=4, nexthopmtu=NARROW_MTU) / Raw(quoted))


def test_icmp_error_that_quotes_eight_bytes_reaches_the_server_that_it_is_about(lab: Lab, daemon: Daemon) -> None:
    told = Counter[str]()
    router, far = lab.clients[1:]
    with router.enter():
        telling = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with telling, ExitStack() as open_lines:
        for line in (open_lines.enter_context(Line(far)) for _ in range(20)):
            before = {node.name: errors_received(node) for node in lab.backends}
            telling.sendto(fragmentation_needed(line.client_port), (str(VIP), 0))
            wait_errors(lab, {**before, line.backend: before[line.backend] + 1})
            told[line.backend] += 1
    assert told.keys() == {"backend1", "backend2"}


def test_transfer_across_a_hop_with_a_smaller_mtu_completes(lab: Lab, daemon: Daemon) -> None:
    """The servers send segments of 1,460 bytes until the router says that they do not fit."""
    before = packets(daemon, "icmp_error")
    text = os.urandom(500_000).hex().encode() + b"\n"
    with Line(lab.clients[2], timeout_s=30) as line:
        assert line.echo(text) == line.backend.encode() + b" " + text
        serving_node = lab.node(line.backend)
    assert f"mtu {NARROW_MTU}" in path_mtu(serving_node)
    assert packets(daemon, "icmp_error") > before
