"""What a proposed file would change: computed from what the daemon knows, without changing any of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from lbctl.config.describe import warnings
from lbctl.core.assignments import Book
from lbctl.core.drift import drift
from lbctl.core.effects.outlook import Live, Outlook
from lbctl.core.features import Features
from lbctl.core.ids import identity
from lbctl.core.model import Declaration
from lbctl.core.shares import shares_of
from lbctl.daemon.changes.history import digest
from lbctl.daemon.changes.reading import Reader
from lbctl.daemon.changes.rehearsing import Rehearsal
from lbctl.daemon.models.changes import PlanReport
from lbctl.daemon.models.planned import nothing_changes, planned
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.surroundings import Surroundings
from lbctl.dataplane.port import Dataplane

_LOOKS = 5
"""So often the tables are read while others write them, before that is waited for."""


class Planner:
    """``in_force`` tells the text that is in force, ``features`` those of the program at work, ``books`` who was assigned which
    archive. ``changing`` is held while facts change."""

    def __init__(
        self,
        reconciler: Reconciler,
        dataplane: Dataplane,
        surroundings: Surroundings,
        *,
        changing: asyncio.Lock,
        in_force: Callable[[], str],
        features: Callable[[], Features],
        books: Callable[[], Mapping[str, Book]],
    ) -> None:
        self.reader = Reader()
        self._reconciler = reconciler
        self._dataplane = dataplane
        self._surroundings = surroundings
        self._books = books
        self._changing = changing
        self._in_force = in_force
        self._features = features
        self._one_at_a_time = asyncio.Lock()

    async def plan(self, text: str, *, source: str) -> PlanReport:
        """The report; one is made at a time. `LbctlError` where an apply would be refused, too: the text is no configuration,
        an interface is not as it declares, the tables have no room."""
        async with self._one_at_a_time:
            return await self._plan(text, source=source)

    async def _plan(self, text: str, *, source: str) -> PlanReport:
        base, proposed = digest(self._in_force()), digest(text)
        declaration = None
        if proposed != base:
            declaration = await self.reader.declaration(text, source=source)
        found = await self._drift()
        async with self._changing:  # else what is in force may be a file that is only being tried
            generation = self._reconciler.generation
            differs = declaration is not None and declaration != self._reconciler.declaration
            compute = await self._rehearsed(declaration) if declaration and differs else None
        if declaration is None or compute is None:
            return nothing_changes(base=base, proposed=proposed, source=source, generation=generation, drift=found)
        outlook = await asyncio.to_thread(compute)
        return await asyncio.to_thread(
            planned,
            outlook,
            base=base,
            proposed=proposed,
            source=source,
            generation=generation,
            features=self._features(),
            drift=found,
            warnings=warnings(declaration),
        )

    async def _rehearsed(self, declaration: Declaration) -> Callable[[], Outlook]:
        """The facts are taken at once; what it gives back may take its time, in a thread."""
        links = await self._surroundings.links(declaration)
        now = time.monotonic()
        before, after, live = Rehearsal(self._reconciler), Rehearsal(self._reconciler), self._live()
        in_force = self._reconciler.declaration

        def compute() -> Outlook:
            was, will_be = before.tables(now=now), after.tables_with(declaration, links, now=now)
            return Outlook(before=in_force, after=declaration, was=was, will_be=will_be, live=live)

        return compute

    def _live(self) -> Live:
        reconciler, sweep = self._reconciler, self._reconciler.sweep
        labels = {
            number: reconciler.index.labels.get(row.identity) for number, row in reconciler.current.backends.items()
        }
        connected = self._dataplane.connections()
        return Live(
            connections={label: connected[i].connections for i, label in labels.items() if label and i in connected},
            flows=sweep.services if sweep else None,
            sources=_sources(self._books()),
        )

    async def _drift(self) -> tuple[str, ...]:
        """The tables are read in a thread. If the daemon wrote to them meanwhile, they are read again; if it never stops, it is
        kept from it for that moment."""
        for _ in range(_LOOKS):
            written = self._reconciler.current
            found = await asyncio.to_thread(self._dataplane.read)
            if written is self._reconciler.current:
                return await asyncio.to_thread(drift, found, written=written, names=self._names())
        async with self._changing:
            written, found = self._reconciler.current, self._dataplane.read()
        return drift(found, written=written, names=self._names())

    def _names(self) -> Mapping[int, str]:
        shares = {identity(share.name): share.name for share in shares_of(self._reconciler.declaration)}
        return shares | self._reconciler.labels


def _sources(books: Mapping[str, Book]) -> Mapping[str, int]:
    """How many sources each backend was assigned, by label."""
    counts: dict[str, int] = {}
    for pool, book in books.items():
        for name in book.values():
            counts[f"{pool}/{name}"] = counts.get(f"{pool}/{name}", 0) + 1
    return counts
