"""`KernelNetwork` against a real kernel: resets and keep-alives in a VIP's name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address

import pytest
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

from lbctl.network.tcp import KeepAlive, Reset, Segment
from tests.netns.network_rig import Director, Family, director, family, hosts
from tests.netns.ns_helpers import Host

__all__ = ["director", "family", "hosts"]  # fixtures

PORT = 104
MARK = 0x6C620001
_ETH_P_ALL = 3


@dataclass(frozen=True, kw_only=True)
class Line:
    """A connection of a client with a VIP on a server; the director is neither, and sees its packets on the client's wire."""

    client: socket.socket
    server: socket.socket
    wire: socket.socket
    last: TCP
    """What the server sent last."""

    def as_server(self, kind: type[Segment], *, before: int = 0) -> Segment:
        """A segment in the server's name, so many octets before what the client expects next."""
        own, peer = self.client.getsockname(), self.client.getpeername()
        return kind(
            source=ip_address(peer[0]),
            source_port=peer[1],
            destination=ip_address(own[0]),
            destination_port=own[1],
            seq=(self.last.seq + len(self.last.payload) - before) % 2**32,
            ack=self.last.ack,
        )


@pytest.fixture
def line(hosts: tuple[Host, ...], family: Family) -> Iterator[Line]:
    """The client has a route to the VIP by the server; the director none, so that nothing but its own word carries its name."""
    _, client, server, _ = hosts
    vip = str(family.vip)
    for host in hosts:
        host.run("ethtool -K eth0 tx off")
    server.run(f"ip addr add {vip}/{family.host_bits} dev lo{family.at_once}")
    client.run(f"ip {family.option} route add {vip} via {family.of(server)}")
    wire = client.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)))
    wire.settimeout(10)
    with (
        closing(wire),
        server.call(lambda: socket.create_server((vip, PORT), family=family.socket_family)) as listener,
        client.call(lambda: socket.create_connection((vip, PORT), timeout=10)) as connected,
        listener.accept()[0] as accepted,
    ):
        accepted.sendall(b"hello")
        assert connected.recv(5) == b"hello"
        yield Line(client=connected, server=accepted, wire=wire, last=heard(wire, sport=PORT, data=b"hello"))


def heard(wire: socket.socket, *, sport: int, data: bytes | None = None) -> TCP:
    """The next segment from this port, with this data."""
    while True:
        segment = Ether(wire.recv(2048)).getlayer(TCP)
        if (
            segment is not None
            and segment.sport == sport
            and (data is None or bytes(segment.payload)[: len(data)] == data)
        ):
            return segment


def test_reset_in_the_vips_name_ends_the_clients_connection(director: Director, line: Line) -> None:
    assert director.loop.run(director.network.send_segments([line.as_server(Reset)])) == 1
    with pytest.raises(ConnectionResetError):
        line.client.recv(1)


def test_reset_that_is_not_what_the_client_expects_leaves_it(director: Director, line: Line) -> None:
    assert director.loop.run(director.network.send_segments([line.as_server(Reset, before=-70_000_000)])) == 1
    line.server.sendall(b"still here")
    assert line.client.recv(10) == b"still here"


def test_keep_alive_in_the_vips_name_is_answered_by_the_client_and_harms_nothing(
    director: Director, line: Line
) -> None:
    port = line.client.getsockname()[1]
    assert director.loop.run(director.network.send_segments([line.as_server(KeepAlive, before=1)])) == 1
    heard(line.wire, sport=PORT)  # the question
    answer = heard(line.wire, sport=port)
    assert (str(answer.flags), answer.ack) == ("A", line.as_server(KeepAlive).seq)
    line.server.sendall(b"still here")
    assert line.client.recv(10) == b"still here"


def test_reset_with_a_mark_takes_the_probe_path_to_the_vip_on_its_server(
    director: Director, hosts: tuple[Host, ...], family: Family, line: Line
) -> None:
    """In the client's name, to the VIP, which is on several servers."""
    director.set_paths(director.path(MARK, family.of(hosts[2]), family.vip))
    own = line.client.getsockname()
    reset = Reset(
        source=ip_address(own[0]),
        source_port=own[1],
        destination=family.vip,
        destination_port=PORT,
        seq=line.last.ack,
        mark=MARK,
    )
    assert director.loop.run(director.network.send_segments([reset])) == 1
    with pytest.raises(ConnectionResetError):
        line.server.recv(1)
