"""Clients whose every message is checked: connections that are held, and visits of one message each.

``python -m tests.acceptance.traffic hold`` opens its connections, says "open", talks slowly on each of them until SIGTERM, and
prints its `Report`; ``visit`` makes connections one after another, each for one message, and prints its report at the end.
The server at the other end is the ``names`` of `tests.acceptance.peers`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lbctl.lab.node import Node
from lbctl.lab.wait import wait_until
from tests.acceptance.peers import raise_file_limit

ANSWER_WITHIN_S = 20.0
_OPENING_AT_ONCE = 50
_PADDING = "x" * 200
_OPEN = "open"


class BrokenError(Exception):
    """A connection that ended, or was answered wrongly, or by another server than before."""


@dataclass(slots=True, kw_only=True)
class Report:
    """What clients saw. ``servers`` has the server of each held connection by the client's port; ``visited`` counts the
    servers of the visits."""

    messages: int = 0
    faults: list[str] = field(default_factory=list)
    slowest_answer_s: float = 0.0
    slowest_connect_s: float = 0.0
    servers: dict[int, str] = field(default_factory=dict)
    visited: dict[str, int] = field(default_factory=dict)


class Talk:
    """One connection: numbered messages, each of which must come back whole and from the same server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, report: Report) -> None:
        self._reader = reader
        self._writer = writer
        self._report = report
        self._number = 0
        self.port: int = writer.get_extra_info("sockname")[1]
        self.server = ""

    async def say(self) -> None:
        """One message and its answer. `BrokenError`, `OSError`, or `TimeoutError`."""
        self._number += 1
        message = f"{self.port} {self._number} {_PADDING}\n"
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(ANSWER_WITHIN_S):
            self._writer.write(message.encode())
            answer = (await self._reader.readline()).decode()
        took_s = asyncio.get_running_loop().time() - began
        self._report.slowest_answer_s = max(self._report.slowest_answer_s, took_s)
        self._report.messages += 1
        self._judge(message, *answer.partition(" ")[::2])

    def _judge(self, message: str, server: str, rest: str) -> None:
        if rest != message:
            raise BrokenError(f"message {self._number} was answered with {rest[:40]!r}")
        if self._number > 1 and server != self.server:
            raise BrokenError(f"message {self._number} was answered by {server}, those before by {self.server}")
        self.server = server

    def close(self) -> None:
        """End it in order."""
        self._writer.close()


async def _opened(address: str, port: int, report: Report) -> Talk:
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(ANSWER_WITHIN_S):
        talk = Talk(*await asyncio.open_connection(address, port), report)
    report.slowest_connect_s = max(report.slowest_connect_s, asyncio.get_running_loop().time() - began)
    return talk


async def _noting_faults(report: Report, who: str, work: Awaitable[None]) -> None:
    try:
        await work
    except (BrokenError, OSError) as error:  # a TimeoutError is an OSError
        report.faults.append(f"{who}: {error!r}")


async def _hold(address: str, port: int, *, count: int, every_s: float) -> Report:
    """Talk on so many connections, each about so often, until SIGTERM."""
    report, is_over, gate = Report(), asyncio.Event(), asyncio.Semaphore(_OPENING_AT_ONCE)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, is_over.set)

    async def open_one() -> Talk:
        async with gate:
            talk = await _opened(address, port, report)
            await talk.say()
            return talk

    async def keep_talking(talk: Talk) -> None:
        report.servers[talk.port] = talk.server
        while not is_over.is_set():
            await asyncio.sleep(random.uniform(0.5, 1.5) * every_s)
            await talk.say()

    talks = await asyncio.gather(*(open_one() for _ in range(count)))
    print(_OPEN, flush=True)
    held = ((f"port {talk.port} of {talk.server}", keep_talking(talk)) for talk in talks)
    await asyncio.gather(*(_noting_faults(report, who, work) for who, work in held))
    return report


async def _visit(address: str, port: int, *, count: int, every_s: float) -> Report:
    """Make so many connections, one each so often; one that takes longer does not hold up the next."""
    report, loop = Report(), asyncio.get_running_loop()
    began = loop.time()

    async def visit() -> None:
        talk = await _opened(address, port, report)
        try:
            await talk.say()
            report.visited[talk.server] = report.visited.get(talk.server, 0) + 1
        finally:
            talk.close()

    async with asyncio.TaskGroup() as visits:
        for number in range(count):
            await asyncio.sleep(began + number * every_s - loop.time())
            visits.create_task(_noting_faults(report, f"visit {number}", visit()))
    return report


class Traffic:
    """One of the two kinds of client, at work on a node."""

    def __init__(
        self, node: Node, kind: str, address: IPv4Address, port: int, *, count: int, every_s: float, log: Path
    ) -> None:
        self._log = log
        self.node = node
        where = ["--address", str(address), "--port", str(port)]
        load = ["--count", str(count), "--every", str(every_s)]
        argv = [sys.executable, "-m", "tests.acceptance.traffic", kind, *where, *load]
        self._process: subprocess.Popen[Any] = node.popen(argv, output=log)

    @property
    def is_over(self) -> bool:
        """Whether it has made its last visit."""
        return self._process.poll() is not None

    def wait_open(self) -> None:
        """Wait until every connection that is to be held was answered once."""
        wait_until(lambda: _OPEN in self._lines() or self.is_over, deadline_s=60, what="the connections to open")
        assert not self.is_over, self._log.read_text()

    def end(self) -> Report:
        """Let those who hold connections talk a last time; what the clients saw."""
        if not self.is_over:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=3 * ANSWER_WITHIN_S)
        assert self._process.returncode == 0, self._log.read_text()
        told = json.loads(self._lines()[-1])
        return Report(**{**told, "servers": {int(port): server for port, server in told["servers"].items()}})

    def _lines(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description="A client for the acceptance tests.")
    parser.add_argument("kind", choices=("hold", "visit"))
    parser.add_argument("--address", required=True)
    for option in ("--port", "--count"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--every", type=float, required=True)
    chosen = parser.parse_args()
    raise_file_limit()
    work = _hold if chosen.kind == "hold" else _visit
    report = asyncio.run(work(chosen.address, chosen.port, count=chosen.count, every_s=chosen.every))
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
