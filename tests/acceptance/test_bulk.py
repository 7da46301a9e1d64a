"""A gigabyte through the VIP, byte for byte, in both ways of attaching the program."""

from __future__ import annotations

import hashlib
import random
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from lbctl.lab.capture import Direction, Kind
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP, Lab, plan_lab
from tests.acceptance import peers
from tests.acceptance.stage import backends_by_name, backends_of, status_of

pytestmark = pytest.mark.alone

PORT = 9000
UPLOAD_BYTES = 1 << 30
_BLOCK_BYTES = 1 << 20


def configuration(lab: Lab, *, mode: str) -> str:
    """One service on two sinks."""
    return f"""
interfaces:
  eth0: {{address: {lab.director.address}/24, mode: {mode}}}
services:
  bulk: {{vip: {VIP}, ports: [{PORT}], pool: sinks}}
pools:
  sinks: {{kind: other, check: {{type: tcp, interval: 60s}}, backends: {backends_of(lab)}}}
"""


def blocks(*, seed: int) -> Iterator[memoryview]:
    """A gigabyte in which no block is like another, so that one lost, doubled or displaced would show."""
    block = bytearray(random.Random(seed).randbytes(_BLOCK_BYTES))
    for number in range(UPLOAD_BYTES // _BLOCK_BYTES):
        struct.pack_into("=Q", block, number % (_BLOCK_BYTES - 8), number)
        yield memoryview(block)


def upload(client: Node, *, seed: int) -> tuple[str, str]:
    """Send it all; the checksum here, and what the server says: its name, the bytes it read, their checksum."""
    digest = hashlib.sha256()
    with client.enter():
        connection = socket.create_connection((str(VIP), PORT), timeout=60)
    with connection, connection.makefile("r") as answer:
        for block in blocks(seed=seed):
            digest.update(block)
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)
        return digest.hexdigest(), answer.readline()


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_upload_of_a_gigabyte_arrives_with_its_checksum(mode: str) -> None:
    with Lab(plan_lab(backends=2, clients=1)) as lab:
        for node in lab.backends:
            peers.start(node, "sink", port=PORT)
        daemon = Daemon(lab, config=configuration(lab, mode=mode))
        daemon.start()
        counter = lab.count_frames(lab.director)
        began = time.monotonic()
        sent, answer = upload(lab.clients[0], seed=7)
        elapsed_s = time.monotonic() - began
        name, received, arrived = answer.split()

        assert (int(received), arrived) == (UPLOAD_BYTES, sent)
        (interface,) = status_of(daemon).interfaces
        assert interface.mode == mode
        seen = counter.read()
        carried = seen.of(Direction.RECEIVED, Kind.CLIENT_DATA)
        assert carried.octets > UPLOAD_BYTES
        assert backends_by_name(daemon)[name].bytes > UPLOAD_BYTES
        assert seen.returned.frames == 0
        print(
            f"{mode}: {UPLOAD_BYTES / 1e6:.0f} MB in {elapsed_s:.1f} s "
            f"({8 * UPLOAD_BYTES / elapsed_s / 1e9:.2f} Gbit/s) in {carried.frames} frames"
        )
