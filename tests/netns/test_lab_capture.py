"""What a lab counts at a NIC: every frame, by kind and direction."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from lbctl.core.model import Address
from lbctl.lab.capture import Direction, FrameCounter, Kind, Tally
from lbctl.lab.node import Node
from lbctl.lab.topology import HOME, Lab, plan_lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, clients=2, ipv6=True)) as built:
        yield built


@pytest.fixture
def counter(lab: Lab) -> Iterator[FrameCounter]:
    with lab.count_frames(lab.director) as counting:
        yield counting


@pytest.mark.parametrize("family", [4, 6])
def test_frame_counter_tells_probes_discovery_and_foreign_traffic_apart(
    lab: Lab, counter: FrameCounter, family: int
) -> None:
    client, director = lab.clients[0], lab.director
    client.ip("neighbour flush all")
    director.ip("neighbour flush all")
    client.run(["ping", "-c4", "-i0.1", "-s100", str(director.address if family == 4 else director.address6)])
    traffic = counter.read()
    size = 14 + (20 if family == 4 else 40) + 108
    assert traffic.of(Direction.RECEIVED, Kind.PROBE) == Tally(4, 4 * size)
    assert traffic.of(Direction.SENT, Kind.PROBE) == Tally(4, 4 * size)
    assert traffic.of(Direction.RECEIVED, Kind.ARP).frames >= 1
    assert traffic.of(Direction.SENT, Kind.ARP).frames >= 1
    assert traffic.of(Direction.RECEIVED, Kind.OTHER) == Tally()


@pytest.mark.parametrize("vip", [HOME.address(110), HOME.address6(110)], ids=["ipv4", "ipv6"])
def test_frame_counter_of_an_upload_and_a_download_counts_every_byte(lab: Lab, vip: Address) -> None:
    """The director plays a server for once: it owns a VIP, so client data, bare ACKs and answers all pass its NIC."""
    client, director = lab.clients[0], lab.director
    director.add_vip(vip)
    client.ip(f"route add {vip} via {director.address if vip.version == 4 else director.address6}")
    payload, headers = 5_000_000, 66 if vip.version == 4 else 86
    counting, sent_again = lab.count_frames(director), -_retransmissions(client)
    received = _exchange(director, client, str(vip), upload=payload, download=payload)
    traffic = counting.read()
    sent_again += _retransmissions(client)
    director.remove_vip(vip)
    assert received == (payload, payload)
    data, answers = traffic.of(Direction.RECEIVED, Kind.CLIENT_DATA), traffic.of(Direction.SENT, Kind.FROM_VIP)
    assert (
        0 <= data.octets - headers * data.frames - payload <= sent_again * 1448
    )  # exactly, if nothing had to be sent again
    assert answers.octets > payload
    assert traffic.of(Direction.RECEIVED, Kind.CLIENT_CONTROL).frames == 2  # SYN, FIN
    assert traffic.acknowledgements.octets == headers * traffic.acknowledgements.frames > 0
    assert traffic.returned == Tally()


def _retransmissions(node: Node) -> int:
    """TCP segments that a node has sent more than once (RetransSegs)."""
    lines = node.run(["cat", "/proc/net/snmp"]).stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("RetransSegs")])


def _exchange(server: Node, client: Node, address: str, *, upload: int, download: int) -> tuple[int, int]:
    """Send so many bytes each way over one connection; return how many the server and the client received."""
    with server.enter():
        listener = socket.create_server((address, 9000), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    taken: list[int] = []

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            taken.append(_drain(peer, upload))
            peer.sendall(bytes(download))

    thread = threading.Thread(target=serve)
    thread.start()
    with client.enter():
        connection = socket.create_connection((address, 9000))
    with connection:
        connection.sendall(bytes(upload))
        given = _drain(connection, download)
    thread.join(timeout=30)
    return taken[0], given


def _drain(source: socket.socket, expected: int) -> int:
    total = 0
    while total < expected and (chunk := source.recv(1 << 20)):
        total += len(chunk)
    return total
