"""The sweep over the flow tables, and what follows from what it finds."""

from __future__ import annotations

import asyncio
import time

from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.resetting import Resetter
from lbctl.daemon.verifying import Verifier
from lbctl.dataplane.port import Dataplane


class Sweeper:
    """Ends idle flows, counts the others, ends those that should have ended, and asks after those that may have."""

    def __init__(self, reconciler: Reconciler, dataplane: Dataplane, resetter: Resetter, verifier: Verifier) -> None:
        self._reconciler = reconciler
        self._dataplane = dataplane
        self._resetter = resetter
        self._verifier = verifier

    async def sweep(self) -> None:
        """Once. `LbctlError` if the kernel refuses."""
        limits = self._reconciler.idle_limits()
        started = time.monotonic()  # what began to flow during the sweep may have been missed
        found = await asyncio.to_thread(self._dataplane.sweep, limits)
        self._dataplane.set_clock()
        self._reconciler.swept(found, now=started)
        self._resetter.catch_up(self._reconciler.current, found.open)
        await self._verifier.ask(self._reconciler.current)
