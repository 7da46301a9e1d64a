"""The services in shared memory: a hash table that user space places and the program looks up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.core.plan import SetService
from lbctl.core.tables import ServiceKey, ServiceRow
from lbctl.dataplane import rows
from lbctl.dataplane.layout import WORD
from lbctl.dataplane.vips import Numbers
from lbctl.errors import KernelError

_WORD_MASK = (1 << 32) - 1


class Services:
    """``entries`` is the shared array of ``struct service``."""

    def __init__(self, entries: NDArray[Any], numbers: Numbers) -> None:
        self._entries = entries
        self._targets = entries.view(WORD)[1::2]  # id, pool and list of sources are one word, and change in one store
        self._numbers = numbers
        self._forget_strangers()

    def _forget_strangers(self) -> None:
        """Services of VIPs that are in no table: an earlier writer was killed between the two, or had reason not to answer for
        the VIP. Nothing gets to them, and nobody can tell any more which VIP it was."""
        for row in self._taken():
            word = int(self._entries["key"][row])
            if rows.is_service6(word) and word & _WORD_MASK not in self._numbers:
                self._entries["key"][row] = 0

    def _taken(self) -> list[int]:
        found: list[int] = np.flatnonzero(self._entries["key"]).tolist()
        return found

    def read(self) -> dict[ServiceKey, ServiceRow]:
        """All of them."""
        return {
            rows.service_key(key, self._numbers.vip6): ServiceRow(id=number, pool_id=pool, source_list=sources)
            for key, number, pool, sources, _ in self._entries[self._taken()].tolist()
        }

    def write(self, step: SetService) -> None:
        """The key last, and first to go: the program never sees a service with another's pool."""
        self._numbers.learn(step.key.vip)
        word = rows.service_word(step.key)
        row = rows.service_place(self._entries["key"], word)
        if row is None:
            raise KernelError(f"no room in lb_services for {step.key}", hint="use another port, or fewer services")
        if step.after is None:
            self._entries["key"][row] = 0
            return
        self._targets[row] = step.after.id | step.after.pool_id << 16 | step.after.source_list << 32
        self._entries["key"][row] = word
