"""A limit of connections for each backend, as the servers see it: never one more, none refused while there is room."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from lbctl.lab import dicom
from lbctl.lab.archives import AE_TITLE, DICOM_PORT
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.processes import signal_group
from lbctl.lab.studies import generate_study
from lbctl.lab.topology import VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.acceptance import peers
from tests.acceptance.stage import PEER, HeldAssociation, backends_by_name, backends_of, status_of
from tests.netns.director_rig import reload

LIMIT = 10
IMAGES = 3
"""A slow archive: an image takes it a second, so that associations overlap."""
REFUSED_WITHIN_S = 0.5
"""A client whose first SYN is lost learns of nothing before its second one, after 1 s."""
PORT = 9001


def configuration(lab: Lab, *, on_empty: str = "reset", resume_at: int = LIMIT - 1) -> str:
    """Archives with a limit. Probed once: at the servers nobody else is to be counted than the clients."""
    check = f"{{type: dicom-echo, called_ae: {AE_TITLE}, interval: 10m, rise: 1}}"
    limits = f"connection_limit: {LIMIT}, resume_at: {resume_at}, on_empty: {on_empty}"
    return f"""
interfaces:
  eth0: {{address: {lab.director.address}/24}}
services:
  pacs: {{vip: {VIP}, ports: [{DICOM_PORT}], pool: limited}}
