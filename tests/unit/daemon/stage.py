"""A daemon on fakes that runs: a test is a scene in which it plays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path

from lbctl.config.loader import parse
from lbctl.daemon.daemon import Daemon
from lbctl.daemon.models import Status
from lbctl.daemon.surroundings import Surroundings
from lbctl.dataplane.fake import FakeDataplane
from lbctl.errors import NetworkError
from lbctl.network.fake import FakeNetwork
from lbctl.network.port import Link
from tests.unit.daemon.rig import VIP, file
from tests.unit.daemon.served import LINK

DEADLINE_S = 10.0


class FlakyNetwork(FakeNetwork):
    """Netlink that fails while ``trouble`` is set."""

    trouble: str = ""

    async def link(self, name: str) -> Link:
        if self.trouble:
            raise NetworkError(self.trouble)
        return await super().link(name)

    async def set_probe_paths(self, paths: frozenset[object]) -> None:
        if self.trouble:
            raise NetworkError(self.trouble)


class Stage:
    """A daemon on fakes, brought up, with its loops running."""

    def __init__(
        self, directory: Path, *, link: Link = LINK, text: str = "", dataplane: FakeDataplane | None = None
    ) -> None:
        self.config, self.state = directory / "lbctl.yaml", directory / "state"
        self.config.write_text(text or file("a", "b"))
        self.network = FlakyNetwork([link], macs={IPv4Address(f"192.0.2.{n}"): bytes(5) + bytes([n]) for n in (11, 12)})
        self.dataplane = dataplane or FakeDataplane()
        self.surroundings = Surroundings(self.network)
        declaration = parse(self.config.read_text(), source="lbctl.yaml")
        self.daemon = Daemon(
            config=self.config,
            declaration=declaration,
            dataplane=self.dataplane,
            surroundings=self.surroundings,
            state=self.state,
        )
        self.link = link

    def status(self) -> Status:
        return self.daemon.operator.status()

    async def play(self, scene: Callable[[], Awaitable[None]]) -> None:
        declaration = parse(self.config.read_text(), source="lbctl.yaml")
        links = {"eth0": self.link}
        watching = asyncio.create_task(self.daemon.watch_network())
        claims = await self.surroundings.find_duplicates([VIP], declaration, links)
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
