"""Keeps the assignments of sources to backends: on disk, in the program's map, and both in step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from types import MappingProxyType

from lbctl.core.assignments import Book, private_pools, settle
from lbctl.core.ids import identity
from lbctl.core.model import Address, Pool
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.state.store import Assigned as Saved
from lbctl.daemon.state.store import AssignmentStore
from lbctl.dataplane.layout import ASSIGNMENTS
from lbctl.dataplane.port import Assigned, Dataplane

_log = logging.getLogger(__name__)


class Assigner:
    """``books`` has the assignments of each pool that ever had some; the mappings in it are never changed in place. ``taken``
    are those that a change took away which does not stay."""

    def __init__(
        self,
        reconciler: Reconciler,
        dataplane: Dataplane,
        store: AssignmentStore,
        *,
        taken: Mapping[str, Book] = MappingProxyType({}),
    ) -> None:
        self._reconciler = reconciler
        self._dataplane = dataplane
        self._store = store
        self._saved: Mapping[str, Book] = store.load().pools
        self.books: Mapping[str, Book] = _with(self._saved, taken)

    @property
    def has_work(self) -> bool:
        """Whether there is a pool with private storage."""
        return bool(private_pools(self._reconciler.declaration))

    @property
    def is_full(self) -> bool:
        """Whether the program can note no more sources."""
        return sum(map(len, self.books.values())) >= ASSIGNMENTS

    async def settle(self) -> None:
        """Learn what the program assigned, let go of what is to be assigned anew, and have the program and the disk hold the
        rest."""
        if not self.has_work:
            return
        found = self._dataplane.assignments()
        self._forget_strays(found)
        standings, names = self._reconciler.standings(), self._names()
        for pool in private_pools(self._reconciler.declaration):
            pool_id = self._pool_id(pool)
            if pool_id is None:
                continue
            before = self.books.get(pool.name, {})
            of_pool = {key.source: ref for key, ref in found.items() if key.pool_id == pool_id}
            after = settle(
                pool,
                book=before,
                found=of_pool,
                refs=self._refs(pool),
                standings=standings,
                names=names.get(pool.name, {}),
            )
            if after.writes:
                self._dataplane.assign({_key(pool_id, source): ref for source, ref in after.writes.items()})
            self.books = {**self.books, pool.name: after.book}
            _log_changes(pool.name, before, after.book)
        await self._save()

    def _forget_strays(self, found: Mapping[Assigned, int]) -> None:
        """Entries of pools that are gone or share their storage now: another pool may get that id."""
        ids = {self._pool_id(pool) for pool in private_pools(self._reconciler.declaration)}
        strays = dict.fromkeys(key for key in found if key.pool_id not in ids)
        if strays:
            self._dataplane.assign(strays)

    async def give_back(self, taken: Mapping[str, Book]) -> None:
        """These hold again, but for sources that have another backend by now."""
        self.books = _with(self.books, taken)
        await self.settle()

    async def assign(self, pool: Pool, source: Address, backend: str | None) -> None:
        """An operator's word: this backend from now on, or whichever the next connection finds. On disk first."""
        others = {known: name for known, name in self.books.get(pool.name, {}).items() if known != source}
        book = {**others, source: backend} if backend else others
        before, self.books = self.books, {**self.books, pool.name: book}
        try:
            await self._save()
        except BaseException:
            self.books = before
            raise
        ref = self._refs(pool).get(backend) if backend else None
        pool_id = self._pool_id(pool)
        if pool_id is not None:
            self._dataplane.assign({_key(pool_id, source): ref})

    async def _save(self) -> None:
        if self.books != self._saved:
            await asyncio.to_thread(
                self._store.save, Saved(pools={name: dict(book) for name, book in self.books.items()})
            )
            self._saved = self.books

    def _pool_id(self, pool: Pool) -> int | None:
        """``None`` if the kernel refused the pool so far: it is settled once it is there."""
        rows = self._reconciler.current.pools.items()
        return next((number for number, row in rows if row.identity == identity(pool.name)), None)

    def _refs(self, pool: Pool) -> Mapping[str, int]:
        """References of the pool's backends, by name."""
        tables = self._reconciler.current
        known = {row.identity: tables.reference(number) for number, row in tables.backends.items()}
        keys = {backend.name: identity(backend.key) for backend in pool.backends}
        return {name: known[key] for name, key in keys.items() if key in known}

    def _names(self) -> Mapping[str, Mapping[int, str]]:
        """What references mean by name, for each pool, also those of backends that it no longer has."""
        tables, labels = self._reconciler.current, self._reconciler.labels
        found: dict[str, dict[int, str]] = {}
        for number, row in tables.backends.items():
            pool, _, name = labels.get(row.identity, "").partition("/")
            found.setdefault(pool, {})[tables.reference(number)] = name
        return found


def _with(books: Mapping[str, Book], taken: Mapping[str, Book]) -> Mapping[str, Book]:
    """What was taken from sources that have nothing else by now is theirs again."""
    return {**books, **{name: {**book, **books.get(name, {})} for name, book in taken.items()}}


def _key(pool_id: int, source: Address) -> Assigned:
    return Assigned(pool_id=pool_id, source=source)


def _log_changes(pool: str, before: Book, after: Book) -> None:
    new, freed = len(after.keys() - before.keys()), len(before.keys() - after.keys())
    if new:
        _log.info("pool %s: %d sources assigned for the first time", pool, new)
    if freed:
        _log.warning("pool %s: %d sources whose backend is gone will be assigned anew", pool, freed)
