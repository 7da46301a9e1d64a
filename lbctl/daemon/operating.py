"""What an operator may ask of the running daemon: the control API's other side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from lbctl.core.addresses import by_number
from lbctl.core.model import Address, Pool, Storage
from lbctl.core.standing import Override
from lbctl.daemon import words
from lbctl.daemon.assigning import Assigner
from lbctl.daemon.models import Assignment, Assignments, EventStatus, Flows, Status
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.reporting import Reporter
from lbctl.daemon.store import OverrideStore, with_override
from lbctl.daemon.watching import Watching


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

    def status(self) -> Status:
        """Everything, as of now."""
        return self.reporter.status()

    def flows(self, limit: int, backend: str | None) -> Flows:
        """May be called from another thread."""
        return self.reporter.flows(limit, backend)

    def events(self, *, flows: bool, drops: bool) -> AsyncIterator[tuple[EventStatus, ...]]:
        """Batches of events from now on, perhaps empty ones."""
        return self.watching.events(flows=flows, drops=drops)

    async def drain(self, label: str) -> str:
        """No new connections; live ones go on."""
        active = self._active(label)
        done = await self._override(label, Override.DRAINED)
        return done or words.drained(
            label,
            takers=self._takers(label),
            before=active,
            active=self._active(label),
            sources=self._sources(label),
        )

    async def halt(self, label: str) -> str:
        """No new connections, and an end to those there are."""
        done = await self._override(label, Override.HALTED)
        return done or words.halted(label, takers=self._takers(label), sources=self._sources(label))

    async def enable(self, label: str) -> str:
        """End a drain or a halt."""
        return await self._override(label, None) or words.enabled(label, active=self._active(label))

    async def _override(self, label: str, wanted: Override | None) -> str:
        """On disk first, then in the kernel, then said. What there is to say if that is not all done, else nothing."""
        self.reconciler.require_backend(label)
        word = wanted.value if wanted else "enabled"
        async with self.changing:
            before = self.reconciler.overrides
            if before.of(label) is wanted:
                return f"{label} was {word} already"
            after = with_override(before, label, to=wanted)
            await asyncio.to_thread(self.overrides.save, after)
            self.reconciler.overrides = after
            if not await self.apply():
                return f"{label} will be {word}: it is saved, but the kernel refused for now; lbctl goes on trying"
        return ""

    def _takers(self, label: str) -> frozenset[str]:
        return self.reconciler.takers(label.partition("/")[0])

    def _active(self, label: str) -> str | None:
        """The backend that is active in this one's pool, if only one is."""
        return self.reconciler.actives.get(label.partition("/")[0])

    def _sources(self, label: str) -> int:
        """How many sources are assigned to a backend."""
        pool, _, name = label.partition("/")
        return list(self.assigner.books.get(pool, {}).values()).count(name)

    async def activate(self, label: str) -> str:
        """Make a backend the active one of its pool."""
        self.reconciler.require_backend(label)
        pool, _, name = label.partition("/")
        async with self.changing:
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
        found = self._private(pool)
        self.reconciler.require_backend(f"{pool}/{backend}")
        words.require_source(source, found)
        async with self.changing:
            await self.assigner.settle()
            await self.assigner.assign(found, source, backend)
        return f"{source} goes to {pool}/{backend} from its next connection on; what it stored elsewhere stays there"

    async def unassign(self, pool: str, source: Address) -> str:
        """Let the next connection of a source find a backend anew."""
        found = self._private(pool)
        async with self.changing:
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
