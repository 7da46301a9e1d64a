"""The processes at both ends of the run's connections: servers that answer each line with their name before it, and a crowd of
clients that hold connections, talk on them slowly, and try new ones all the time.

``python -m lbctl.lab.chaos.talking serve NAME PORT …`` serves until ended. ``… crowd SESSIONS EVERY_S VISITS_PER_S`` is told
as lines of JSON on standard input (see `Crowd.told`), and tells every event as such a line, with the time of the monotonic
clock, which is the same for all processes. One process and one thread each: hundreds of connections cost next to nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

GIVE_UP_S = 45.0
DIAL_WITHIN_S = 30.0
SLOW_S = 2.0
"""Answers that take longer are told one by one."""
_TICK_S = 0.1
_MOST_AT_ONCE = 15
"""So many connections are begun in a tick."""
_LONGEST_PAYLOAD = 2_500


class Echo(asyncio.Protocol):
    """A server's end: whole lines come back with the server's name before them."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._transport.write(b"".join(self._name + b" " + line + b"\n" for line in lines))


async def serve(name: str, ports: list[int]) -> None:
    """Serve both families on these ports."""
    loop = asyncio.get_running_loop()
    for port in ports:
        for host in ("0.0.0.0", "::"):
            await loop.create_server(lambda: Echo(name.encode()), host, port, backlog=1024)
    await asyncio.Event().wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Where connections go: a service, and the addresses that they come from in turn (none: any). ``tells_all``: each answer is
    told."""

    service: str
    address: str
    port: int
    sources: tuple[str, ...] = ()
    tells_all: bool = False


class Talk(asyncio.Protocol):
    """A client's end: numbered messages of random size, one at a time, each of which must come back whole from the same server.

    ``ended`` is called once, with how and in what words. ``source`` is the address that it comes from, or empty: any."""

    def __init__(self, number: int, goal: Goal, crowd: Crowd, *, source: str, is_visit: bool) -> None:
        self.number, self.goal, self.source, self.is_visit = number, goal, source, is_visit
        self.node = ""
        self.is_over = False
        self.dialled_s = time.monotonic()
        self.asked_s: float | None = None
        self._crowd = crowd
        self._sent = 0
        self._message = self._received = b""
        self._port = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port = transport.get_extra_info("sockname")[1]
        self.say()

    def say(self) -> None:
        """The next message."""
        if self.is_over or self._transport is None:
            return
        self._sent += 1
        payload = random.randbytes(random.randint(8, _LONGEST_PAYLOAD) // 2).hex()
        self._message = f"{self.number} {self._sent} {payload}\n".encode()
        self._received, self.asked_s = b"", time.monotonic()
        self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._received += data
        if self.is_over or not self._received.endswith(b"\n"):
            return
        name, _, rest = self._received.partition(b" ")
        if rest != self._message:
            self.end("garbled", f"message {self._sent} was answered with {self._received[:60]!r}")
        elif self.node and name.decode() != self.node:
            self.end("moved", f"message {self._sent} was answered by {name.decode()}")
        else:
            self._answered(name.decode())

    def _answered(self, node: str) -> None:
        assert self.asked_s is not None
        is_first, self.node = not self.node, node
        self._crowd.answered(self, asked_s=self.asked_s, is_first=is_first)
        self.asked_s = None

    def told(self) -> dict[str, Any]:
        """What it is known by."""
        return {
            "number": self.number,
            "service": self.goal.service,
            "source": self.source,
            "node": self.node,
            "port": self._port,
            "dialled_s": self.dialled_s,
        }

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        if not self.is_over:
            self.end("reset" if error else "closed", str(error or ""))

    def end(self, how: str, words: str = "") -> None:
        """No more of it."""
        self.is_over = True
        self._crowd.ended(self, how, words)
        if self._transport is not None:
            self._transport.close() if how == "retired" or not how else self._transport.abort()


class Crowd:
    """Holds as many connections as it is to, and visits."""

    def __init__(self, *, sessions: int, every_s: float, visits_per_s: float) -> None:
        self._wanted, self._every_s, self._visits_per_s = sessions, every_s, visits_per_s
        self._goals: list[Goal] = []
        self._numbers = itertools.count(1)
        self._talks: dict[int, Talk] = {}
        self._dialling: set[asyncio.Task[None]] = set()
        self._messages = 0
        self._slowest_s = 0.0
        self._is_ending = False

    def told(self, command: dict[str, Any]) -> None:
        """``goals``: where new connections go from now on (fields of `Goal`). ``retire``: end so many held ones in order.
        ``cut``: reset so many held ones, as nobody should. ``stop``: end all, and then this process."""
        if "goals" in command:
            self._goals = [Goal(**fields) for fields in command["goals"]]
        held = [talk for talk in self._talks.values() if talk.node and not talk.is_visit]
        for talk in held[: command.get("retire", 0)]:
            talk.end("retired")
        for talk in held[-command["cut"] :] if command.get("cut") else ():
            talk.end("reset", "the client itself did it, for a proof")
        if command.get("stop"):
            self._is_ending = True
            for talk in held:
                talk.end("retired")

    async def run(self) -> None:
        """Until told to stop."""
        while not self._is_ending:
            self._look_after()
            self._dial()
            self._tally()
            await asyncio.sleep(_TICK_S)
        self._tally()
        _tell(event="over")

    def answered(self, talk: Talk, *, asked_s: float, is_first: bool) -> None:
        """A talk got its answer."""
        now = time.monotonic()
        self._messages += 1
        self._slowest_s = max(self._slowest_s, now - asked_s)
        if talk.goal.tells_all:
            _tell(event="answered", asked_s=asked_s, **talk.told())
        if talk.is_visit:
            talk.end("")
            return
        if is_first:
            _tell(event="open", **talk.told())
        elif now - asked_s > SLOW_S:
            _tell(event="waited", number=talk.number, asked_s=asked_s)
        asyncio.get_running_loop().call_later(random.uniform(0.5, 1.5) * self._every_s, talk.say)

    def ended(self, talk: Talk, how: str, words: str) -> None:
        """A talk is over. One that was never answered was a visit, too."""
        self._talks.pop(talk.number, None)
        if talk.is_visit or not talk.node:
            _tell(event="visited", fault=f"{how} {words}".strip(), **talk.told())
        else:
            _tell(event="end", number=talk.number, how=how, words=words)

    def _look_after(self) -> None:
        """Nobody waits for ever."""
        now = time.monotonic()
        for talk in list(self._talks.values()):
            limit_s = GIVE_UP_S if talk.node else DIAL_WITHIN_S
            if talk.asked_s is not None and now - talk.asked_s > limit_s:
                talk.end("silent", f"message unanswered for {limit_s:g} s")

    def _dial(self) -> None:
        if not self._goals:
            return
        held = sum(not talk.is_visit for talk in self._talks.values())
        for _ in range(min(self._wanted - held, _MOST_AT_ONCE)):
            self._begin(is_visit=False)
        if random.random() < self._visits_per_s * _TICK_S % 1:
            self._begin(is_visit=True)
        for _ in range(int(self._visits_per_s * _TICK_S)):
            self._begin(is_visit=True)

    def _begin(self, *, is_visit: bool) -> None:
        number = next(self._numbers)
        goal = self._goals[number % len(self._goals)]
        source = random.choice(goal.sources) if goal.sources else ""
        talk = self._talks[number] = Talk(number, goal, self, source=source, is_visit=is_visit)
        task = asyncio.get_running_loop().create_task(_connect(talk))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    def _tally(self) -> None:
        held = sum(bool(talk.node) and not talk.is_visit for talk in self._talks.values())
        _tell(event="tally", held=held, messages=self._messages, slowest_s=round(self._slowest_s, 3))


async def _connect(talk: Talk) -> None:
    goal, local = talk.goal, (talk.source, 0) if talk.source else None
    try:
        async with asyncio.timeout(DIAL_WITHIN_S):
            await asyncio.get_running_loop().create_connection(lambda: talk, goal.address, goal.port, local_addr=local)
    except OSError as error:  # a TimeoutError is an OSError
        talk.end("no connection:", repr(error))


async def crowd(sessions: int, every_s: float, visits_per_s: float) -> None:
    """Run one."""
    clients = Crowd(sessions=sessions, every_s=every_s, visits_per_s=visits_per_s)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    listening = asyncio.create_task(_listen(reader, clients.told))
    await clients.run()
    listening.cancel()


async def _listen(reader: asyncio.StreamReader, told: Callable[[dict[str, Any]], None]) -> None:
    while line := await reader.readline():
        told(json.loads(line))
    told({"stop": True})  # whoever ran this is gone


def _tell(**event: Any) -> None:
    sys.stdout.write(json.dumps({"at_s": time.monotonic(), **event}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do what the command line says."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kind, *words = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        if kind == "serve":
            asyncio.run(serve(words[0], [int(port) for port in words[1:]]))
        else:
            asyncio.run(crowd(int(words[0]), float(words[1]), float(words[2])))


if __name__ == "__main__":
    main()
