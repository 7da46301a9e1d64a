"""What the director tells of the traffic that it does not carry, held against what the servers really sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from lbctl.cli.client import get
from lbctl.core.model import Address
from lbctl.daemon.models import BackendStatus, Flows, FlowStatus, Handshakes
from lbctl.lab.capture import Direction
from lbctl.lab.daemon import Daemon
from lbctl.lab.losses import Segments, losing
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP, VIP6, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import RARE, directing, status
from tests.netns.transfers import Transfer, TransferServer
from tests.netns.wide_rig import pool_of, wait_all_up, wide_configuration

CONNECTIONS = 8
EACH = 1 << 27
"""1 GiB in all."""
TOLERANCE = 0.01
MOST_FLOWS = 10_000
WRAPS_SOON = 1 << 26
"""A server that is so near the end of its sequence numbers passes it within a transfer."""
_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ = 19, 20, 21
_RECEIVED, _NO_PROBE = 1, -1


@dataclass(frozen=True)
class Stage:
    """The lab at work."""

    lab: Lab
    daemon: Daemon
    servers: dict[str, TransferServer]

    def backend(self, name: str, vip: Address) -> BackendStatus:
        """That server's row in the pool that answers for the VIP."""
        pool = next(row for row in status(self.daemon).pools if row.name == pool_of(vip))
        return next(row for row in pool.backends if row.name == name)

    def returned(self, vip: Address) -> dict[str, int]:
        """What the director believes that each server sent."""
        return {name: self.backend(name, vip).returned_bytes for name in self.servers}

    def given(self) -> dict[str, int]:
        """What each server really sent."""
        return {name: server.given for name, server in self.servers.items()}

    def flow(self, transfer: Transfer, vip: Address) -> FlowStatus:
        """The row of a live connection."""
        address, port, *_ = transfer.socket.getsockname()
        own = ("tcp", ip_address(address), port, vip)
        found = get(self.daemon.socket, f"/v1/flows?limit={MOST_FLOWS}", Flows).flows
        (flow,) = [row for row in found if (row.protocol, row.client, row.client_port, row.vip) == own]
        return flow


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Lab(plan_lab(backends=2, clients=2, ipv6=True)) as lab, ExitStack() as ends:
        servers = {node.name: TransferServer(node) for node in lab.backends}
        for server in servers.values():
            ends.callback(server.close)
        daemon = ends.enter_context(directing(lab, wide_configuration(lab, check=RARE)))
        wait_all_up(daemon)
        yield Stage(lab=lab, daemon=daemon, servers=servers)


def next_expected(connection: socket.socket) -> int:
    """The sequence number of the next byte that comes from the server, as the client's kernel has it."""
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, _RECEIVED)
    number = connection.getsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ) & 0xFFFF_FFFF
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _NO_PROBE)
    return number


def wrapping_transfer(client: Node, vip: Address) -> Transfer:
    """A connection whose server's sequence numbers begin anew soon; servers choose where they start at random."""
    for _ in range(2_000):
        transfer = Transfer(client, vip=vip)
        if next_expected(transfer.socket) > (1 << 32) - WRAPS_SOON:
            return transfer
        transfer.close()
    raise AssertionError("2,000 connections, and no server began near the end")


