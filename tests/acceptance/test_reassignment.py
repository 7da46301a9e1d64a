"""A source whose archive is gone: by default it is refused rather than sent where its studies are not."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from lbctl.cli.client import get
from lbctl.core.model import Address
from lbctl.daemon.models import Assignments
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import PREFIX_LENGTH, Node
from lbctl.lab.processes import signal_group
from lbctl.lab.topology import SUBNET, VIP, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.acceptance import peers
from tests.netns.director_rig import reload

POOL = "private"
PORT = 9001
SOURCES = tuple(SUBNET[205 + number] for number in range(30))
REFUSED = "refused"
EVERYBODY = ("backend1", "backend2", "backend3")


@dataclass(slots=True, kw_only=True)
class Stage:
    """Three servers that tell their names, and sources on one client."""

    lab: Lab
    daemon: Daemon
    processes: dict[str, subprocess.Popen[Any]] = field(default_factory=dict)

    @property
    def client(self) -> Node:
        """It has all the sources' addresses."""
        return self.lab.clients[0]

    def answering(self, source: Address) -> str:
        """Who answers a new connection of a source."""
        try:
            visit = peers.Visit(self.client, VIP, PORT, source=source)
        except ConnectionRefusedError:
            return REFUSED
        try:
            return visit.ask()
        finally:
            visit.close()

    def homes(self) -> dict[Address, str]:
        """Who answers each of them."""
        return {source: self.answering(source) for source in SOURCES}

    def wait_assigned(self, expected: Mapping[Address, str]) -> None:
        """Wait until lbctl has learnt the assignments from the program."""
        wait_until(
            lambda: self._assigned() == expected,
            deadline_s=20,
            what=lambda: f"{expected} to be assigned; it is {self._assigned()}",
        )

    def _assigned(self) -> dict[Address, str]:
        found = get(self.daemon.socket, f"/v1/assignments?pool={POOL}", Assignments).assignments
        return {row.source: row.backend for row in found}

    def assign(self, *words: str) -> str:
        """``lbctl assign``."""
        return self.daemon.ctl("assign", *words).stdout

    def declare(self, *names: str, reassign: str) -> None:
        """Another file, with these backends."""
        said = reload(self.daemon, configuration(self.lab, *names, reassign=reassign))
        assert said.endswith(f"reloaded {self.daemon.config}"), said

    def kill(self, name: str) -> None:
        """End a server, and wait until it is down."""
        signal_group(self.processes[name], signal.SIGKILL)
        self.wait_state(name, "down")

    def serve(self, name: str) -> None:
        """Start a server."""
        self.processes[name] = peers.start(self.lab.node(name), "names", port=PORT)

    def wait_state(self, name: str, state: str) -> None:
        """Wait until lbctl says so."""
        self.daemon.wait_states(POOL, {name: state})


def configuration(lab: Lab, *names: str, reassign: str) -> str:
    """A pool with private storage."""
    rows = ", ".join(f"{name}: {{address: {lab.node(name).address}}}" for name in names)
    check = "{type: tcp, interval: 300ms, timeout: 200ms, fall: 2, rise: 1}"
    return f"""
interfaces:
  eth0: {{address: {lab.director.address}/{PREFIX_LENGTH}}}
services:
  pacs: {{vip: {VIP}, ports: [{PORT}], pool: {POOL}}}
pools:
  {POOL}: {{kind: archive, storage: private, reassign: {reassign}, check: {check}, backends: {{{rows}}}}}
"""


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Lab(plan_lab(backends=3)) as lab:
        daemon = Daemon(lab, config=configuration(lab, *EVERYBODY, reassign="never"))
        playing = Stage(lab=lab, daemon=daemon)
        for name in EVERYBODY:
            playing.serve(name)
        for source in SOURCES:
            playing.client.ip(f"address add {source}/{PREFIX_LENGTH} dev eth0")
        daemon.start()
        for name in EVERYBODY:
            playing.wait_state(name, "up")
        yield playing


def test_source_of_an_archive_that_is_gone_is_given_another_only_if_the_file_says_so(stage: Stage) -> None:
    homes = stage.homes()
    refused = {source: REFUSED if home == "backend3" else home for source, home in homes.items()}
    orphans = [source for source, home in homes.items() if home == "backend3"]
    assert set(homes.values()) == set(EVERYBODY)
    stage.wait_assigned(homes)

    stage.kill("backend3")
    assert stage.homes() == refused
    stage.declare("backend1", "backend2", reassign="never")
    assert stage.homes() == refused
    stage.wait_assigned(homes)
    stage.declare(*EVERYBODY, reassign="removed")
    assert stage.homes() == refused

    stage.declare("backend1", "backend2", reassign="removed")
    moved = stage.homes()
    assert REFUSED not in moved.values()
    assert {source: moved[source] for source in SOURCES if source not in orphans} == {
        source: home for source, home in homes.items() if source not in orphans
    }
    stage.wait_assigned(moved)

    stage.serve("backend3")
    stage.declare(*EVERYBODY, reassign="down")
    stage.wait_state("backend3", "up")
    assert stage.homes() == moved  # nobody is moved to what is new, or back
    stage.kill("backend1")
    again = stage.homes()
    assert set(again.values()) == {"backend2", "backend3"}
    assert all(again[source] == "backend2" for source, home in moved.items() if home == "backend2")
    stage.wait_assigned(again)
    stage.serve("backend1")
    stage.wait_state("backend1", "up")
    assert stage.homes() == again


def test_operator_s_word_moves_the_new_connections_of_one_source_and_no_live_one(stage: Stage) -> None:
    homes = stage.homes()
    stage.wait_assigned(homes)
    source, home = next(iter(homes.items()))
    other = next(name for name in EVERYBODY if name != home)
    live = peers.Visit(stage.client, VIP, PORT, source=source)
    said = stage.assign("set", POOL, str(source), other)
    assert "what it stored elsewhere stays there" in said
    assert stage.homes() == {**homes, source: other}
    assert live.ask() == home
    stage.wait_assigned({**homes, source: other})

    stage.assign("remove", POOL, str(source))
    assert str(source) not in stage.assign("list", POOL)
    assert stage.homes() == homes  # by weight and hash, as the first time
    stage.wait_assigned(homes)
    assert stage.assign("list", POOL).count(home) == list(homes.values()).count(home)
    refused = stage.daemon.ctl("assign", "set", POOL, str(source), "backend9", check=False)
    assert (refused.returncode, "backend9" in refused.stderr) == (2, True)
