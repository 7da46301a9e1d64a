"""A daemon on fakes that runs: a test is a scene in which it plays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path

from lbctl.core.features import Features
from lbctl.core.model import Address
from lbctl.daemon.changes.starting import choose_start
from lbctl.daemon.daemon import Daemon
from lbctl.daemon.models import Status
from lbctl.daemon.surroundings import Surroundings
from lbctl.daemon.vips import announced_vips
from lbctl.dataplane.fake import FakeDataplane
from lbctl.errors import LbctlError, NetworkError
from lbctl.network.fake import FakeNetwork
from lbctl.network.port import Link, ProbePath
from tests.unit.daemon.rig import LINK, file

DEADLINE_S = 10.0
EVERYTHING = Features()
MACS: Mapping[Address, bytes] = {IPv4Address(f"192.0.2.{n}"): bytes(5) + bytes([n]) for n in (11, 12)}


class FlakyNetwork(FakeNetwork):
    """Netlink that fails while ``trouble`` is set."""

    trouble: str = ""

    async def link(self, name: str) -> Link:
        if self.trouble:
            raise NetworkError(self.trouble)
        return await super().link(name)

    async def set_probe_paths(self, paths: frozenset[ProbePath]) -> Mapping[int, LbctlError]:
        if self.trouble:
            raise NetworkError(self.trouble)
        return await super().set_probe_paths(paths)


class Stage:
    """A daemon on fakes, brought up, with its loops running."""

    def __init__(
        self,
        directory: Path,
        *,
        link: Link = LINK,
        others: tuple[Link, ...] = (),
        macs: Mapping[Address, bytes] = MACS,
        text: str = "",
        dataplane: FakeDataplane | None = None,
        features: Features = EVERYTHING,
    ) -> None:
        self.config, self.state = directory / "lbctl.yaml", directory / "state"
        self.config.write_text(text or file("a", "b"))
        self.network = FlakyNetwork([link, *others], macs=dict(macs))
        self.dataplane = dataplane or FakeDataplane()
        self.surroundings = Surroundings(self.network)
        self.start = choose_start(self.config, self.state)
        self.daemon = Daemon(
            config=self.config,
            start=self.start,
            dataplane=self.dataplane,
            surroundings=self.surroundings,
            state=self.state,
            features=features,
        )
        self.links = {each.name: each for each in (link, *others)}

    def status(self) -> Status:
        return self.daemon.operator.reporter.status()

    async def play(self, scene: Callable[[], Awaitable[None]]) -> None:
        declaration = self.start.declaration
        watching = asyncio.create_task(self.daemon.watch_network())
        links = {interface.name: self.links[interface.name] for interface in declaration.interfaces}
        claims = await self.surroundings.find_duplicates(announced_vips(declaration), declaration, links)
        await self.daemon.bring_up(links, claims=claims)
        loops = [watching, *(asyncio.create_task(loop) for loop in self.daemon.loops())]
        try:
            await scene()
        finally:
            for loop in loops:
                loop.cancel()
            await self.daemon.close()
            await self.surroundings.close()

    async def eventually(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 (the daemon has no event for a test)
                await asyncio.sleep(0.01)  # the pause between two looks
