"""Real DICOM servers on loopback, for the probes' tests: Orthanc and DCMTK's, started, awaited and ended."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 30.0
_LISTEN = "0A"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server. Its log is verbose enough to tell a released association from an aborted one."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def stop(self) -> None:
        """Suspend it: the kernel goes on accepting connections in its name."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run on."""
        self.process.send_signal(signal.SIGCONT)

    def wait_for_log(self, text: str, *, times: int = 1) -> None:
        """Until the log has that many lines with the text; `AssertionError` with the log's end if that never comes."""
        wait_for(lambda: self.count_log(text) >= times, f"{times} × {text!r} in {self.log.name}")

    def count_log(self, text: str) -> int:
        """How many lines of the log have the text, in whatever case."""
        lines = self.log.read_text(errors="replace").lower().splitlines()
        return sum(text.lower() in line for line in lines)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Until the condition holds; `AssertionError` after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain for {what}"
        time.sleep(0.01)


@contextmanager
def orthanc(directory: Path, *, aet: str = "ARCHIVE", **settings: object) -> Iterator[Server]:
    """Orthanc with its DICOM server only; ``settings`` go to its configuration file."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    configuration = {
        "StorageDirectory": str(directory / "storage"),
        "IndexDirectory": str(directory / "storage"),
        "HttpServerEnabled": False,
        "Plugins": [],
        "DicomAet": aet,
        "DicomPort": port,
        **settings,
    }
    file = directory / "orthanc.json"
    file.write_text(json.dumps(configuration))
    with _running(["/usr/sbin/Orthanc", "--trace-dicom", str(file)], directory, port) as server:
        yield server


@contextmanager
def storescp(directory: Path, *options: str) -> Iterator[Server]:
    """DCMTK's storage SCP: one process, one association at a time."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with _running(["storescp", "-d", *options, "-od", str(directory), str(port)], directory, port) as server:
        yield server


@contextmanager
def dcmqrscp(directory: Path, *, aet: str = "ARCHIVE", max_associations: int) -> Iterator[Server]:
    """DCMTK's archive: a process for each association, up to a limit."""
    database = directory / "database"
    database.mkdir(parents=True)
    port = free_port()
    file = directory / "dcmqrscp.cfg"
    file.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = {max_associations}\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{aet} {database} RW (9, 64mb) ANY\nAETable END\n"
    )
    with _running(["dcmqrscp", "-d", "-c", str(file)], directory, port) as server:
        yield server


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(command: Sequence[str], directory: Path, port: int) -> Iterator[Server]:
    log = directory / "server.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            wait_for(lambda: _has_ended(process) or _is_listening(port), f"{command[0]} to listen on port {port}")
            assert not _has_ended(process), log.read_text(errors="replace")[-2000:]
            yield Server(process=process, port=port, log=log)
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def _is_listening(port: int) -> bool:
    """From the kernel's table: a trial connection would be the first that the server's log has."""
    tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    rows = (line.split() for line in tables.splitlines())
    return any(row[3] == _LISTEN and int(row[1].rsplit(":", 1)[1], 16) == port for row in rows if row[0] != "sl")
