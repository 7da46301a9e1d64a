"""Looks for stations that claim a VIP, tells who they are, and says once more whose it is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from lbctl.core.model import Address
from lbctl.daemon.conflicts import LOOK_INTERVAL_S, Conflict, Conflicts
from lbctl.daemon.facts import Facts
from lbctl.daemon.models import ClaimStatus
from lbctl.daemon.reconcile import Reconciler
from lbctl.dataplane.port import Dataplane
from lbctl.errors import KernelError

_log = logging.getLogger(__name__)


class Defender:
    """``defend`` announces these VIPs again."""

    def __init__(
        self, reconciler: Reconciler, dataplane: Dataplane, *, defend: Callable[[Iterable[Address]], None]
    ) -> None:
        self._reconciler = reconciler
        self._dataplane = dataplane
        self._defend = defend
        self._conflicts = Conflicts()
        self._logged: set[tuple[Address, bytes]] = set()

    def look(self) -> None:
        """Take in what the program counted; the first look only notes where that begins. Raises `KernelError`."""
        now = time.monotonic()
        for conflict in self._conflicts.noted(self._dataplane.claims(), now=now):
            self._log_once(conflict)
        due = self._conflicts.to_defend(now=now)
        if due:
            self._defend(due)

    async def look_forever(self, facts: Facts) -> None:
        """Others may say that a VIP is theirs at any time."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                self.look()
            except KernelError as error:
                facts.failed(error)

    def _log_once(self, conflict: Conflict) -> None:
        if (conflict.vip, conflict.mac) not in self._logged:
            self._logged.add((conflict.vip, conflict.mac))
            _log.error("%s", self._words(conflict))

    def claims(self) -> tuple[ClaimStatus, ...]:
        """Those of the last minutes."""
        now = time.monotonic()
        return tuple(
            ClaimStatus(
                vip=conflict.vip,
                mac=conflict.mac.hex(":"),
                backend=self._backend(conflict),
                times=conflict.times,
                age_s=round(now - conflict.last, 3),
                message=self._words(conflict),
            )
            for conflict in self._conflicts.current(now=now)
        )

    def _backend(self, conflict: Conflict) -> str | None:
        """The label of the one that has this MAC."""
        macs, backends = self._reconciler.neighbourhood.macs, self._reconciler.index.backends
        return next((label for label, backend in backends.items() if macs.get(backend.address) == conflict.mac), None)

    def _words(self, conflict: Conflict) -> str:
        backend, vip = self._backend(conflict), conflict.vip
        question = "ARP" if vip.version == 4 else "neighbour solicitations"
        if backend is None:
            return f"{conflict.mac.hex(':')} answers {question} for the VIP {vip}: free the address there"
        cure = "set arp_ignore=1 and arp_announce=2 there" if vip.version == 4 else "move it to the loopback there"
        return f"{backend} answers {question} for the VIP {vip}: {cure}"