pools:
  limited: {{kind: archive, storage: shared, {limits}, check: {check}, backends: {backends_of(lab)}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """Three DCMTK archives, each with a process for each association, and a limit each."""

    lab: Lab
    daemon: Daemon

    def connections(self) -> Counter[str]:
        """How many each server's kernel holds."""
        return Counter({node.name: connections_at(node, DICOM_PORT) for node in self.lab.backends})

    def wait_connections(self, expected: dict[str, int]) -> None:
        """Wait until the servers hold so many."""
        wait_until(
            lambda: self.connections() == expected,
            deadline_s=20,
            what=lambda: f"{expected} connections; there are {dict(self.connections())}",
        )

    def most_at_once(self, node: Node) -> int:
        """The most associations that a server had at the same time, by its log."""
        lines = log_of(self.lab, node).read_text().splitlines()
        changes = [("Association Acknowledged" in line) - ("Association Release" in line) for line in lines]
        return max(accumulate(changes), default=0)


def connections_at(node: Node, port: int) -> int:
    """Established ones, in the node's kernel."""
    return len(node.run(["ss", "-Htn", "state", "established", f"sport = :{port}"]).stdout.splitlines())


def log_of(lab: Lab, node: Node) -> Path:
    """What the node's archive says."""
    return lab.directory / f"{node.name}-storescp.log"


@pytest.fixture(scope="module")
def limited() -> Iterator[Limited]:
    with Lab(plan_lab(backends=3, clients=3)) as lab:
        slow = ["storescp", "--fork", "-v", "-aet", AE_TITLE, "--ignore", "--sleep-after", "1", str(DICOM_PORT)]
        for node in lab.backends:
            node.popen(slow, output=log_of(lab, node))
        for node in lab.backends:
            wait_until(partial(node.listens_on, DICOM_PORT), deadline_s=20, what=f"the archive of {node.name}")
        daemon = Daemon(lab, config=configuration(lab))
        daemon.start()
        daemon.wait_states("limited", {node.name: "up" for node in lab.backends})
        yield Limited(lab=lab, daemon=daemon)


def test_thirty_stores_at_once_on_three_archives_with_a_limit_of_ten_fill_them_and_none_is_refused(
    limited: Limited, tmp_path: Path
) -> None:
    lab = limited.lab
    files = generate_study(tmp_path / "ct", seed=81, instances=IMAGES).files
    full = {node.name: LIMIT for node in lab.backends}
    stores = [
        dicom.Store(lab.clients[number % 3], PEER, files, log=lab.directory / f"limited-{number}.log")
        for number in range(3 * LIMIT)
    ]
    limited.wait_connections(full)
    states = {name: row.state for name, row in backends_by_name(limited.daemon).items()}
    refused_s = seconds_until_refused(lab.clients[0])
    ended = [store.wait() for store in stores]
    most = {node.name: limited.most_at_once(node) for node in lab.backends}

    assert set(states.values()) == {"full"}
    assert refused_s < REFUSED_WITHIN_S
    assert [end.output for end in ended if not end.succeeded] == []
    assert most == full
    print(f"30 stores, 3 archives: at most {most}; the 31st association was refused after {refused_s * 1000:.1f} ms")


def test_limit_outlasts_the_daemon_and_who_is_beyond_it_waits_or_is_taken_in_as_the_file_says(
    limited: Limited, executor: ThreadPoolExecutor
) -> None:
    client = limited.lab.clients[0]
    with ExitStack() as associations:
        held = fill(associations, limited)
        limited.daemon.kill()
        limited.daemon.start()
        assert seconds_until_refused(client) < REFUSED_WITHIN_S
        assert reload(limited.daemon, configuration(limited.lab, on_empty="drop")).count("not reloaded") == 0
        with pytest.raises(TimeoutError):
            HeldAssociation(client, PEER, timeout_s=REFUSED_WITHIN_S)
        waiting = executor.submit(HeldAssociation, client, PEER)
        wait_until(lambda: has_half_open(client), deadline_s=5, what="the client to wait")
        held["backend2"].pop().drop()
        taken_in = waiting.result(timeout=20)
        associations.callback(taken_in.drop)
        assert taken_in.is_open
        assert limited.connections()["backend2"] == LIMIT

        reload(limited.daemon, configuration(limited.lab, resume_at=5))
        for left in range(LIMIT - 1, 5, -1):
            held["backend1"].pop().drop()
            assert seconds_until_refused(client) < REFUSED_WITHIN_S, left
        held["backend1"].pop().drop()
        again = [HeldAssociation(client, PEER) for _ in range(5)]
        for association in again:
            associations.callback(association.drop)
        assert all(association.is_open for association in again)
        limited.wait_connections({node.name: LIMIT for node in limited.lab.backends})
        assert seconds_until_refused(client) < REFUSED_WITHIN_S
    limited.wait_connections({node.name: 0 for node in limited.lab.backends})


def fill(associations: ExitStack, limited: Limited) -> dict[str, list[HeldAssociation]]:
    """Associations until every server is full, by server."""
    held: dict[str, list[HeldAssociation]] = {node.name: [] for node in limited.lab.backends}
    before: Counter[str] = Counter()
    for number in range(3 * LIMIT):
        association = HeldAssociation(limited.lab.clients[number % 3], PEER)
        associations.callback(association.drop)
        assert association.is_open
        now = limited.connections()
        (server,) = now - before
        held[server].append(association)
        before = now
    return held


def seconds_until_refused(client: Node) -> float:
    """How long it takes to be told that there is no room."""
    began = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        HeldAssociation(client, PEER)
    return time.monotonic() - began


def has_half_open(client: Node) -> bool:
    """Whether a connection of the client's is not answered yet."""
    return bool(client.run(["ss", "-Htn", "state", "syn-sent"]).stdout.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Relieved:
    """Two small servers, and one of another pool that takes what they cannot."""

    lab: Lab
    daemon: Daemon
    processes: dict[str, subprocess.Popen[Any]]

    @property
    def client(self) -> Node:
        """The only one."""
        return self.lab.clients[0]

    def visit(self) -> tuple[peers.Visit, str]:
        """A connection, and who answers it."""
        visit = peers.Visit(self.client, VIP, PORT)
        return visit, visit.ask()

    def wait_state(self, name: str, state: str) -> None:
        """Wait until lbctl says so."""
        wait_until(lambda: self._states()[name] == state, deadline_s=20, what=f"{name} to be {state}")

    def _states(self) -> dict[str, str]:
        return {row.name: row.state for pool in status_of(self.daemon).pools for row in pool.backends}


@pytest.fixture
def relieved() -> Iterator[Relieved]:
    with Lab(plan_lab(backends=3)) as lab:
        first, second, spare = lab.backends
        check = "{type: tcp, interval: 300ms, timeout: 200ms, fall: 2, rise: 1}"
        own = f"{{backend1: {{address: {first.address}}}, backend2: {{address: {second.address}}}}}"
        config = f"""
interfaces: {{eth0: {{address: {lab.director.address}/24}}}}
services: {{names: {{vip: {VIP}, ports: [{PORT}], pool: own}}}}
pools:
  own: {{kind: web, connection_limit: 3, fallback: spare, check: {check}, backends: {own}}}
  spare: {{kind: web, connection_limit: 3, check: {check}, backends: {{backend3: {{address: {spare.address}}}}}}}
"""
        processes = {node.name: peers.start(node, "names", port=PORT) for node in lab.backends}
        daemon = Daemon(lab, config=config)
        daemon.start()
        stage = Relieved(lab=lab, daemon=daemon, processes=processes)
        for name in processes:
            stage.wait_state(name, "up")
        yield stage


def test_fallback_pool_takes_the_overflow_and_all_while_the_others_are_down_and_keeps_what_it_has(
    relieved: Relieved,
) -> None:
    overflowing = [relieved.visit() for _ in range(8)]
    assert {server for _, server in overflowing[:6]} == {"backend1", "backend2"}
    assert servers_of(overflowing) == {"backend1": 3, "backend2": 3, "backend3": 2}
    own = relieved.lab.backends[:2]
    for node in own:
        signal_group(relieved.processes[node.name], signal.SIGKILL)
    for node in own:
        relieved.wait_state(node.name, "down")
    last = relieved.visit()
    assert last[1] == "backend3"
    with pytest.raises(ConnectionRefusedError):  # it is full, too, and has no fallback of its own
        relieved.visit()
    for node in own:
        peers.start(node, "names", port=PORT)
        relieved.wait_state(node.name, "up")
    returned = [relieved.visit() for _ in range(6)]
    assert servers_of(returned) == {"backend1": 3, "backend2": 3}
    kept = [visit.ask() for visit, server in (*overflowing, last) if server == "backend3"]
    assert kept == ["backend3"] * 3


def servers_of(visits: list[tuple[peers.Visit, str]]) -> Counter[str]:
    """How many connections each server has."""
    return Counter(server for _, server in visits)
