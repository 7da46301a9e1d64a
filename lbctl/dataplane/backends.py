"""The real servers in shared memory, each with its connections and its counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.core.ids import FREE
from lbctl.core.plan import SetBackend
from lbctl.core.tables import BackendRow, BackendState, id_of
from lbctl.dataplane import rows
from lbctl.dataplane.addresses import wide_words
from lbctl.dataplane.connections import Connections
from lbctl.dataplane.flows import Known
from lbctl.dataplane.port import Connected


@lru_cache(maxsize=1 << 14)
def _row(content: bytes, kind: np.dtype[Any], limit: int, resume: int) -> BackendRow:
    """Of one element of the shared array. Most are as they were at the latest look, and reading is a fraction of decoding."""
    return rows.backend_row(np.frombuffer(content, kind)[0], limit=limit, resume=resume)


class Backends:
    """``entries`` is the shared array of ``struct backend``, ``limits`` that of ``struct connections``. ``clear`` zeroes the
    counters of an id."""

    def __init__(self, entries: NDArray[Any], limits: NDArray[Any], clear: Callable[[int], None]) -> None:
        self._entries = entries
        self._limits = limits
        self._clear = clear
        self.counts = Connections(limits)

    def read(self) -> Mapping[int, BackendRow]:
        """The rows by backend id."""
        live = np.flatnonzero(self._entries["state"]).tolist()
        content, size, kind = self._entries.tobytes(), self._entries.itemsize, self._entries.dtype
        limits, resumes = self._limits["limit"].tolist(), self._limits["resume"].tolist()
        return {i: _row(content[i * size : (i + 1) * size], kind, limits[i], resumes[i]) for i in live}

    def freed(self) -> Mapping[int, int]:
        """The last generation of each id that is free now."""
        free = np.flatnonzero((self._entries["state"] == 0) & (self.generations() != 0)).tolist()
        return {i: int(self._entries[i]["link"]) >> 48 for i in free}

    def write(self, step: SetBackend) -> None:
        """A new row gets its state last, a removed one loses it first: in between, references to it are a miss."""
        entry = self._entries[step.backend_id : step.backend_id + 1]
        if step.after is None:
            entry["state"] = BackendState.ABSENT
            entry["link"] = (step.before.generation if step.before else 0) << 48
            entry["identity"] = FREE
            return
        if step.before is None or step.before.generation != step.after.generation:
            self._begin(step.backend_id, step.after)
        self._place(entry, step.after)
        self.counts.set_limit(step.backend_id, limit=step.after.limit, resume=step.after.resume)
        entry["is_limited"] = step.after.limit > 0
        entry["state"] = step.after.state

    def _begin(self, backend_id: int, row: BackendRow) -> None:
        entry = self._entries[backend_id : backend_id + 1]
        entry["state"] = BackendState.ABSENT
        entry["address"] = wide_words(row.address)
        entry["identity"] = row.identity
        self._clear(backend_id)
        self.counts.begin(backend_id)

    def _place(self, entry: NDArray[Any], row: BackendRow) -> None:
        """A MAC is never seen on another segment than its own: the two cannot change in one store."""
        if int(entry["lan"][0]) != rows.lan_word(row.lan):
            entry["link"] = row.generation << 48
            entry["lan"] = rows.lan_word(row.lan)
        entry["link"] = rows.link_word(row)

    def known(self) -> Known:
        """What a sweep goes by."""
        return Known(
            live=self._entries["state"] != BackendState.ABSENT,
            generations=self.generations().astype(np.uint32),
            full=self.counts.is_full(),
        )

    def by_id(self, counts: Mapping[int, int]) -> Mapping[int, int]:
        """Counts by reference as counts by id; those of servers whose id was given away count for nobody."""
        generations = self.generations()
        return {id_of(ref): count for ref, count in counts.items() if generations[id_of(ref)] == ref >> 16}

    def connections(self) -> Mapping[int, Connected]:
        """The TCP connections of each backend that the tables have, by id."""
        live, full = self.counts.live(), self.counts.is_full()
        return {
            i: Connected(connections=int(live[i]), is_full=bool(full[i] and self._entries["is_limited"][i]))
            for i in np.flatnonzero(self._entries["state"]).tolist()
        }

    def generations(self) -> NDArray[np.uint64]:
        """The latest of each id; shape (backends,)."""
        generations: NDArray[np.uint64] = self._entries["link"] >> np.uint64(48)
        return generations
