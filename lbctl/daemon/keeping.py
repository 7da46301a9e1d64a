"""What is learnt while the daemon runs and must outlast the machine: who is active, which source has which backend, and who
was up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from lbctl.daemon.assigning import Assigner
from lbctl.daemon.facts import Facts
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.state.store import Actives, ActiveStore, HealthStore, Remembered, Remembrance
from lbctl.errors import LbctlError

INTERVAL_S = 2.0
"""What the program assigned in the meantime is lost if the machine loses its power."""
ROUNDS_FOR_PERCENTS = 15
"""Capacities change all the time: they are written so many intervals apart, unless somebody went up or down."""


class Keeper:
    """Writes to the state directory what has changed."""

    def __init__(self, reconciler: Reconciler, assigner: Assigner, state: Path) -> None:
        self._reconciler = reconciler
        self._assigner = assigner
        self._store = ActiveStore(state)
        self._saved = self._store.load().active
        self._health = HealthStore(state)
        self._remembered = self._health.recall()
        self._rounds = 0

    async def keep(self, facts: Facts) -> None:
        """At once. What cannot be written is told, and tried again at the next call: traffic does not wait for a disk."""
        for keep in (self._save_actives, self._assigner.settle):
            await self._try(keep, facts)

    @staticmethod
    async def _try(keep: Callable[[], Awaitable[None]], facts: Facts) -> None:
        try:
            await keep()
        except LbctlError as error:
            facts.failed(error)

    async def _save_actives(self) -> None:
        actives = dict(self._reconciler.actives)
        if actives != self._saved:
            await asyncio.to_thread(self._store.save, Actives(active=actives))
            self._saved = actives

    async def save_health(self) -> None:
        """Who is up, if that has changed; and now and then the capacities. Not more often than it is called."""
        self._rounds += 1
        found = self._reconciler.observed.to_remember(self._remembered)
        is_same = _who_is_up(found) == _who_is_up(self._remembered)
        if found == self._remembered or (is_same and self._rounds < ROUNDS_FOR_PERCENTS):
            return
        await asyncio.to_thread(self._health.save, Remembrance(backends=dict(found)))
        self._remembered, self._rounds = found, 0

    async def keep_forever(self, changing: asyncio.Lock, facts: Facts) -> None:
        """Every few seconds; what the kernel's tables are to agree with, while nobody else changes anything."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            async with changing:
                await self.keep(facts)
            await self._try(self.save_health, facts)


def _who_is_up(remembered: Mapping[str, Remembered]) -> Mapping[str, bool]:
    return {key: each.is_up for key, each in remembered.items()}
