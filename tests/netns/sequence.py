"""Numbered datagrams at a steady rate, and who got which: small processes of their own, so that a busy test does not slow them.

``python -m tests.netns.sequence send --vip V --port P --run N`` sends on several flows, 10,000 datagrams a second altogether,
until its standard input ends, or so many as ``--count`` says, and prints how many it sent on each, and in how many seconds.
``receive`` counts what comes to a VIP and answers every line ``N`` on its standard input with what it has of run N.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from lbctl.lab.node import Node
from lbctl.lab.wait import wait_until

RATE = 10_000
FLOWS = 8
PAYLOAD = 172
"""Of a voice packet of 20 ms."""
_HEADER = struct.Struct("<IIQ")  # run, flow, number
_PERIOD_S = 0.002
_MOST_AT_ONCE = 40
"""Twice what a period brings: who was kept waiting does not make up for it by a flood."""
_SO_RCVBUFFORCE = 33


@dataclass(slots=True)
class _Got:
    seen: bytearray
    twice: int = 0
    late: int = 0
    newest: int = -1

    def note(self, number: int) -> None:
        if number >= len(self.seen):
            self.seen.extend(bytes(number + 1 - len(self.seen) + RATE))
        self.twice += self.seen[number]
        self.seen[number] = 1
        self.late += number < self.newest
        self.newest = max(self.newest, number)


def send(vip: str, port: int, *, run: int, count: int) -> tuple[dict[int, int], float]:
    """How many were sent on each flow, and in how many seconds."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(FLOWS)]
    for each in sockets:
        each.connect((vip, port))
    waiting = selectors.DefaultSelector()
    waiting.register(sys.stdin, selectors.EVENT_READ)
    filling, sent = bytes(PAYLOAD - _HEADER.size), 0
    began = due = time.monotonic()
    while not (count and sent >= count) and (count or not waiting.select(timeout=0)):
        for _ in range(min(int((time.monotonic() - due) * RATE), _MOST_AT_ONCE)):
            each = sockets[sent % FLOWS]
            each.send(_HEADER.pack(run, sent % FLOWS, sent // FLOWS) + filling)
            due, sent = due + 1 / RATE, sent + 1
        due = max(due, time.monotonic() - 10 * _PERIOD_S)
        time.sleep(_PERIOD_S)
    return {flow: len(range(flow, sent, FLOWS)) for flow in range(FLOWS)}, time.monotonic() - began


def receive(vip: str, port: int) -> None:
    """Until the standard input ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker:
        taker.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        taker.bind((vip, port))
        taker.setblocking(False)
        print("ready", flush=True)
        got: dict[tuple[int, int], _Got] = defaultdict(lambda: _Got(bytearray()))
        waiting = selectors.DefaultSelector()
        waiting.register(taker, selectors.EVENT_READ)
        waiting.register(sys.stdin, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in waiting.select()}
            for datagram in _waiting_in(taker):
                run, flow, number = _HEADER.unpack_from(datagram)
                got[run, flow].note(number)
            if sys.stdin in ready:
                line = sys.stdin.readline()
                if not line:
                    return
                print(json.dumps(_told(got, int(line))), flush=True)


def _waiting_in(taker: socket.socket) -> Iterator[bytes]:
    for _ in range(1000):
        try:
            yield taker.recv(2048)
        except BlockingIOError:
            return


def _told(got: Mapping[tuple[int, int], _Got], wanted: int) -> dict[int, dict[str, object]]:
    return {
        flow: {"seen": sum(found.seen), "twice": found.twice, "late": found.late, "longest": _longest(found)}
        for (run, flow), found in got.items()
        if run == wanted
    }


def _longest(found: _Got) -> int:
    """Of the gaps before the newest one."""
    return max(map(len, bytes(found.seen[: found.newest]).split(b"\1")), default=0)


# From the test's side -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of one run; ``homes`` says which server got each flow's datagrams."""

    sent: int
    took_s: float
    missing: int
    twice: int
    late: int
    longest: int
    homes: Mapping[int, frozenset[str]]


class Receiver:
    """Counts on a node."""

    def __init__(self, node: Node, vip: IPv4Address, port: int) -> None:
        self.name = node.name
        self._node = node
        self._process = node.popen(_command("receive", vip, port), output=subprocess.PIPE, stdin=subprocess.PIPE)
        self._say = self._process.stdin
        self._hear = self._process.stdout
        assert self._hear is not None
        assert self._hear.readline() == "ready\n"

    def told(self, run: int) -> dict[str, dict[str, int]]:
        """What it has of a run, by flow."""
        assert self._say is not None
        assert self._hear is not None
        self._say.write(f"{run}\n")
        self._say.flush()
        found: dict[str, dict[str, int]] = json.loads(self._hear.readline())
        return found

    def close(self) -> None:
        self._node.end(self._process)


class Sender:
    """Sends on a node until `end`, or ``count``."""

    def __init__(self, node: Node, vip: IPv4Address, port: int, *, run: int, count: int = 0) -> None:
        self.run = run
        argv = [*_command("send", vip, port), "--run", str(run), "--count", str(count)]
        self._process = node.popen(argv, output=subprocess.PIPE, stdin=subprocess.PIPE)

    def end(self, receivers: list[Receiver], *, timeout_s: float = 60.0) -> Outcome:
        """What became of it: after the last datagram of every flow came, or a moment that is enough for it."""
        said, _ = self._process.communicate(timeout=timeout_s)
        by_flow, took_s = json.loads(said)
        sent = {flow: int(count) for flow, count in by_flow.items()}
        missing = []

        def is_settled() -> bool:
            missing.append(
                sum(sent.values()) - sum(row["seen"] for each in receivers for row in each.told(self.run).values())
            )
            return missing[-1] == 0 or (len(missing) > _LOOKS and missing[-1] == missing[-_LOOKS])

        wait_until(is_settled, deadline_s=20, what="the datagrams under way to arrive")
        rows = [(each.name, flow, row) for each in receivers for flow, row in each.told(self.run).items()]
        return Outcome(
            sent=sum(sent.values()),
            took_s=took_s,
            missing=missing[-1],
            twice=sum(row["twice"] for _, _, row in rows),
            late=sum(row["late"] for _, _, row in rows),
            longest=max((row["longest"] for _, _, row in rows), default=0),
            homes={flow: frozenset(name for name, of, _ in rows if of == str(flow)) for flow in range(FLOWS)},
        )


_LOOKS = 30


def _command(what: str, vip: IPv4Address, port: int) -> list[str | Path]:
    return [sys.executable, "-m", "tests.netns.sequence", what, "--vip", str(vip), "--port", str(port)]


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description="Numbered datagrams.")
    parser.add_argument("what", choices=("send", "receive"))
    parser.add_argument("--vip", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--run", type=int, default=0)
    parser.add_argument("--count", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.what == "send":
        print(json.dumps(send(arguments.vip, arguments.port, run=arguments.run, count=arguments.count)))
    else:
        receive(arguments.vip, arguments.port)


if __name__ == "__main__":
    main()
