"""What is learnt while the daemon runs and must outlast the machine: who is active, and which source has which backend."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lbctl.daemon.assigning import Assigner
from lbctl.daemon.facts import Facts
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.store import Actives, ActiveStore
from lbctl.errors import LbctlError

INTERVAL_S = 2.0
"""What the program assigned in the meantime is lost if the machine loses its power."""


class Keeper:
    """Writes to the state directory what has changed."""

    def __init__(self, reconciler: Reconciler, assigner: Assigner, state: Path) -> None:
        self._reconciler = reconciler
        self._assigner = assigner
        self._store = ActiveStore(state)
        self._saved = self._store.load().active

    async def keep(self, facts: Facts) -> None:
        """At once. What cannot be written is told, and tried again at the next call: traffic does not wait for a disk."""
        for keep in (self._save_actives, self._assigner.settle):
            try:
                await keep()
            except LbctlError as error:
                facts.failed(error)

    async def _save_actives(self) -> None:
        actives = dict(self._reconciler.actives)
        if actives != self._saved:
            await asyncio.to_thread(self._store.save, Actives(active=actives))
            self._saved = actives

    async def keep_forever(self, changing: asyncio.Lock, facts: Facts) -> None:
        """Every few seconds, while nobody else changes anything."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            async with changing:
                await self.keep(facts)
