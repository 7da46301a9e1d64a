"""The scene of the demonstration: three archives, three clients, one director, one virtual address."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbctl.errors import LabError
from lbctl.lab import dicom
from lbctl.lab.agent import DEFAULT_PORT, Agent
from lbctl.lab.archives import AE_TITLE, DICOM_PORT, HTTP_PORT, Archive, start_archives
from lbctl.lab.capture import FROM_CLIENTS
from lbctl.lab.daemon import Daemon
from lbctl.lab.demo.ledger import Ledger, Phase
from lbctl.lab.demo.placement import placement
from lbctl.lab.demo.scene import Scene
from lbctl.lab.namespaces import require_tools
from lbctl.lab.node import Node
from lbctl.lab.studies import Study, generate_study
from lbctl.lab.topology import VIP, Lab

POOL = "archives"
PEER = dicom.Peer(address=VIP, port=DICOM_PORT, called_ae=AE_TITLE)
IMAGES = 220
CHECK_INTERVAL_S, CHECK_TIMEOUT_S, FALL = 1.0, 0.8, 2
DISK_BYTES = 1_500_000_000
"""Studies, what the archives keep of them, the database, and what is retrieved."""
_SENT_ON_AT_LEAST = 0.99
"""Of the clients' frames. A busy machine loses some of them in the queue of a virtual cable, as a network may."""

_CONFIG = """\
interfaces:
  eth0: {{address: {director}/24}}
services:
  pacs: {{vip: {vip}, preset: dicom, pool: archives}}
  dicomweb: {{vip: {vip}, ports: [{http_port}], protocol: tcp, pool: archives}}
pools:
  archives:
    kind: archive
    storage: shared
    check:
      type: dicom-echo
      port: {dicom_port}
      calling_ae: LBCTL
      called_ae: {ae_title}
      interval: {interval_ms:.0f}ms
      timeout: {timeout_ms:.0f}ms
      fall: {fall}
      rise: 2
    agent: {{port: {agent_port}, interval: 500ms}}
    backends:
{backends}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Scene):
    """What the acts use. ``studies`` are for storing, one for each act that stores."""

    archives: dict[str, Archive]
    agents: dict[str, Agent]
    studies: tuple[Study, ...]

    def backends(self) -> dict[str, dict[str, Any]]:
        """The archives as ``lbctl status`` tells them, by name."""
        return {row["name"]: row for row in self.look()}

    def connections(self) -> Counter[str]:
        """New connections since the start by archive, as the data plane counted them."""
        return Counter({name: int(row["new_connections"]) for name, row in self.backends().items()})

    def count_instances(self) -> int:
        """Images in the archives' common index."""
        return next(iter(self.archives.values())).count_instances()

    def placement(self, stores: Sequence[dicom.Store]) -> dict[dicom.Store, str]:
        """Which archive holds each store's association now; without those that ended."""
        return placement(stores, {name: archive.node for name, archive in self.archives.items()})

    def store(self, client: Node, files: Sequence[Path]) -> dicom.Store:
        """Start a C-STORE of some files through the virtual address."""
        log = self.directory / f"store-{time.monotonic_ns()}.log"
        return dicom.Store(client, PEER, files, log=log)

    def begin(self, phase: Phase) -> Callable[[], None]:
        """Every act is judged by its direct return, and by where its connections went."""
        before = self.connections()

        def conclude() -> None:
            _expect_direct_return(phase)
            # Counter's own minus would leave out the archives that got nothing.
            phase.connections = {name: count - before[name] for name, count in self.connections().items()}

        return conclude


@contextmanager
def set_stage(lab: Lab, ledger: Ledger, say: Callable[[str], None]) -> Iterator[Stage]:
    """Start the archives, the agents and the daemon on a lab, and generate the studies meanwhile."""
    _require_means(lab.directory)
    with _generated_meanwhile(lab.directory) as studies:
        say("PostgreSQL, and three Orthanc archives that share it")
        archives = {archive.node.name: archive for archive in start_archives(lab)}
        say("a load agent beside each archive")
        agents = {node.name: Agent(node, file=lab.directory / f"{node.name}.agent") for node in lab.backends}
        say("lbctl: bcc compiles the XDP program, the kernel verifies it, the daemon starts")
        daemon = Daemon(lab, config=configuration(lab))
        daemon.start(ready_within_s=30)
        say("the first checks: C-ECHO to the virtual address on each archive")
        daemon.wait_states(POOL, dict.fromkeys(archives, "up"))
        stage = Stage(
            lab=lab,
            archives=archives,
            agents=agents,
            daemon=daemon,
            counter=lab.count_frames(lab.director),
            studies=studies(),
            ledger=ledger,
            directory=lab.directory,
        )
    ledger.set_up_s = round(time.monotonic() - ledger.began_s, 2)
    try:
        yield stage
    finally:
        ledger.log_tail = daemon.log_tail(lines=15)


def configuration(lab: Lab) -> str:
    """The daemon's configuration file: the DICOM service and DICOMweb on one address, answered by one pool."""
    return _CONFIG.format(
        director=lab.director.address,
        vip=VIP,
        http_port=HTTP_PORT,
        dicom_port=DICOM_PORT,
        ae_title=AE_TITLE,
        interval_ms=CHECK_INTERVAL_S * 1000,
        timeout_ms=CHECK_TIMEOUT_S * 1000,
        fall=FALL,
        agent_port=DEFAULT_PORT,
        backends="\n".join(f"      {node.name}: {{address: {node.address}}}" for node in lab.backends),
    )


def _expect_direct_return(phase: Phase) -> None:
    assert phase.traffic is not None
    phase.expect_equal(
        "no frame from an archive to a client passes the director", expected=0, seen=phase.traffic.returned.frames
    )
    received, sent_on = phase.received(*FROM_CLIENTS).frames, phase.sent(*FROM_CLIENTS).frames
    phase.expect(
        sent_on >= _SENT_ON_AT_LEAST * received,
        "what clients send goes on to the archives",
        expected=f"{received:,} frames",
        seen=f"{sent_on:,} frames",
    )


def _require_means(directory: Path) -> None:
    require_tools("echoscu", "storescu", "getscu", "ss", hint="run: make deps-lab")
    free = shutil.disk_usage(directory).free
    if free < DISK_BYTES:
        raise LabError(
            f"{directory.parent} has {free / 1e9:.1f} GB free, and the demonstration needs {DISK_BYTES / 1e9:.1f} GB",
            hint="make room there, or set TMPDIR to a directory elsewhere",
        )


@contextmanager
def _generated_meanwhile(directory: Path) -> Iterator[Callable[[], tuple[Study, ...]]]:
    """Generate the studies while the rest is being set up. Gives what waits for them; Ctrl-C does not."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        futures = [
            pool.submit(generate_study, directory / f"study{seed}", seed=seed, instances=IMAGES) for seed in (1, 2, 3)
        ]
        try:
            yield lambda: tuple(future.result() for future in futures)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
