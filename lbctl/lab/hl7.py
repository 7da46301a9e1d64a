"""An HL7 feed: a sender with one long-lived connection, and receivers that log what they take in. HL7 v2 over MLLP.

``python -m lbctl.lab.hl7 receive`` acknowledges every message (MSA-1 ``AA``) after it has logged its number;
``send`` sends numbered messages, each after the one before was acknowledged, and sends again what was not when it has
connected anew. Both log a line of JSON for each event, with the time by a clock that all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lbctl.lab.node import Node
from lbctl.lab.processes import signal_group
from lbctl.lab.wait import wait_until

PORT = 2575
_START, _END = b"\x0b", b"\x1c\r"
"""A message's frame (HL7 v2.5.1, appendix C of chapter 2: Minimal Lower Layer Protocol)."""
_EVERY_S = 0.005
_AGAIN_AFTER_S = 0.05
_PATIENCE_S = 60.0
"""The sender's own time-out: long enough that only a reset ends its wait in a test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """``what`` is "message" or "lost" at a receiver, "acknowledged" or "lost" at the sender. ``port`` is the sender's."""

    at_s: float
    what: str
    port: int
    number: int = 0
    why: str = ""


class _Log:
    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def add(self, what: str, *, port: int, number: int = 0, why: str = "") -> None:
        row = {"at_s": time.monotonic(), "what": what, "port": port, "number": number, "why": why}
        self._file.write(json.dumps(row) + "\n")


def message(number: int) -> bytes:
    """An update of a patient's record; its number is the message control id (MSH-10)."""
    header = f"MSH|^~\\&|FEED|LAB|ENGINE|LAB|20200101120000||ADT^A08^ADT_A01|{number}|P|2.5.1"
    return _framed(header, "EVN|A08|20200101120000", "PID|1||SENTINEL-0001||SENTINEL^PATIENT")


def acknowledgement(control_id: str) -> bytes:
    """An application accept of the message of that id (MSA-1 and MSA-2)."""
    return _framed(f"MSH|^~\\&|ENGINE|LAB|FEED|LAB|20200101120000||ACK|{control_id}A|P|2.5.1", f"MSA|AA|{control_id}")


def _framed(*segments: str) -> bytes:
    return _START + "".join(f"{segment}\r" for segment in segments).encode() + _END


async def _next_segments(reader: asyncio.StreamReader) -> dict[str, list[str]]:
    """The fields of the next message's segments. `OSError`, or `asyncio.IncompleteReadError` at the end."""
    frame = await reader.readuntil(_END)
    lines = frame.removeprefix(_START).removesuffix(_END).decode().split("\r")
    return {line.partition("|")[0]: line.split("|") for line in lines if line}


async def _receive(port: int, log: _Log) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[1]
        try:
            while True:
                control_id = (await _next_segments(reader))["MSH"][9]
                log.add("message", port=peer, number=int(control_id))
                writer.write(acknowledgement(control_id))
        except (OSError, asyncio.IncompleteReadError) as error:
            log.add("lost", port=peer, why=type(error).__name__)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "0.0.0.0", port, backlog=1)  # one that hangs is soon full
    await server.serve_forever()


async def _send(address: str, port: int, log: _Log) -> None:
    is_over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, is_over.set)
    number = 1
    while not is_over.is_set():
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reader, writer = await asyncio.open_connection(address, port)
        except OSError:  # nobody there for the moment; what is lost is told by those connections that there were
            await asyncio.sleep(_AGAIN_AFTER_S)
            continue
        own_port = writer.get_extra_info("sockname")[1]
        try:
            while not is_over.is_set():
                writer.write(message(number))
                async with asyncio.timeout(_PATIENCE_S):
                    accepted = (await _next_segments(reader))["MSA"]
                assert accepted[1:3] == ["AA", str(number)], accepted
                log.add("acknowledged", port=own_port, number=number)
                number += 1
                await asyncio.sleep(_EVERY_S)
        except (OSError, asyncio.IncompleteReadError) as error:
            log.add("lost", port=own_port, number=number, why=type(error).__name__)
        finally:
            writer.close()


