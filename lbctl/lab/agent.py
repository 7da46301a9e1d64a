"""A load agent for a backend: answers every TCP connection with one line, the contents of a file ("75%", "drain").

The protocol is HAProxy's agent-check. Run as ``python -m lbctl.lab.agent --port 3333 --file PATH``; change what it
says by writing the file.
"""

from __future__ import annotations

import argparse
import socketserver
import sys
from pathlib import Path

from lbctl.lab.node import Node
from lbctl.lab.wait import wait_until

DEFAULT_PORT = 3333


class Agent:
    """A load agent that runs on a node. ``say`` changes its answer from the next connection on."""

    def __init__(self, node: Node, *, file: Path, port: int = DEFAULT_PORT, answer: str = "100%") -> None:
        self.file = file
        self.say(answer)
        argv: list[str | Path] = [sys.executable, "-m", "lbctl.lab.agent", "--port", str(port), "--file", file]
        self.process = node.popen(argv)
        wait_until(lambda: node.listens_on(port), deadline_s=10, what=f"the agent of {node.name}")

    def say(self, answer: str) -> None:
        """Answer this from now on, e.g. ``25%`` or ``drain``."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(answer)
        fresh.replace(self.file)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, file: Path) -> None:
        self.file = file
        super().__init__(("0.0.0.0", port), _Answer)


class _Answer(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.request.sendall(self.server.file.read_text().strip().encode() + b"\n")


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description="A load agent that answers with the contents of a file.")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--file", type=Path, required=True)
    arguments = parser.parse_args()
    with _Server(arguments.port, arguments.file) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
