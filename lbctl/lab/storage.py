"""A small archive on a node: DCMTK's storescp, a process of its own for each association."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from lbctl.lab import dicom
from lbctl.lab.archives import AE_TITLE, DICOM_PORT
from lbctl.lab.node import Node
from lbctl.lab.wait import wait_until


class StorageServer:
    """Answers C-ECHO, and keeps what it is sent as files in a directory. It starts in a fraction of a second."""

    def __init__(self, node: Node, *, directory: Path) -> None:
        directory.mkdir()
        self.node = node
        self._directory = directory
        argv: list[str | Path] = ["storescp", "--fork", "-aet", AE_TITLE, "-od", directory, str(DICOM_PORT)]
        self._process: subprocess.Popen[Any] = node.popen(argv, environment=dicom.FAST)
        wait_until(lambda: node.listens_on(DICOM_PORT), deadline_s=10, what=f"the archive on {node.name}")

    def count_instances(self) -> int:
        """How many instances it has kept."""
        return sum(1 for _ in self._directory.iterdir())

    def hang(self) -> None:
        """Answer no new association, while the kernel still accepts its connection. Those that there are go on."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def recover(self) -> None:
        """Answer again, after `hang`."""
        os.kill(self._process.pid, signal.SIGCONT)
