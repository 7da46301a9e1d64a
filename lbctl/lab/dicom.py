"""DICOM as modalities and viewers speak it: DCMTK's command line tools, run on a node."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lbctl.errors import LabError
from lbctl.lab.node import Node

FAST = {"TCP_NODELAY": "1"}
"""DCMTK's environment without Nagle's algorithm: 15 ms an instance instead of 60, the same on any network."""

_STORED = "Received Store Response (Success)"
_ECHOED = "Received Echo Response (Success)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Where an association goes."""

    address: IPv4Address
    port: int = 11112
    called_ae: str = "PACS"
    calling_ae: str = "LAB"

    def arguments(self) -> list[str]:
        """For DCMTK's tools."""
        return ["-aet", self.calling_ae, "-aec", self.called_ae, str(self.address), str(self.port)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """How one run of a tool ended. ``output`` is the tool's own log."""

    succeeded: bool
    elapsed_s: float
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """A C-GET: its association, and the files that arrived."""

    association: Association
    files: tuple[Path, ...]

    @property
    def octets(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files)


def echo(node: Node, peer: Peer, *, timeout_s: float = 10.0) -> Association:
    """C-ECHO in an association of its own."""
    limits = ["-to", str(max(1, round(timeout_s / 2))), "-ta", str(max(1, round(timeout_s / 2)))]
    ended = _run(node, ["echoscu", "-v", *limits, *peer.arguments()], timeout_s=timeout_s)
    return replace(ended, succeeded=ended.succeeded and _ECHOED in ended.output)  # echoscu exits with 0 after an abort


def find_studies(node: Node, peer: Peer, study_uid: str, *, timeout_s: float = 30.0) -> int:
    """C-FIND at study level: how many studies of that UID the archive reports."""
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_uid}"]
    association = _run(node, ["findscu", "-v", "-S", *keys, *peer.arguments()], timeout_s=timeout_s)
    if not association.succeeded:
        raise LabError(f"{node.name}: C-FIND at {peer.address}: {association.output[-500:]}")
    return association.output.count("Find Response:") or association.output.count("(Pending)")


def retrieve(node: Node, peer: Peer, study_uid: str, *, into: Path, timeout_s: float = 60.0) -> Retrieval:
    """C-GET of a study into a new directory: the images come back on the association that asked for them."""
    into.mkdir(parents=True)
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_uid}"]
    argv = ["getscu", "-S", *keys, "-od", str(into), *peer.arguments()]
    association = _run(node, argv, timeout_s=timeout_s)
    return Retrieval(association=association, files=tuple(sorted(into.iterdir())))


class Store:
    """A C-STORE under way: one association, instances in the order given. Stops at the first failure."""

    def __init__(self, node: Node, peer: Peer, files: Sequence[Path], *, log: Path) -> None:
        self.node = node
        self.log = log
        self.files = tuple(files)
        self._began = time.monotonic()
        argv: list[str | Path] = ["storescu", "-v", *peer.arguments(), *files]
        self.process: subprocess.Popen[Any] = node.popen(argv, output=log, environment=FAST)

    @property
    def count(self) -> int:
        """Instances to store."""
        return len(self.files)

    @property
    def stored(self) -> int:
        """Instances that the archive has acknowledged so far."""
        return self.log.read_text(errors="replace").count(_STORED)

    @property
    def is_running(self) -> bool:
        """Whether the association is still open."""
        return self.process.poll() is None

    def wait(self, *, timeout_s: float = 60.0) -> Association:
        """Wait for the end. `LabError` if it does not come in time."""
        try:
            code = self.process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            self.node.end(self.process)
            raise LabError(f"{self.node.name}: a store of {self.count} took over {timeout_s:g} s") from error
        succeeded = code == 0 and self.stored == self.count
        elapsed_s = time.monotonic() - self._began
        return Association(succeeded=succeeded, elapsed_s=elapsed_s, output=self.log.read_text(errors="replace"))


def _run(node: Node, argv: Sequence[str], *, timeout_s: float) -> Association:
    began = time.monotonic()
    finished = node.run(argv, check=False, timeout_s=timeout_s, environment=FAST)
    return Association(
        succeeded=finished.returncode == 0,
        elapsed_s=time.monotonic() - began,
        output=finished.stdout + finished.stderr,
    )
