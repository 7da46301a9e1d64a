"""The scene: archives, HL7 receivers and servers of long connections, all behind one virtual address."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lbctl.lab import dicom
from lbctl.lab.archives import AE_TITLE, DICOM_PORT
from lbctl.lab.daemon import Daemon
from lbctl.lab.demo.ledger import Ledger, Phase
from lbctl.lab.demo.life import configuration as life
from lbctl.lab.demo.placement import placement
from lbctl.lab.demo.scene import Scene, undone_by
from lbctl.lab.hl7 import Receiver
from lbctl.lab.lines import LineServer
from lbctl.lab.namespaces import require_tools
from lbctl.lab.node import Node
from lbctl.lab.storage import StorageServer
from lbctl.lab.studies import Study, generate_study
from lbctl.lab.topology import VIP, Lab
from lbctl.lab.wait import wait_until

PEER = dicom.Peer(address=VIP, port=DICOM_PORT, called_ae=AE_TITLE)
IMAGES = 120
"""Images of a study, one for each act that stores."""
_READY_WITHIN_S = 60.0
"""For a machine that is busy: the XDP program is compiled at every start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Scene):
    """What the acts use. Backends go by the names that they have in the file."""

    archives: dict[str, StorageServer]
    engines: dict[str, Receiver]
    servers: dict[tuple[str, int], LineServer]
    """By name and port."""
    studies: tuple[Study, ...]

    def host(self, name: str) -> Node:
        """The machine that a backend runs on."""
        return self.lab.backends[life.HOSTS.index(name)]

    def backend(self, pool: str, name: str) -> dict[str, Any]:
        """One backend as ``lbctl status`` tells it."""
        return self.daemon.backends(pool)[name]

    def new_connections(self, pool: str, name: str) -> int:
        """How many a backend was given, also one that the file no longer has."""
        status = self.daemon.status()
        rows = {f"{part['name']}/{row['name']}": row for part in status["pools"] for row in part["backends"]}
        rows |= {row["name"]: row for row in status["removed"]}
        return int(rows[f"{pool}/{name}"]["new_connections"])

    def store(self, client: Node, study: Study) -> dicom.Store:
        """Start to store a study through the virtual address, over one association."""
        return dicom.Store(client, PEER, study.files, log=self.directory / f"store-{time.monotonic_ns()}.log")

    def archive_of(self, store: dicom.Store) -> str:
        """Which archive holds a store's association."""
        nodes = {name: archive.node for name, archive in self.archives.items()}
        return wait_until(
            lambda: placement([store], nodes).get(store, ""), deadline_s=10, what="an archive to have the association"
        )

    def ensure_directed(self) -> None:
        """Start the daemon if it does not run."""
        if not self.daemon.is_running:
            self.start_daemon()

    def start_daemon(self) -> float:
        """Start it, and wait until it is ready; the seconds that took."""
        return self.daemon.start(ready_within_s=_READY_WITHIN_S)

    def reload(self, config: str) -> None:
        """Another file and a SIGHUP; return when it is in force."""
        told = self._reloads()
        self.daemon.reload(config)
        wait_until(lambda: self._reloads() > told, deadline_s=20, what="the configuration to be reloaded")

    def _reloads(self) -> int:
        return sum("reloaded" in line for line in self.daemon.log.read_text(errors="replace").splitlines())

    @contextmanager
    def reloaded(self, config: str) -> Iterator[None]:
        """Another configuration for a while."""
        self.reload(config)
        with undone_by(lambda: self.reload(life.configuration(self.lab))):
            yield

    @contextmanager
    def told(self, word: str, pool: str, name: str) -> Iterator[None]:
        """``lbctl drain`` or ``lbctl halt``; ``lbctl enable`` afterwards."""

        def undo() -> None:
            self.daemon.ctl("enable", f"{pool}/{name}")
            self.daemon.wait_states(pool, {name: "up"})

        self.daemon.ctl(word, f"{pool}/{name}")
        with undone_by(undo):
            yield