def run_together(transfers: list[Transfer], count: int) -> list[int]:
    """All of them at the same time; what each got."""
    got = [0] * len(transfers)

    def run(number: int) -> None:
        got[number] = transfers[number].get(count)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(transfers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def assert_agree(stage: Stage, vip: Address, before: tuple[dict[str, int], dict[str, int]]) -> None:
    """Of each server: what it sent since, and what the director believes that it sent."""
    sent = {name: count - before[0][name] for name, count in stage.given().items()}
    believed = {name: count - before[1][name] for name, count in stage.returned(vip).items()}
    for name, count in sent.items():
        error = believed[name] / count - 1
        print(f"\n{name}: sent {count:,}, by acknowledgements {believed[name]:,} ({100 * error:+.4f} %)", end="")
        assert abs(error) < TOLERANCE
    assert sum(sent.values()) >= 1_000_000_000


def retransmitted(node: Node) -> int:
    rows = [line.split() for line in node.run(["cat", "/proc/net/snmp"]).stdout.splitlines() if line.startswith("Tcp:")]
    return int(rows[1][rows[0].index("RetransSegs")])


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])
def test_returned_bytes_are_those_that_the_servers_sent_across_a_wrap(stage: Stage, vip: Address) -> None:
    transfers = [wrapping_transfer(stage.lab.clients[number % 2], vip) for number in range(CONNECTIONS)]
    before = stage.given(), stage.returned(vip)
    with stage.lab.count_frames(stage.lab.director) as counter:
        assert run_together(transfers, EACH) == [EACH] * CONNECTIONS
        carried = counter.read().total(Direction.RECEIVED).octets
    assert all(next_expected(transfer.socket) < EACH for transfer in transfers)
    assert_agree(stage, vip, before)
    assert all(abs(stage.flow(transfer, vip).returned_bytes / EACH - 1) < TOLERANCE for transfer in transfers)
    print(f"\nof {CONNECTIONS * EACH:,} bytes the director's NIC received {carried:,}: the acknowledgements")
    assert carried < CONNECTIONS * EACH / 10
    for transfer in transfers:
        transfer.close()


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])
def test_returned_bytes_are_right_with_retransmissions_and_lost_acknowledgements(stage: Stage, vip: Address) -> None:
    lab = stage.lab
    transfers = [wrapping_transfer(lab.clients[number % 2], vip) for number in range(CONNECTIONS)]
    before = stage.given(), stage.returned(vip)
    sent_before = {node.name: retransmitted(node) for node in lab.backends}
    with ExitStack() as cables:
        for client in lab.clients:
            cables.enter_context(losing(lab, client, Segments.BARE, share=0.10))
        for node in lab.backends:
            cables.enter_context(losing(lab, node, Segments.WITH_DATA, share=0.01))
        assert run_together(transfers, EACH) == [EACH] * CONNECTIONS
    assert_agree(stage, vip, before)
    again = {node.name: retransmitted(node) - sent_before[node.name] for node in lab.backends}
    print(f"\nsegments sent again: {again}")
    assert all(count > 1_000 for count in again.values())
    for transfer in transfers:
        transfer.close()


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])
def test_sent_bytes_are_those_that_the_client_sent_also_with_losses(stage: Stage, vip: Address) -> None:
    client, count = stage.lab.clients[0], 50_000_000
    transfer = Transfer(client, vip=vip)
    before, sent_again = stage.backend(transfer.server, vip).sent_bytes, -retransmitted(client)
    with losing(stage.lab, client, Segments.WITH_DATA, share=0.01):
        assert transfer.put(count)
    transfer.close()
    assert abs((stage.backend(transfer.server, vip).sent_bytes - before) / count - 1) < TOLERANCE
    assert sent_again + retransmitted(client) > 100


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])
def test_flow_and_service_tell_the_bytes_of_their_own(stage: Stage, vip: Address) -> None:
    def service_bytes() -> int:
        return sum(row.returned_bytes for row in status(stage.daemon).services if row.vip == vip)

    count, before = 20_000_000, service_bytes()
    transfer = Transfer(stage.lab.clients[0], vip=vip)
    assert transfer.get(count) == count
    flow = stage.flow(transfer, vip)
    assert abs(flow.returned_bytes / count - 1) < TOLERANCE
    assert 0 < flow.sent_bytes < 100
    assert flow.backend == f"{pool_of(vip)}/{transfer.server}"
    assert abs((service_bytes() - before) / count - 1) < TOLERANCE
    transfer.close()


@pytest.mark.long
@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])
def test_one_connection_of_more_than_all_sequence_numbers_is_told_in_full(stage: Stage, vip: Address) -> None:
    count = 10_000_000_000
    with closing(Transfer(stage.lab.clients[0], vip=vip)) as transfer:
        assert transfer.get(count) == count
        assert abs(stage.flow(transfer, vip).returned_bytes / count - 1) < TOLERANCE


def handshakes(stage: Stage) -> list[Handshakes]:
    return [stage.backend(name, VIP).handshakes for name in stage.servers]


def test_handshakes_are_counted_and_timed(stage: Stage) -> None:
    before = handshakes(stage)
    for _ in range(200):
        Transfer(stage.lab.clients[0], vip=VIP).close()
    after = handshakes(stage)
    assert sum(row.begun for row in after) - sum(row.begun for row in before) == 200
    assert sum(row.completed for row in after) - sum(row.completed for row in before) == 200
    for row in after:
        print(f"\nhandshakes: {row}")
        assert row.median_s is not None
        assert row.p95_s is not None
        assert 0 < row.median_s <= row.p95_s < 1


def test_backend_that_answers_no_syn_is_told_by_repeated_syns(stage: Stage) -> None:
    """Its check looks once in ten minutes, and its kernel answers ARP: only the clients' SYNs can tell."""
    node = stage.lab.backends[0]
    before, asking = stage.backend(node.name, VIP).handshakes, []
    with losing(stage.lab, node, Segments.SYN, share=1.0):
        for _ in range(20):
            with stage.lab.clients[0].enter():
                asking.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            asking[-1].setblocking(False)
            asking[-1].connect_ex((str(VIP), 8042))
        wait_until(
            lambda: stage.backend(node.name, VIP).handshakes.repeated > before.repeated,
            deadline_s=10,
            what="SYNs to be sent again",
        )
        row = stage.backend(node.name, VIP).handshakes
    for each in asking:
        each.close()
    assert row.begun > before.begun
    assert row.completed == before.completed
    assert row.repeated_recently > 0
