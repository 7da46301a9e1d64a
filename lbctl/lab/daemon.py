"""The lbctl daemon as a lab runs it: on the director's node, told ready as systemd is told (sd_notify)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lbctl.errors import LabError
from lbctl.lab import http
from lbctl.lab.node import Node
from lbctl.lab.processes import signal_group
from lbctl.lab.topology import Lab
from lbctl.lab.wait import wait_until

_READY_WITHIN_S = 60.0


class Daemon:
    """``lbctl run`` on a director. Its pins, socket, state and log are the lab's; each director has its own."""

    def __init__(self, lab: Lab, *, config: str, director: Node | None = None) -> None:
        self.node = director or lab.director
        self.pins = lab.pins_of(self.node)
        self.directory = lab.directory / self.node.name
        self.directory.mkdir(exist_ok=True)
        self.config = self.directory / "lbctl.yaml"
        self.config.write_text(config)
        self.socket = self.directory / "lbctl.sock"
        self.state = self.directory / "state"
        self.log = self.directory / "lbctl.log"
        self.tree: Path | None = None  # another checkout to start from, as after an upgrade
        self.environment: dict[str, str] = {}  # for the daemon itself, from its next start on
        self._process: subprocess.Popen[Any] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running daemon; `LabError` if it does not run."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, ready_within_s: float = _READY_WITHIN_S) -> float:
        """Start it and wait for ``READY=1``; return the seconds that took. `LabError` with the log's end otherwise."""
        began = time.monotonic()
        path = self.directory / "notify.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
            notifications.bind(str(path))
            notifications.setblocking(False)
            self._process = self.launch(notify=path)
            self._await(notifications, ready_within_s)
        return time.monotonic() - began

    def launch(self, *, notify: Path | None = None) -> subprocess.Popen[Any]:
        """Start the process and do not wait."""
        environment = {**self.environment, **({"NOTIFY_SOCKET": str(notify)} if notify else {})}
        if self.tree:
            environment["PYTHONPATH"] = str(self.tree)
        return self.node.popen(self._command(), output=self.log, environment=environment)

    def stop(self) -> int:
        """End it in order (SIGTERM) and return its exit code. Forwarding goes on: that is lbctl's promise."""
        process = self._running()
        self.node.end(process)
        return process.wait()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        process = self._running()
        signal_group(process, signal.SIGKILL)
        process.wait()

    def reload(self, config: str) -> None:
        """Write another configuration and send SIGHUP."""
        self.config.write_text(config)
        os.kill(self.pid, signal.SIGHUP)

    def ctl(self, *arguments: str, check: bool = True, timeout_s: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Run another ``lbctl`` command against this daemon."""
        return self.node.run(
            [sys.executable, "-m", "lbctl", *arguments],
            check=check,
            timeout_s=timeout_s,
            environment={"LBCTL_SOCKET": str(self.socket)},
        )

    def status(self) -> dict[str, Any]:
        """What ``lbctl status --json`` prints, parsed. Asked of the control socket itself, which takes milliseconds."""
        parsed: dict[str, Any] = json.loads(http.get_over_socket(self.socket, "/v1/status"))
        return parsed

    def backends(self, pool: str) -> dict[str, dict[str, Any]]:
        """A pool's backends as ``status`` tells them, by name."""
        pools = {row["name"]: row for row in self.status()["pools"]}
        return {row["name"]: row for row in pools[pool]["backends"]}

    def wait_states(self, pool: str, expected: Mapping[str, str], *, deadline_s: float = 20.0) -> None:
        """Wait until each backend named is in the state named."""
        wait_until(
            lambda: self._states(pool, expected) == dict(expected),
            deadline_s=deadline_s,
            what=lambda: f"{pool} to be {dict(expected)}; it is {self._states(pool, expected)}",
        )

    def log_tail(self, *, lines: int = 30) -> str:
        """The end of the daemon's log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _command(self) -> list[str | Path]:
        paths: list[str | Path] = ["--config", self.config, "--pins", self.pins]
        from_there = ["-P"] if self.tree else []  # not from the current directory
        python = [sys.executable, *from_there, "-m", "lbctl", "run"]
        return [*python, *paths, "--socket", self.socket, "--state", self.state]

    def _await(self, notifications: socket.socket, ready_within_s: float) -> None:
        def ready() -> bool:
            if not self.is_running:
                raise LabError(f"lbctl run ended on {self.node.name}")
            try:
                return b"READY=1" in notifications.recv(4096).splitlines()
            except BlockingIOError:
                return False

        try:
            wait_until(ready, deadline_s=ready_within_s, what="lbctl run to be ready")
        except LabError as error:
            raise LabError(f"{error.message}; its log ends with:\n{self.log_tail()}") from error

    def _states(self, pool: str, expected: Mapping[str, str]) -> dict[str, str]:
        rows = self.backends(pool)
        return {name: str(rows[name]["state"]) for name in expected}

    def _running(self) -> subprocess.Popen[Any]:
        if self._process is None or self._process.poll() is not None:
            raise LabError(f"lbctl does not run on {self.node.name}", hint=f"see {self.log}")
        return self._process