@contextmanager
def set_stage(lab: Lab, ledger: Ledger, say: Callable[[str], None]) -> Iterator[Stage]:
    """Start every server and the daemon, and wait until all backends are in service."""
    require_tools("echoscu", "storescu", "storescp", "ss", hint="run: make deps-lab")
    hosts = dict(zip(life.HOSTS, lab.backends, strict=True))
    say("three DICOM archives, two HL7 receivers, three servers of long connections")
    archives = {name: StorageServer(hosts[name], directory=lab.directory / name) for name in life.ARCHIVES}
    engines = {name: Receiver(hosts[name], log=lab.directory / f"{name}.log") for name in life.ENGINES}
    ports = (life.WEB_PORT, life.NEVER_PORT, life.LICENSED_PORT, life.REGIONAL_PORT)
    servers = {(name, port): LineServer(hosts[name], port=port, name=name) for name in life.SERVERS for port in ports}
    say("lbctl: bcc compiles the XDP program, the kernel verifies it, the daemon starts")
    daemon = Daemon(lab, config=life.configuration(lab))
    daemon.start(ready_within_s=_READY_WITHIN_S)
    say(f"three CT studies of {IMAGES} images, while the first checks go on")
    studies = tuple(generate_study(lab.directory / f"study{seed}", seed=seed, instances=IMAGES) for seed in (1, 2, 3))
    _wait_in_service(daemon)
    stage = Stage(
        lab=lab,
        archives=archives,
        engines=engines,
        servers=servers,
        daemon=daemon,
        counter=lab.count_frames(lab.director),
        studies=studies,
        ledger=ledger,
        directory=lab.directory,
    )
    ledger.set_up_s = round(time.monotonic() - ledger.began_s, 2)
    try:
        yield stage
    finally:
        ledger.log_tail = daemon.log_tail(lines=15)
        for server in servers.values():
            server.close()


def pause_at(store: dicom.Store, images: int) -> int:
    """The modality makes a pause once so many images are stored, as between two series; how many there are then."""
    wait_until(lambda: store.stored >= images, deadline_s=30, what=f"{images} images to be stored")
    os.kill(store.process.pid, signal.SIGSTOP)
    return store.stored


def go_on(store: dicom.Store) -> None:
    """After `pause_at`."""
    os.kill(store.process.pid, signal.SIGCONT)


def expect_stored(phase: Phase, store: dicom.Store) -> None:
    """Let it come to its end, which must be a good one."""
    result = store.wait()
    phase.stored_bytes += sum(file.stat().st_size for file in store.files[: store.stored])
    phase.expect(
        result.succeeded,
        "the store ends well, every image acknowledged over its one association",
        expected=f"{store.count} images",
        seen=f"{store.stored} images" if result.succeeded else result.output[-300:].strip(),
    )
    phase.fates["went on" if result.succeeded else "cut"] += 1


def expect_elsewhere(stage: Stage, phase: Phase, avoided: str, *, callers: Sequence[Node]) -> None:
    """New associations all succeed, and none goes to that archive."""
    before = stage.new_connections("archives", avoided)
    succeeded = sum(dicom.echo(node, PEER).succeeded for node in callers)
    there = stage.new_connections("archives", avoided) - before
    phase.fates["served"] += succeeded
    phase.expect(
        succeeded == len(callers) and not there,
        f"new associations succeed, and none goes to {avoided}",
        expected=f"{len(callers)} of {len(callers)}, 0 there",
        seen=f"{succeeded} of {len(callers)}, {there} there",
    )


def _wait_in_service(daemon: Daemon) -> None:
    """Wait until every backend can take connections, or stands by for the one that does."""
    in_service = {"up", "standby"}

    def states() -> dict[str, str]:
        return {
            f"{pool['name']}/{row['name']}": row["state"]
            for pool in daemon.status()["pools"]
            for row in pool["backends"]
        }

    wait_until(
        lambda: set(states().values()) <= in_service, deadline_s=30, what=lambda: f"all to be in service: {states()}"
    )
