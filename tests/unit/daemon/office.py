"""A daemon on fakes, and somebody who applies files to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from lbctl.daemon.audit import Actor
from tests.unit.daemon.rig import OTHER_VIP, VIP, file
from tests.unit.daemon.stage import Stage

ERNA = Actor(name="erna", uid=1000, pid=7)
FIRST, SECOND = file("a", "b"), "# at noon\n" + file("a", "b", "c", vips=(VIP, OTHER_VIP))


class Office(Stage):
    """A stage with somebody who applies files."""

    async def apply(
        self, text: str = SECOND, *, source: str = "/srv/b.yaml", base: str = "", confirm_s: float | None = None
    ) -> str:
        base = base or self.daemon._facts.in_force.sha256
        return await self.daemon.applier.apply(ERNA, text=text, source=source, base=base, confirm_s=confirm_s)

    async def roll_back(self, number: int | None = None) -> str:
        base = self.daemon._facts.in_force.sha256
        return await self.daemon.applier.roll_back(ERNA, number=number, base=base)

    def outcomes(self) -> list[tuple[str, str]]:
        return [(entry.how, entry.outcome) for entry in self.daemon.applier.history().entries]

    def vips(self) -> set[object]:
        """Of the services. (What is declared no more is answered for a little longer.)"""
        return {key.vip for key in self.dataplane.services}

    def warnings(self) -> str:
        return " ".join(self.status().daemon.warnings)

    def audited(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.state / "audit.jsonl").read_text().splitlines()]

    def act(self, scene: Callable[[], Awaitable[None]]) -> None:
        asyncio.run(self.play(scene))
