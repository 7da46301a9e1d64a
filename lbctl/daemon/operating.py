"""What an operator may ask of the running daemon: the control API's other side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from lbctl.core.addresses import by_number
from lbctl.core.model import Address, Pool, Storage
from lbctl.core.targets import Target
from lbctl.daemon import words
from lbctl.daemon.assigning import Assigner
from lbctl.daemon.models import Assignment, Assignments, EventStatus, Flows, Status, TargetStatus
from lbctl.daemon.overriding import Overriding
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.reports.status import Reporter
from lbctl.daemon.state.overrides import OverrideStore
from lbctl.daemon.watching import Watching

SETTLED_S = 5.0
"""So long a look waits for the end of a change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """``changing`` is held while facts change; ``apply`` carries out what follows, and tells whether the kernel took it."""

    reconciler: Reconciler
    reporter: Reporter
    assigner: Assigner
    watching: Watching
    overrides: OverrideStore
    changing: asyncio.Lock
    apply: Callable[[], Awaitable[bool]]

    @property
    def overriding(self) -> Overriding:
        """The part of it that is about drains, halts and weights."""
        return Overriding(
            reconciler=self.reconciler,
            assigner=self.assigner,
            store=self.overrides,
            changing=self.changing,
            apply=self.apply,
        )

    async def _settled(self) -> None:
        """The change that is under way is over: while it is made, nobody can tell what is in force. But what hangs must be
        seen, too, so it is not waited for forever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_S), self.changing:
                pass

    async def status(self) -> Status:
        """Everything, as of now."""
        await self._settled()
        return await self.reporter.status_in_turns()

    def flows(self, limit: int, backend: str | None) -> Flows:
        """May be called from another thread."""
        return self.reporter.flows(limit, backend)

    def events(self, *, flows: bool, drops: bool) -> AsyncIterator[tuple[EventStatus, ...]]:
        """Batches of events from now on, perhaps empty ones."""
        return self.watching.events(flows=flows, drops=drops)

    async def target(self, target: Target) -> TargetStatus:
        """The backends that are meant, in brief. Who waits for one is not told that it was removed by a file that is only
        being tried."""
        await self._settled()
        return self.reporter.target(target)

    async def drain(self, target: Target, *, spare_last: bool = False) -> str:
        """No new connections; live ones go on."""
        return await self.overriding.drain(target, spare_last=spare_last)

    async def halt(self, target: Target) -> str:
        """No new connections, and an end to those there are."""
        return await self.overriding.halt(target)

    async def enable(self, target: Target, *, slow_start_s: float | None = None) -> str:
        """End a drain or a halt."""
        return await self.overriding.enable(target, slow_start_s=slow_start_s)

    async def weigh(self, target: Target, weight: int | None) -> str:
        """Another weight than the declared one, or that one again."""
        return await self.overriding.weigh(target, weight)

    async def activate(self, label: str) -> str:
        """Make a backend the active one of its pool."""
        pool, _, name = label.partition("/")
        async with self.changing:
            self.reconciler.require_backend(label)
            if self.reconciler.actives.get(pool) == name:
                return f"{label} was active already"
            former = self.reconciler.activate(label)
            if not await self.apply():
                return f"{label} will be active, but the kernel refused for now; lbctl goes on trying"
        return words.activated(label, former)

    def assignments(self, pool: str | None) -> Assignments:
        """May be called from another thread."""
        books = self.assigner.books
        wanted = [self._private(pool).name] if pool else list(books)
        return Assignments(
            assignments=tuple(
                Assignment(pool=name, source=source, backend=backend)
                for name in wanted
                for source, backend in sorted(books.get(name, {}).items(), key=lambda each: by_number(each[0]))
            )
        )

    async def assign(self, pool: str, source: Address, backend: str) -> str:
        """Give a source another backend."""
        async with self.changing:
            found = self._private(pool)
            self.reconciler.require_backend(f"{pool}/{backend}")
            words.require_source(source, found)
            await self.assigner.settle()
            await self.assigner.assign(found, source, backend)
        return f"{source} goes to {pool}/{backend} from its next connection on; what it stored elsewhere stays there"

    async def unassign(self, pool: str, source: Address) -> str:
        """Let the next connection of a source find a backend anew."""
        async with self.changing:
            found = self._private(pool)
            await self.assigner.settle()  # the source may be known to the program only
            if source not in self.assigner.books.get(pool, {}):
                return f"{source} has no backend of its own in pool {pool}"
            await self.assigner.assign(found, source, None)
        return f"{source} is given a backend anew at its next connection; what it stored before stays where it is"

    def _private(self, name: str) -> Pool:
        """`UsageError` if there is no such pool, or none with private storage."""
        pools = self.reconciler.declaration.pools
        words.require_private(name, {pool.name: pool.storage is Storage.PRIVATE for pool in pools})
        return self.reconciler.declaration.pool(name)
