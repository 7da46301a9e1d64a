"""What the acceptance tests play on: a lab with a running daemon, the kernel's own tables, and real archives."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbctl.cli.client import get
from lbctl.core.model import Address
from lbctl.core.verdict import Outcome
from lbctl.daemon.models import BackendStatus, Flows, Status
from lbctl.dataplane import bpf, loader
from lbctl.dataplane.layout import MAPS
from lbctl.dataplane.maps import shared_array
from lbctl.lab import dicom
from lbctl.lab.archives import AE_TITLE, DICOM_PORT, HTTP_PORT, Archive, start_archives
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP, Lab
from lbctl.lab.wait import wait_until
from lbctl.probes.dicom import DicomEcho, Phase
from tests.netns.pinned import PinnedBackends

POOL = "archives"
PEER = dicom.Peer(address=VIP, port=DICOM_PORT, called_ae=AE_TITLE)
AT_A_TIME = 8
"""So many clients of a test at the same time."""
INTERVAL_S, TIMEOUT_S, FALL = 1.0, 0.8, 2
DETECTION_S = FALL * INTERVAL_S + TIMEOUT_S
"""By when a dead backend must be out of the slots."""


def backends_of(lab: Lab) -> str:
    """The ``backends`` of a pool in the configuration file: all of the lab's."""
    return "{" + ", ".join(f"{node.name}: {{address: {node.address}}}" for node in lab.backends) + "}"


def configuration(lab: Lab) -> str:
    """The archives' services: DICOM and DICOMweb on one address, answered by one pool."""
    check = f"type: dicom-echo, port: {DICOM_PORT}, calling_ae: LBCTL, called_ae: {AE_TITLE}"
    timing = f"interval: {INTERVAL_S * 1000:.0f}ms, timeout: {TIMEOUT_S * 1000:.0f}ms, fall: {FALL}, rise: 2"
    return f"""
interfaces:
  eth0: {{address: {lab.director.address}/24}}
services:
  pacs: {{vip: {VIP}, preset: dicom, pool: {POOL}}}
  dicomweb: {{vip: {VIP}, ports: [{HTTP_PORT}], protocol: tcp, pool: {POOL}}}
pools:
  {POOL}: {{kind: archive, storage: shared, check: {{{check}, {timing}}}, backends: {backends_of(lab)}}}
"""


def reboot(daemon: Daemon) -> None:
    """What a director's reboot leaves: nothing of the kernel's tables, all of the state directory."""
    assert daemon.stop() == 0
    daemon.ctl("detach", "--yes", "--pins", str(daemon.pins))
    assert not list(daemon.pins.glob("*"))
    daemon.start()


# What the daemon says, and what the kernel holds ---------------------------------------------------------------------


def status_of(daemon: Daemon) -> Status:
    """``lbctl status``, without the start of a process: it may be asked a hundred times a second."""
    return get(daemon.socket, "/v1/status", Status)


def backends_by_name(daemon: Daemon) -> dict[str, BackendStatus]:
    """The backends of the only pool."""
    (pool,) = status_of(daemon).pools
    return {backend.name: backend for backend in pool.backends}


def new_connections(daemon: Daemon) -> Counter[str]:
    """New connections by backend, as the program counted them."""
    return Counter({name: row.new_connections for name, row in backends_by_name(daemon).items()})


def flows_of(daemon: Daemon) -> dict[tuple[Address, int], str]:
    """The backend of every open flow, by client and port, as ``lbctl flows --json`` tells it."""
    found = Flows.model_validate_json(daemon.ctl("flows", "--json", "--limit", "10000").stdout)
    return {(flow.client, flow.client_port): flow.backend for flow in found.flows if flow.state == "open"}


def wait_state(daemon: Daemon, backend: str, state: str, *, deadline_s: float) -> BackendStatus:
    """Wait until a backend is in that state; how the daemon then describes it."""

    def described() -> BackendStatus | None:
        row = backends_by_name(daemon)[backend]
        return row if row.state == state else None

    row = wait_until(described, deadline_s=deadline_s, what=lambda: f"{backend} to be {state}\n{daemon.log_tail()}")
    assert row is not None
    return row


