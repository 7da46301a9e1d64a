"""The scene of the demonstration: three archives, three clients, one director, one virtual address."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lbctl.errors import LbctlError
from lbctl.lab import dicom
from lbctl.lab.agent import DEFAULT_PORT, Agent
from lbctl.lab.archives import AE_TITLE, DICOM_PORT, HTTP_PORT, Archive, start_archives
from lbctl.lab.capture import FrameCounter
from lbctl.lab.daemon import Daemon
from lbctl.lab.demo.ledger import Ledger, Phase
from lbctl.lab.node import Node
from lbctl.lab.studies import Study, generate_study
from lbctl.lab.topology import VIP, Lab

POOL = "archives"
PEER = dicom.Peer(address=VIP, port=DICOM_PORT, called_ae=AE_TITLE)
IMAGES = 220
CHECK_INTERVAL_S, CHECK_TIMEOUT_S, FALL = 1.0, 0.8, 2

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
class Stage:
    """Everything an act may use. ``studies`` are for storing, one for each act that stores."""

    lab: Lab
    archives: dict[str, Archive]
    agents: dict[str, Agent]
    daemon: Daemon
    counter: FrameCounter
    studies: tuple[Study, ...]
    ledger: Ledger
    directory: Path

    @property
    def clients(self) -> tuple[Node, ...]:
        """The clients' nodes."""
        return self.lab.clients

    def connections(self) -> Counter[str]:
        """New connections since the start by archive, as the data plane counted them."""
        rows = self.daemon.backends(POOL)
        self.ledger.backends = list(rows.values())
        return Counter({name: int(row["new_connections"]) for name, row in rows.items()})

    def count_instances(self) -> int:
        """Images in the archives' common index."""
        return next(iter(self.archives.values())).count_instances()

    def serving(self, client: Node) -> str | None:
        """The archive that holds a DICOM association of that client now, as its own kernel says."""
        held = self.associations(client)
        return next((name for name, count in held.items() if count), None)

    def associations(self, *clients: Node) -> Counter[str]:
        """DICOM associations of these clients by archive, as the archives' own kernels have them."""
        peers = " or ".join(f"dst {client.address}" for client in clients)
        command = ["ss", "-Htn", "state", "established", f"sport = :{DICOM_PORT} and ( {peers} )"]
        return Counter(
            {name: len(archive.node.run(command).stdout.splitlines()) for name, archive in self.archives.items()}
        )

    def store(self, client: Node, files: Sequence[Path]) -> dicom.Store:
        """Start a C-STORE of some files through the virtual address."""
        log = self.directory / f"store-{time.monotonic_ns()}.log"
        return dicom.Store(client, PEER, files, log=log)

    @contextmanager
    def phase(self, title: str) -> Iterator[Phase]:
        """Measure what happens inside. What goes wrong there is an expectation not met, and the next act goes on."""
        phase = Phase(title=title)
        connections, traffic = self.connections(), self.counter.read()
        self.ledger.phases.append(phase)
        try:
            yield phase
        except LbctlError as error:
            phase.expect(False, "the act runs to its end", error.message)
        phase.traffic = self.counter.read() - traffic
        returned = phase.traffic.returned.frames
        phase.expect(returned == 0, "no server-to-client frame at the director's NIC", f"{returned} frames")
        # Counter's own minus would leave out the archives that got nothing.
        phase.connections = {name: count - connections[name] for name, count in self.connections().items()}
        phase.elapsed_s = round(time.monotonic() - phase.began_s, 2)


@contextmanager
def set_stage(lab: Lab, ledger: Ledger, *, say: Callable[[str], None]) -> Iterator[Stage]:
    """Start the archives, the agents and the daemon on a lab, and generate the studies meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as generator:
        studies = generator.submit(_generate_studies, lab.directory)
        say("starting PostgreSQL and three Orthanc archives")
        archives = {archive.node.name: archive for archive in start_archives(lab)}
        say("starting the load agents")
        agents = {node.name: Agent(node, file=lab.directory / f"{node.name}.agent") for node in lab.backends}
        say("compiling and attaching the XDP program, starting the daemon")
        daemon = Daemon(lab, config=configuration(lab))
        daemon.start(ready_within_s=30)
        say("waiting for the first checks")
        daemon.wait_states(POOL, dict.fromkeys(archives, "up"))
        stage = Stage(
            lab=lab,
            archives=archives,
            agents=agents,
            daemon=daemon,
            counter=lab.count_frames(lab.director),
            studies=studies.result(),
            ledger=ledger,
            directory=lab.directory,
        )
    ledger.set_up_s = round(time.monotonic() - ledger.began_s, 2)
    yield stage


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


def _generate_studies(directory: Path) -> tuple[Study, ...]:
    return tuple(generate_study(directory / f"study{seed}", seed=seed, instances=IMAGES) for seed in (1, 2, 3))
