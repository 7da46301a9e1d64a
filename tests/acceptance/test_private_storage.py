"""Archives with a storage of their own: every source finds its studies, whatever becomes of weights, backends and director."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lbctl.errors import LabError
from lbctl.lab import dicom
from lbctl.lab.archives import AE_TITLE, DICOM_PORT, Archive, start_separate_archives
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import PREFIX_LENGTH, Node
from lbctl.lab.studies import Study, generate_study
from lbctl.lab.topology import SUBNET, VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.acceptance.stage import PEER, reboot
from tests.netns.director_rig import reload

POOL = "private"
SOURCES = 40
REFUSED = -1
"""In place of a number of studies: there was no association."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A modality with an address and a study of its own."""

    node: Node
    address: IPv4Address
    study: Study

    def speak_from_here(self) -> None:
        """DCMTK's tools cannot choose their address; the node's route to the VIP can."""
        self.node.ip(f"route replace {VIP}/32 dev {self.node.interface} src {self.address}")

    def store(self) -> bool:
        """Whether its study arrived."""
        self.speak_from_here()
        log = self.study.files[0].with_suffix(".log")
        return dicom.Store(self.node, PEER, self.study.files, log=log).wait().succeeded

    def find(self) -> int:
        """How often the VIP's archive has the study."""
        self.speak_from_here()
        try:
            return dicom.find_studies(self.node, PEER, self.study.study_uid)
        except LabError:
            return REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Three Orthancs that know nothing of each other, and forty sources."""

    lab: Lab
    daemon: Daemon
    archives: Mapping[str, Archive]
    sources: tuple[Source, ...]

    def store_all(self) -> list[bool]:
        """Every source stores its study."""
        with ThreadPoolExecutor(len(self.lab.clients)) as pool:
            done = pool.map(lambda own: [source.store() for source in own], self._by_node())
            return [each for own in done for each in own]

    def find_all(self) -> dict[IPv4Address, int]:
        """Every source looks for its study."""
        with ThreadPoolExecutor(len(self.lab.clients)) as pool:
            found = pool.map(lambda own: [(source.address, source.find()) for source in own], self._by_node())
            return dict(pair for own in found for pair in own)

    def _by_node(self) -> Iterable[list[Source]]:
        return [[source for source in self.sources if source.node is node] for node in self.lab.clients]

    def wait_assigned(self, count: int) -> dict[IPv4Address, str]:
        """Wait until lbctl has learnt from the program that so many sources are assigned."""
        wait_until(lambda: len(assignments(self.daemon)) == count, deadline_s=20, what=f"{count} assignments")
        return assignments(self.daemon)

    def wait_up(self) -> None:
        """Wait until all three take connections."""
        self.daemon.wait_states(POOL, dict.fromkeys(self.archives, "up"))


def assignments(daemon: Daemon) -> dict[IPv4Address, str]:
    """The backend of each source, as ``lbctl assign list`` has it."""
    rows = json.loads(daemon.ctl("assign", "list", POOL, "--json").stdout)["assignments"]
    return {IPv4Address(row["source"]): row["backend"] for row in rows}


def configuration(
    lab: Lab, weights: Mapping[str, int], *, port: int = DICOM_PORT, check: str, reassign: str = "removed"
) -> str:
    """A pool with private storage of these backends."""
    rows = ", ".join(f"{name}: {{address: {lab.node(name).address}, weight: {weights[name]}}}" for name in weights)
    return f"""
interfaces:
  eth0: {{address: {lab.director.address}/{PREFIX_LENGTH}}}
services:
  pacs: {{vip: {VIP}, ports: [{port}], pool: {POOL}}}
pools:
  {POOL}: {{kind: archive, storage: private, reassign: {reassign}, check: {{{check}}}, backends: {{{rows}}}}}
"""


def archives_configuration(lab: Lab, *weights: int) -> str:
    """All three archives."""
    check = f"type: dicom-echo, called_ae: {AE_TITLE}, interval: 1s, timeout: 800ms, fall: 3, rise: 1"
    names = (node.name for node in lab.backends)
    return configuration(lab, dict(zip(names, weights, strict=True)), check=check)


def make_sources(lab: Lab, directory: Path) -> Iterator[Source]:
    """Dealt out to the clients."""
    for number in range(SOURCES):
        node, address = lab.clients[number % len(lab.clients)], SUBNET[205 + number]
        node.ip(f"address add {address}/{PREFIX_LENGTH} dev {node.interface}")
        study = generate_study(directory / str(number), seed=9000 + number, instances=1)
        yield Source(node=node, address=address, study=study)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Lab(plan_lab(backends=3, clients=2)) as lab:
        archives = {archive.node.name: archive for archive in start_separate_archives(lab)}
        daemon = Daemon(lab, config=archives_configuration(lab, 100, 100, 100))
        daemon.start()
        playing = Stage(lab=lab, daemon=daemon, archives=archives, sources=tuple(make_sources(lab, tmp_path)))
        playing.wait_up()
        yield playing


def test_forty_sources_find_their_studies_after_all_that_may_happen_to_a_director(stage: Stage) -> None:
    daemon = stage.daemon
    assert all(stage.store_all())
    assigned = stage.wait_assigned(SOURCES)
    share = Counter(assigned.values())
    assert assigned.keys() == {source.address for source in stage.sources}
    assert share == {name: archive.count_instances() for name, archive in stage.archives.items()}
    assert len(share) == 3
    everybody = dict.fromkeys(assigned, 1)

    assert reload(daemon, archives_configuration(stage.lab, 5, 100, 250)).endswith(f"reloaded {daemon.config}")
    daemon.ctl("drain", f"{POOL}/backend2")
    assert stage.find_all() == {source: REFUSED if name == "backend2" else 1 for source, name in assigned.items()}
    daemon.ctl("enable", f"{POOL}/backend2")
    daemon.kill()
    daemon.start()
    stage.wait_up()
    assert stage.find_all() == everybody

    reboot(daemon)
    stage.wait_up()
    assert stage.find_all() == everybody
    assert assignments(daemon) == assigned
    assert share == {name: archive.count_instances() for name, archive in stage.archives.items()}
    print(f"{SOURCES} sources, shared as {dict(share)}: all found their studies, 3 times")
