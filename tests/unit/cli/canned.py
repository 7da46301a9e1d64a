"""A daemon with sample answers; it answers a command with what it was told."""

from __future__ import annotations

from collections.abc import AsyncIterator

from lbctl.core.model import Address
from lbctl.daemon.models import Assignments, EventStatus, Flows, Status
from lbctl.errors import UsageError
from tests.unit.cli import sample_events, samples

_PRIVATE = ("archives", "empty", "images")


class Canned:
    """Keeps nothing, so that many tests may share one."""

    def status(self) -> Status:
        return samples.status()

    def flows(self, limit: int, backend: str | None) -> Flows:
        found = tuple(f for f in samples.flows().flows if backend in (None, f.backend.removesuffix(" (removed)")))
        return Flows(flows=found[:limit], truncated=len(found) > limit or samples.flows().truncated)

    async def events(self, *, flows: bool, drops: bool) -> AsyncIterator[tuple[EventStatus, ...]]:
        yield ()
        wanted = {"flow"} if not drops else {"drop"} if not flows else {"flow", "drop"}
        yield tuple(event for event in sample_events.events() if event.kind in wanted)

    async def drain(self, label: str) -> str:
        return f"drain {label}"

    async def halt(self, label: str) -> str:
        return f"halt {label}"

    async def enable(self, label: str) -> str:
        return f"enable {label}"

    async def activate(self, label: str) -> str:
        return f"activate {label}"

    def assignments(self, pool: str | None) -> Assignments:
        if pool is not None and pool not in _PRIVATE:
            raise UsageError(f"there is no pool {pool}", hint=f"those with private storage are: {', '.join(_PRIVATE)}")
        return samples.assignments(pool)

    async def assign(self, pool: str, source: Address, backend: str) -> str:
        return f"assign {pool} {source} {backend}"

    async def unassign(self, pool: str, source: Address) -> str:
        return f"unassign {pool} {source}"