def pinned(daemon: Daemon, name: str) -> NDArray[np.void]:
    """A pinned array as the program reads it: what is shown changes as the daemon writes."""
    with bpf.opened_pin(loader.pin_path(name, MAPS[name], daemon.pins)) as descriptor:
        return shared_array(descriptor, MAPS[name])


def slots_by_backend(daemon: Daemon, lab: Lab) -> Counter[str]:
    """How many slots of the only pool each backend owns in the kernel."""
    (table,) = (int(row) for row in pinned(daemon, "lb_pools")["table"] if row)
    base, size = table & 0xFFFF_FFFF, table >> 32
    owners, slots = np.unique(pinned(daemon, "lb_slots")[base : base + size], return_counts=True)
    backends = PinnedBackends(daemon.pins)
    names: dict[Address, str] = {node.address: node.name for node in lab.backends}
    counted = zip(owners.tolist(), slots.tolist(), strict=True)
    return Counter({names[backends.address_of(owner)]: count for owner, count in counted if owner})


# Archives ------------------------------------------------------------------------------------------------------------


class HeldAssociation:
    """A DICOM association that is open and silent until it is asked for an echo. `OSError` if the connection breaks, or if
    an answer takes longer than ``timeout_s``."""

    def __init__(self, client: Node, peer: dicom.Peer, *, timeout_s: float = 20.0) -> None:
        with client.enter():
            self._socket = socket.create_connection((str(peer.address), peer.port), timeout=timeout_s)
        own_address, own_port = self._socket.getsockname()
        self.end = IPv4Address(own_address), int(own_port)
        self._echo = DicomEcho(calling_ae=peer.calling_ae, called_ae=peer.called_ae)
        self._words = self._echo.open()
        self._converse_while(Phase.ASSOCIATING)

    @property
    def is_open(self) -> bool:
        """Whether the server accepted it, and it was not yet released."""
        return self._echo.phase is Phase.ECHOING

    def echo_and_release(self) -> bool:
        """Go on where it was left: C-ECHO, release. Whether all of that went well."""
        self._converse_while(Phase.ECHOING, Phase.RELEASING)
        self.drop()
        return self._echo.outcome is Outcome.HEALTHY

    def drop(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _converse_while(self, *phases: Phase) -> None:
        try:
            while self._echo.phase in phases:
                self._socket.sendall(self._words)
                self._words = self._echo.receive(self._socket.recv(4096))
        except OSError:
            self.drop()
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveStage:
    """Three Orthancs with one database behind the VIP, and three clients."""

    lab: Lab
    daemon: Daemon
    archives: dict[str, Archive]

    @property
    def clients(self) -> tuple[Node, ...]:
        """The clients' nodes."""
        return self.lab.clients

    def count_instances(self) -> int:
        """Images in the archives' common index."""
        return next(iter(self.archives.values())).count_instances()

    def serving(self, client: Node) -> str:
        """The archive that holds that client's only DICOM association, as the archives' own kernels have it."""
        command = ["ss", "-Htn", "state", "established", f"sport = :{DICOM_PORT} and dst {client.address}"]
        held = [name for name, archive in self.archives.items() if archive.node.run(command).stdout.strip()]
        (name,) = held
        return name

    def store(self, client: Node, files: Sequence[Path], *, name: str) -> dicom.Store:
        """Start a C-STORE of some files through the VIP."""
        return dicom.Store(client, PEER, files, log=self.lab.directory / f"{name}.log")

    def make_whole(self) -> None:
        """Undo whatever a test left behind: every archive runs, and takes new associations."""
        if not self.daemon.is_running:
            self.daemon.start()
        for archive in self.archives.values():
            if archive.process.poll() is not None:
                archive.restart()
        for name, row in backends_by_name(self.daemon).items():
            if row.state == "draining":
                self.daemon.ctl("enable", f"{POOL}/{name}")
        self.daemon.wait_states(POOL, dict.fromkeys(self.archives, "up"), deadline_s=40)


@contextmanager
def archive_stage(lab: Lab, *, settings: Mapping[str, object] | None = None) -> Iterator[ArchiveStage]:
    """Start archives and daemon on a lab. ``settings`` go to Orthanc's configuration."""
    archives = {archive.node.name: archive for archive in start_archives(lab, settings=settings)}
    daemon = Daemon(lab, config=configuration(lab))
    daemon.start(ready_within_s=30)
    yield ArchiveStage(lab=lab, daemon=daemon, archives=archives)