class _Party:
    """One side of the feed, at work on a node."""

    def __init__(self, node: Node, kind: str, address: IPv4Address, *, log: Path) -> None:
        self.node = node
        self._log = log
        self._kind, self._address = kind, address
        log.touch()
        self.process = self._spawn()

    def _spawn(self) -> subprocess.Popen[Any]:
        where = ["--address", str(self._address), "--log", str(self._log)]
        return self.node.popen([sys.executable, "-m", "lbctl.lab.hl7", self._kind, *where])

    def events(self, what: str) -> list[Event]:
        """What it has logged of that kind, whole lines only."""
        lines = self._log.read_text().split("\n")[:-1]
        return [event for event in (Event(**json.loads(line)) for line in lines) if event.what == what]

    def _wait_more(self, what: str, count: int) -> None:
        wanted = self._count(what) + count
        wait_until(
            lambda: self._count(what) >= wanted,
            deadline_s=40,
            what=lambda: f"{count} more of {what!r} at {self.node.name}; it has {self._count(what)} of {wanted}",
        )

    def _count(self, what: str) -> int:
        return self._log.read_text().count(f'"{what}"')


class Receiver(_Party):
    """A receiver that listens; ``kill`` and ``start`` take its process down and bring it back, with the same log."""

    def __init__(self, node: Node, *, log: Path) -> None:
        super().__init__(node, "receive", node.address, log=log)
        self._wait_listening()

    def _wait_listening(self) -> None:
        wait_until(lambda: self.node.listens_on(PORT), deadline_s=20, what=f"the receiver of {self.node.name}")

    def messages(self) -> list[Event]:
        """What it took in."""
        return self.events("message")

    def wait_messages(self, count: int) -> None:
        """Wait until it has taken in so many more."""
        self._wait_more("message", count)

    def connections(self) -> int:
        """How many connections its kernel holds open."""
        command = ["ss", "-Htn", "state", "established", f"sport = :{PORT}"]
        return len(self.node.run(command).stdout.splitlines())

    def signal(self, number: signal.Signals) -> None:
        """Stop it, or let it go on."""
        signal_group(self.process, number)

    def kill(self) -> None:
        """As a crash would."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def start(self) -> None:
        """Again, after `kill`."""
        self.process = self._spawn()
        self._wait_listening()


class Sender(_Party):
    """Sends until it is ended."""

    def __init__(self, node: Node, vip: IPv4Address, *, log: Path) -> None:
        super().__init__(node, "send", vip, log=log)

    def acknowledged(self) -> list[Event]:
        """The messages that it need not send again."""
        return self.events("acknowledged")

    def lost(self) -> list[Event]:
        """How its connections ended."""
        return self.events("lost")

    def wait_acknowledged(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        self._wait_more("acknowledged", count)

    def end(self) -> None:
        """After the message that is under way. `subprocess.TimeoutExpired` if that takes long."""
        os.kill(self.process.pid, signal.SIGTERM)
        assert self.process.wait(timeout=20) == 0


def merged(receivers: Iterable[Receiver]) -> list[tuple[Event, str]]:
    """All that was taken in, in the order of time, each with the receiver's name."""
    taken = [(event, receiver.node.name) for receiver in receivers for event in receiver.messages()]
    return sorted(taken, key=lambda row: row[0].at_s)


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description="One side of an HL7 feed.")
    parser.add_argument("kind", choices=("receive", "send"))
    parser.add_argument("--address", required=True)
    parser.add_argument("--log", type=Path, required=True)
    chosen = parser.parse_args()
    log = _Log(chosen.log)
    with suppress(KeyboardInterrupt):
        asyncio.run(_receive(PORT, log) if chosen.kind == "receive" else _send(chosen.address, PORT, log))


if __name__ == "__main__":
    main()
