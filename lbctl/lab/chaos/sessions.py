"""The run's connections, as their handles: a server on each backend, one crowd of clients, and what they tell the ledger."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable
from functools import partial
from typing import Any

from lbctl.errors import LabError
from lbctl.lab.chaos.ledger import End, Ledger
from lbctl.lab.chaos.licences import Session
from lbctl.lab.chaos.receivers import Answer
from lbctl.lab.chaos.world import FEED, OWN_POOLS, PLACES, SOURCES, VAULT
from lbctl.lab.node import Node
from lbctl.lab.wait import wait_until

_MODULE = "lbctl.lab.chaos.talking"
_EVERY_S = 3.0
_VISITS_PER_S = 8.0


class Servers:
    """The servers' processes, by node."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._processes = {name: self._launched(name) for name in self._nodes}
        self._await(self._nodes)

    def kill(self, name: str) -> None:
        """As a crash would."""
        process = self._processes[name]
        process.kill()
        process.wait()

    def start(self, name: str) -> None:
        """Again."""
        self._processes[name] = self._launched(name)
        self._await([name])

    def is_running(self, name: str) -> bool:
        """Whether its process lives."""
        return self._processes[name].poll() is None

    def _launched(self, name: str) -> subprocess.Popen[Any]:
        ports = [str(port) for _, port in PLACES.values()]
        return self._nodes[name].popen([sys.executable, "-m", _MODULE, "serve", name, *ports])

    def _await(self, names: Iterable[str]) -> None:
        _, last = list(PLACES.values())[-1]
        for name in names:
            wait_until(
                partial(self._nodes[name].listens_on, last), deadline_s=30, what=f"{name} to serve", pause_s=0.05
            )


class Crowd:
    """The clients' process. What it tells is taken in by `feed`."""

    def __init__(self, node: Node, *, sessions: int) -> None:
        self.wanted = sessions
        self.held: list[int] = []
        """How many there were, ten times a second."""
        self.messages = 0
        self.slowest_s = 0.0
        self.is_over = False
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        words = [str(sessions), str(_EVERY_S), str(_VISITS_PER_S)]
        self._process = node.popen(
            [sys.executable, "-m", _MODULE, "crowd", *words], output=subprocess.PIPE, stdin=subprocess.PIPE
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def aim(self, services: Iterable[str]) -> None:
        """New connections go to these from now on."""
        self._tell(goals=[_goal(name) for name in services])

    def retire(self, count: int) -> None:
        """End so many of the oldest in order; others take their place."""
        self._tell(retire=count)

    def cut(self, count: int) -> None:
        """Break so many, which the ledger must tell."""
        self._tell(cut=count)

    def stop(self, ledger: Ledger) -> None:
        """End all connections, and the process."""
        self._tell(stop=True)

        def ended() -> bool:
            self.feed(ledger)
            return self.is_over

        wait_until(ended, deadline_s=60, what="the clients to end", pause_s=0.05)

    def feed(self, ledger: Ledger) -> None:
        """Let the ledger know what happened since the last time."""
        while not self._events.empty():
            self._take_in(self._events.get(), ledger)
        if self._process.poll() is not None and not self.is_over:
            raise LabError("the process of the clients has ended")

    def _take_in(self, event: dict[str, Any], ledger: Ledger) -> None:
        match event:
            case {"event": "open", "at_s": at_s, **fields}:
                ledger.open(Session(**_known(fields)), at_s=at_s)
            case {"event": "end", "number": number, "how": how, "words": words, "at_s": at_s}:
                ledger.end(number, End(how), at_s=at_s, words=words)
            case {"event": "waited", "number": number, "asked_s": asked_s, "at_s": at_s}:
                ledger.waited(number, asked_s=asked_s, answered_s=at_s)
            case {"event": "visited", "fault": fault, "at_s": at_s, **fields}:
                ledger.visited(Session(**_known(fields)), ended_s=at_s, fault=fault)
            case {"event": "answered", "asked_s": asked_s, "at_s": at_s, **fields}:
                known = {name: fields[name] for name in ("number", "service", "node")}
                ledger.answered(Answer(asked_s=asked_s, answered_s=at_s, **known))
            case {"event": "tally", "held": held, "messages": messages, "slowest_s": slowest_s}:
                self.held.append(held)
                self.messages, self.slowest_s = messages, slowest_s
            case {"event": "over"}:
                self.is_over = True

    def _tell(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._events.put(_event(line))


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in ("number", "service", "source", "node", "port", "dialled_s")}


def _goal(service: str) -> dict[str, Any]:
    """The fields of a `lbctl.lab.chaos.talking.Goal`."""
    address, port = PLACES[service]
    pool = OWN_POOLS.get(service)
    goal = {"service": service, "address": str(address), "port": port, "tells_all": pool == FEED}
    return goal | ({"sources": [str(source) for source in SOURCES]} if pool == VAULT else {})


def _event(line: str) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(line)
    except ValueError:  # a traceback, perhaps
        sys.stderr.write(line)
        return {"event": "noise", "line": line}
    return parsed
