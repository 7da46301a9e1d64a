"""A planner on fakes."""

from __future__ import annotations

import asyncio

from lbctl.config.loader import parse
from lbctl.core.features import features_of
from lbctl.daemon.changes.planning import Planner
from lbctl.daemon.models import PlanReport
from lbctl.daemon.surroundings import Surroundings
from lbctl.dataplane.fake import FakeDataplane
from lbctl.network.fake import FakeNetwork
from tests.unit.daemon.rig import LINK, Rig, file

OLD = file("a", "b")


class Bench:
    """A planner on fakes: all backends are up, and the kernel knows."""

    def __init__(self, text: str = OLD, *, dataplane: FakeDataplane | None = None) -> None:
        self.text = text
        self.rig = Rig(parse(text, source="lbctl.yaml"), dataplane=dataplane).up()
        self.dataplane, self.reconciler = self.rig.dataplane, self.rig.reconciler

    def plan(self, text: str) -> PlanReport:
        return asyncio.run(self._plan(text))

    async def _plan(self, text: str) -> PlanReport:
        planner = Planner(
            self.reconciler,
            self.dataplane,
            Surroundings(FakeNetwork([LINK])),
            changing=asyncio.Lock(),
            in_force=lambda: self.text,
            features=lambda: features_of(self.reconciler.declaration),
            books=dict,
        )
        return await planner.plan(text, source="new.yaml")

    def effects(self, text: str) -> list[str]:
        return [effect.text for effect in self.plan(text).effects]

    def drift(self) -> list[str]:
        return [drift.text for drift in self.plan(self.text).drift]
