"""An operator's desk: a reconciler on fakes, and all that the control API asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from lbctl.core.model import Address, Declaration
from lbctl.daemon.assigning import Assigner
from lbctl.daemon.facts import Facts
from lbctl.daemon.models import BackendStatus, PoolStatus
from lbctl.daemon.operating import Operator
from lbctl.daemon.reports.status import Reporter
from lbctl.daemon.state.overrides import OverrideStore
from lbctl.daemon.state.store import AssignmentStore, Remembered
from lbctl.daemon.watching import Watching
from lbctl.dataplane.fake import FakeDataplane
from lbctl.dataplane.port import Assigned, Attachment
from lbctl.errors import KernelError
from tests.unit.daemon.rig import Rig

CT, MR, US = (IPv4Address(f"192.0.2.{host}") for host in (201, 202, 203))
"""Sources."""

Answer = TypeVar("Answer")


class Desk:
    """All backends are up, and the state directory is the one given."""

    def __init__(
        self,
        state: Path,
        declaration: Declaration,
        *,
        dataplane: FakeDataplane | None = None,
        remembered: Mapping[str, Remembered] = MappingProxyType({}),
    ) -> None:
        self.rig = Rig(declaration, dataplane=dataplane, now=time.monotonic(), remembered=remembered).up()
        self.reconciler, self.dataplane = self.rig.reconciler, self.rig.dataplane
        self.state = state
        self.facts = Facts(started=self.rig.now, config=state / "lbctl.yaml", director=declaration.director)
        self.assigner = Assigner(self.reconciler, self.dataplane, AssignmentStore(state))
        self.attachments: dict[str, Attachment] = {}
        self.reporter = reporter = Reporter(
            self.reconciler,
            self.dataplane,
            self.facts,
            attachments=self.attachments,
            assigner=self.assigner,
            claims=tuple,
        )
        self.operator = Operator(
            reconciler=self.reconciler,
            reporter=reporter,
            assigner=self.assigner,
            watching=Watching(self.reconciler, self.dataplane),
            overrides=OverrideStore(state),
            changing=asyncio.Lock(),
            apply=self._apply,
        )

    async def _apply(self) -> bool:
        try:
            self.rig.reconcile()
        except KernelError:
            return False
        return True

    @staticmethod
    def hear(answer: Coroutine[Any, Any, Answer]) -> Answer:
        """What the operator, or the assigner, answers."""
        return asyncio.run(answer)

    def disk_refuses(self, name: str) -> None:
        """The file of that name cannot be written any more: a directory is in the way. That stops root, too."""
        (self.state / f"{name}.next").mkdir()

    def disk_recovers(self, name: str) -> None:
        """It can be written again."""
        (self.state / f"{name}.next").rmdir()

    def kernel_refuses(self) -> None:
        """From the next step on."""
        self.dataplane.fail_after = len(self.dataplane.written)

    def pool(self, name: str = "p") -> PoolStatus:
        """As `lbctl status` has it."""
        return next(pool for pool in self.operator.reporter.status().pools if pool.name == name)

    def backends(self, pool: str = "p") -> Mapping[str, BackendStatus]:
        """As `lbctl status` has them."""
        return {backend.name: backend for backend in self.pool(pool).backends}

    def connect(self, source: Address, backend: str) -> None:
        """A source's first connection: the program assigns it a backend."""
        self.dataplane.assigned[self.key(source)] = self.rig.reference(backend)

    def key(self, source: Address) -> Assigned:
        """Of an assignment in pool ``p``."""
        return Assigned(pool_id=self.rig.pool_id("p"), source=source)

    def assigned(self) -> Mapping[Address, str | int]:
        """What the program has: backends by name, or else the bare reference."""
        names = {self.rig.reference(b.name): b.name for b in self.reconciler.declaration.backends()}
        return {key.source: names.get(ref, ref) for key, ref in self.dataplane.assigned.items()}
