"""Slow starts as they go on: each begins when its backend takes connections, and is forgotten when it is over. That of a
backend that left the file waits for it to be back, for the file may be taken back: then it begins anew.

How far they have come is kept with the operator's overrides: a restarted daemon goes on where the clock is, and one that
comes up after a reboot begins anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from lbctl.core.tables import BackendState
from lbctl.daemon.facts import Facts
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.state.overrides import OverrideStore, SlowStart
from lbctl.errors import LbctlError

TICK_S = 0.5
"""A step is about this late."""


class Ramping:
    """Changes how far slow starts have come, and tells by ``news`` that it did."""

    def __init__(self, reconciler: Reconciler, store: OverrideStore, *, news: Callable[[], None], now: float) -> None:
        self._reconciler = reconciler
        self._store = store
        self._news = news
        self._is_unsaved = self.advance(now=now)

    async def ramp_forever(self, changing: asyncio.Lock, facts: Facts) -> None:
        """While there are any. The disk comes last: a share grows even if that cannot be written down."""
        while True:
            if self._has_work:
                async with changing:
                    await self._tick(facts)
            await asyncio.sleep(TICK_S)

    @property
    def _has_work(self) -> bool:
        """None for a backend that left the file, once it is noted that its start has not begun."""
        starts, declared = self._reconciler.overrides.slow_starts, self._reconciler.index.backends
        return self._is_unsaved or any(
            label in declared or start.began_s is not None for label, start in starts.items()
        )

    async def _tick(self, facts: Facts) -> None:
        self._is_unsaved |= self.advance(now=time.monotonic())
        if self._is_unsaved:
            try:
                await asyncio.to_thread(self._store.save, self._reconciler.overrides)
                self._is_unsaved = False
            except LbctlError as error:
                facts.failed(error)

    def advance(self, *, now: float) -> bool:
        """Let them begin, go on and end; whether there is something to save. ``now`` is monotonic."""
        said = self._reconciler.overrides
        taking = self._taking()
        begun = {label: _begun(start, label in taking, now=now) for label, start in said.slow_starts.items()}
        ramps = said.model_copy(update={"slow_starts": begun}).ramps(now)
        starts = {label: start for label, start in begun.items() if ramps[label] < 100}
        self._reconciler.overrides = said.model_copy(update={"slow_starts": starts})
        self._set({label: ramps[label] for label in starts})
        return starts != said.slow_starts

    def _set(self, ramps: Mapping[str, int]) -> None:
        if ramps != self._reconciler.ramps:
            self._reconciler.ramps = ramps
            self._news()

    def _taking(self) -> frozenset[str | None]:
        """The backends that take connections, as the kernel has it."""
        rows = self._reconciler.current.backends.values()
        labels = self._reconciler.index.labels
        return frozenset(labels.get(row.identity) for row in rows if row.state is BackendState.UP)


def _begun(start: SlowStart, takes_connections: bool, *, now: float) -> SlowStart:
    """One whose backend takes none has not begun, or begins anew; one that begins later than now is another boot's."""
    if not takes_connections:
        return start.model_copy(update={"began_s": None})
    has_begun = start.began_s is not None and start.began_s <= now
    return start if has_begun else start.model_copy(update={"began_s": now})
