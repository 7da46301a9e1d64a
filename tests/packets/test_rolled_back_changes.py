"""The kernel refuses a step of a change, or has something else than was written: what was in force before is put back, at every
step, and it is remembered what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from lbctl.core.features import Features
from lbctl.core.model import Declaration
from lbctl.core.tables import Tables
from lbctl.daemon.audit import Actor
from lbctl.daemon.changes.starting import choose_start
from lbctl.daemon.daemon import Daemon
from lbctl.daemon.models import HistoryEntry
from lbctl.daemon.monitor import Monitor
from lbctl.daemon.surroundings import Surroundings
from lbctl.dataplane.kernel import KernelDataplane
from lbctl.dataplane.port import Dataplane
from lbctl.errors import RolledBackError
from lbctl.network.fake import FakeNetwork
from tests.packets.interrupting import (
    AFTER,
    BEFORE,
    HEALTHY,
    LINK,
    Client,
    Faulty,
    clients,
    declared,
    mac_of,
    meaning,
    open_flows,
    taker,
)
from tests.packets.rig import Rig
from tests.tables import dangers

TEXTS = {"before": BEFORE, "after": AFTER}
FILES = {name: declared(text) for name, text in TEXTS.items()}
LEAST_STEPS = 20
SOMEBODY = Actor(name="erna", uid=1000, pid=7)


@pytest.fixture(autouse=True)
def everybody_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as it is declared: nobody is there to be probed."""

    def watch(self: Monitor, declaration: Declaration, routes: object) -> None:
        for backend in declaration.backends():
            self._on_probe(backend.label, HEALTHY)

    monkeypatch.setattr(Monitor, "watch", watch)


class Scene:
    """A daemon over the kernel's tables, which are made to fail; its network is a fake."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self.rig, self._next_port = rig, 40_000
        rig.forget()
        rig.hold(Tables())
        self.faulty = Faulty(KernelDataplane(rig.loaded, rig.pins))
        self.config, self.state = directory / "lbctl.yaml", directory / "state"
        self.config.write_text(BEFORE)
        macs = {backend.address: mac_of(backend.address) for file in FILES.values() for backend in file.backends()}
        self.surroundings = Surroundings(FakeNetwork([LINK], macs=macs))
        self.daemon = Daemon(
            config=self.config,
            start=choose_start(self.config, self.state),
            dataplane=cast(Dataplane, self.faulty),
            surroundings=self.surroundings,
            state=self.state,
            features=Features(),
        )

    async def begin(self) -> Mapping[Client, bytes]:
        """Up, with live flows: their servers."""
        declaration = FILES["before"]
        links = {"eth0": LINK}
        claims = await self.surroundings.find_duplicates([], declaration, links)
        await self.daemon.bring_up(links, claims=claims)
        flows = open_flows(self.rig, declaration)
        await self.daemon._sweeper.sweep()
        return flows

    async def apply(self, name: str) -> None:
        """One of the two files, from somewhere else."""
        text, base = TEXTS[name], self.daemon._facts.in_force.sha256
        await self.daemon.applier.apply(SOMEBODY, text=text, source=f"/srv/{name}.yaml", base=base, confirm_s=None)

    async def applied(self, name: str) -> dict[str, object]:
        """The same, without a fault: what the tables mean then."""
        await self.apply(name)
        return meaning(self.rig.dataplane.read(), FILES[name])

    def latest(self) -> HistoryEntry:
        return self.daemon.applier.history().entries[-1]

    def check(self, name: str, flows: Mapping[Client, bytes], expected: dict[str, object]) -> None:
        """A file is in force, in the tables and for packets; live flows keep their servers."""
        file, tables = FILES[name], self.rig.dataplane.read()
        assert self.daemon._reconciler.declaration == file
        assert meaning(tables, file) == expected
        assert dangers(tables) == []
        assert {client: taker(self.rig, client.next()) for client in flows} == flows
        found = {taker(self.rig, client.first()) for client in clients(file, ports=self._fresh_ports())}
        assert found <= {mac_of(backend.address) for backend in file.backends()}

    def _fresh_ports(self) -> range:
        """Of clients that never came before."""
        self._next_port += 4
        return range(self._next_port - 4, self._next_port)

    async def end(self) -> None:
        await self.daemon.close()
        await self.surroundings.close()


async def fail_at_every_step(scene: Scene, *, loses: bool) -> tuple[int, int]:
    """Apply with a fault at one step after another, until there is none left: how many were rolled back, and how many made no
    difference (what a step of an earlier try had written was there already)."""
    flows = await scene.begin()
    meanings = {name: await scene.applied(name) for name in ("after", "before")}
    rolled_back = harmless = 0
    while True:
        scene.faulty.arm(rolled_back + harmless, loses=loses)
        try:
            await scene.apply("after")
        except RolledBackError as error:
            rolled_back += 1
            scene.check("before", flows, meanings["before"])
            assert error.message == f"rolled back: {scene.latest().why}"
            assert (scene.latest().outcome, scene.config.read_text()) == ("failed", BEFORE)
        else:
            scene.check("after", flows, meanings["after"])
            assert (scene.latest().outcome, scene.config.read_text()) == ("in force", AFTER)
            if scene.faulty.struck is None:
                return rolled_back, harmless
            harmless += 1
            await scene.apply("before")


@pytest.mark.parametrize("loses", [False, True], ids=["refused", "lost"])
def test_change_with_a_fault_at_every_step_is_rolled_back_and_remembered(rig: Rig, tmp_path: Path, loses: bool) -> None:
    """The kernel refuses a step; or it says that it carried it out, and what is read back tells that it did not."""

    async def play() -> None:
        scene = Scene(rig, tmp_path)
        rolled_back, harmless = await fail_at_every_step(scene, loses=loses)
        print(f"{rolled_back} rolled back, {harmless} made no difference")
        assert rolled_back + harmless >= LEAST_STEPS
        assert harmless <= (2 if loses else 0)
        await scene.end()

    with rig.elsewhere():
        asyncio.run(play())
