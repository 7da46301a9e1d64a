"""Real archives on a lab's backends: Orthancs that share one PostgreSQL index and one storage directory, or have their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lbctl.errors import LabError, SystemRequirementError
from lbctl.lab import dicom, http
from lbctl.lab.database import Database
from lbctl.lab.node import Node
from lbctl.lab.processes import signal_group
from lbctl.lab.topology import Lab
from lbctl.lab.wait import wait_until

DICOM_PORT = 11112
HTTP_PORT = 8042
AE_TITLE = "PACS"
_PLUGINS = Path("/usr/share/orthanc/plugins")
_USED_PLUGINS = ("libOrthancPostgreSQLIndex.so", "libOrthancDicomWeb.so")


class Archive:
    """One Orthanc on one backend. It listens on every address of the node, the VIP on its loopback included."""

    def __init__(
        self,
        node: Node,
        *,
        directory: Path,
        database: Database | None,
        ae_title: str = AE_TITLE,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """Without a ``database`` its index and its storage are its own."""
        self.node = node
        self.ae_title = ae_title
        self._directory = directory
        self._settings = directory / f"{node.name}.json"
        self.log = directory / f"{node.name}.log"
        self._settings.write_text(json.dumps({**self._configuration(database), **(settings or {})}, indent=2))
        self.process = self._spawn()

    @property
    def peer(self) -> dicom.Peer:
        """The archive at its own address, past any balancer."""
        return dicom.Peer(address=self.node.address, port=DICOM_PORT, called_ae=self.ae_title)

    @property
    def is_ready(self) -> bool:
        """Whether it answers HTTP (which it opens last). `LabError` with its log if it has ended instead."""
        if self.process.poll() is not None:
            raise LabError(f"the archive on {self.node.name} ended: {self.log.read_text(errors='replace')[-2000:]}")
        return http.answers(self.node, self.node.address, "/system", port=HTTP_PORT)

    def count_instances(self) -> int:
        """How many instances the archive knows (all archives of one database know the same)."""
        reply = http.get(self.node, self.node.address, "/statistics", port=HTTP_PORT)
        return int(json.loads(reply.body)["CountInstances"])

    def set_modality(self, name: str, settings: Mapping[str, object]) -> None:
        """Tell the running archive of a modality, and what that may do; `LabError` if it does not take it."""
        reply = http.put(
            self.node, self.node.address, f"/modalities/{name}", body=json.dumps(settings).encode(), port=HTTP_PORT
        )
        if reply.status != 200:
            raise LabError(f"the archive on {self.node.name} refused modality {name}: {reply.body[:500]!r}")

    def wait_ready(self) -> None:
        """Wait until it serves."""
        wait_until(lambda: self.is_ready, deadline_s=60, what=f"the archive on {self.node.name} (log: {self.log})")

    def kill(self) -> None:
        """End it as a crash would: SIGKILL, connections reset by the kernel."""
        signal_group(self.process, signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """Stop the process: it still accepts TCP connections, and answers nothing."""
        signal_group(self.process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        signal_group(self.process, signal.SIGCONT)

    def restart(self) -> None:
        """Start it again after `kill`, and wait until it serves."""
        self.process = self._spawn()
        self.wait_ready()

    def _spawn(self) -> subprocess.Popen[Any]:
        return self.node.popen(
            ["Orthanc", self._settings],
            output=self.log,
            environment=dicom.FAST,
            stop_signal=signal.SIGKILL,  # an orderly end takes it 3 s, and nothing of it is kept
        )

    def _configuration(self, database: Database | None) -> dict[str, object]:
        storage = self._directory / ("storage" if database else f"{self.node.name}-storage")
        storage.mkdir(exist_ok=True)
        return {
            "Name": self.node.name,
            "DicomAet": self.ae_title,
            "DicomPort": DICOM_PORT,
            "HttpPort": HTTP_PORT,
            "RemoteAccessAllowed": True,
            "AuthenticationEnabled": False,
            **{f"DicomAlwaysAllow{service}": True for service in ("Echo", "Store", "Find", "Get")},
            "StorageDirectory": str(storage),
            "IndexDirectory": str(self._directory / f"{self.node.name}-index"),
            **(_shared_index(database) if database else {"Plugins": []}),
            "HttpCompressionEnabled": False,
            "HttpThreadsCount": 16,
            "DicomThreadsCount": 16,
            "TcpNoDelay": True,
            "SaveJobs": False,
            "StorageAccessOnFind": "Never",
            "MaximumStorageCacheSize": 0,
        }


def _shared_index(database: Database) -> dict[str, object]:
    return {
        "Plugins": [str(_PLUGINS / name) for name in _USED_PLUGINS],
        # Without it an archive takes the database for itself and the next one refuses to start.
        "PostgreSQL": {"EnableIndex": True, "ConnectionUri": database.uri, "Lock": False}
        | {"IndexConnectionsCount": 8, "MaximumConnectionRetries": 10, "ConnectionRetryInterval": 1},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }


def start_separate_archives(lab: Lab) -> tuple[Archive, ...]:
    """Start one archive on each backend, each with studies of its own, and wait until all serve."""
    _require_orthanc()
    directory = lab.directory / "archives"
    directory.mkdir()
    archives = tuple(Archive(node, directory=directory, database=None) for node in lab.backends)
    for archive in archives:
        archive.wait_ready()
    return archives


def start_archives(
    lab: Lab,
    *,
    nodes: Sequence[Node] | None = None,
    ae_titles: Sequence[str] | None = None,
    settings: Mapping[str, object] | None = None,
) -> tuple[Archive, ...]:
    """Start one archive on each node (all backends by default) on a new database, and wait until all serve. ``settings`` go
    to Orthanc's configuration."""
    _require_orthanc()
    chosen = lab.backends if nodes is None else nodes
    titles = ae_titles or [AE_TITLE] * len(chosen)
    database = Database(lab)
    directory = lab.directory / "archives"
    directory.mkdir()
    archives = []
    for node, title in zip(chosen, titles, strict=True):
        archives.append(Archive(node, directory=directory, database=database, ae_title=title, settings=settings))
        if len(archives) == 1:
            archives[0].wait_ready()  # the first one creates the tables; two at a time would collide
    for archive in archives:
        archive.wait_ready()
    return tuple(archives)


def _require_orthanc() -> None:
    missing = [name for name in _USED_PLUGINS if not (_PLUGINS / name).exists()]
    if missing or not os.access("/usr/sbin/Orthanc", os.X_OK):
        raise SystemRequirementError("Orthanc or one of its plugins is not installed", hint="run: make deps-lab")
