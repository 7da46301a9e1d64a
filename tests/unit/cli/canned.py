"""A daemon with sample answers; it answers a command with what it was told."""

from __future__ import annotations

from collections.abc import AsyncIterator

from lbctl.core.model import Address
from lbctl.core.targets import Target
from lbctl.daemon.models import Assignments, EventStatus, Flows, Status, TargetStatus
from lbctl.errors import UsageError
from tests.unit.cli import sample_events, samples

_PRIVATE = ("archives", "empty", "images")


class Canned:
    """Keeps nothing, so that many tests may share one."""

    async def status(self) -> Status:
        return samples.status()

    def flows(self, limit: int, backend: str | None) -> Flows:
        found = tuple(f for f in samples.flows().flows if backend in (None, f.backend.removesuffix(" (removed)")))
        return Flows(flows=found[:limit], truncated=len(found) > limit or samples.flows().truncated)

    async def events(self, *, flows: bool, drops: bool) -> AsyncIterator[tuple[EventStatus, ...]]:
        yield ()
        wanted = {"flow"} if not drops else {"drop"} if not flows else {"flow", "drop"}
        yield tuple(event for event in sample_events.events() if event.kind in wanted)

    async def target(self, target: Target) -> TargetStatus:
        return samples.target(target)

    async def drain(self, target: Target, *, spare_last: bool = False) -> str:
        return f"drain {target}" + (" unless it is the last" if spare_last else "")

    async def halt(self, target: Target) -> str:
        return f"halt {target}"

    async def enable(self, target: Target, *, slow_start_s: float | None = None) -> str:
        return f"enable {target}" + (f" in {slow_start_s:g} s" if slow_start_s else "")

    async def weigh(self, target: Target, weight: int | None) -> str:
        return f"weigh {target} {weight}"

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
