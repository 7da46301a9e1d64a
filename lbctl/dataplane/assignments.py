"""Which backend holds what a source sends: the program writes an entry when a source's first connection is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lbctl.dataplane.addresses import address_field, decoded
from lbctl.dataplane.layout import ASSIGNMENT_KEY4, ASSIGNMENT_KEY6, INDEX
from lbctl.dataplane.maps import HashMap
from lbctl.dataplane.port import Assigned

ASSIGNMENT_MAPS: Mapping[int, str] = {4: "lb_assignments4", 6: "lb_assignments6"}
"""By the source's version."""
_KEYS = {4: ASSIGNMENT_KEY4, 6: ASSIGNMENT_KEY6}


class Assignments:
    """``entries`` are the hash maps of `ASSIGNMENT_MAPS` by version."""

    def __init__(self, entries: Mapping[int, HashMap]) -> None:
        self._entries = entries

    def read(self) -> Mapping[Assigned, int]:
        """The backend reference of each source."""
        return {
            Assigned(pool_id=pool_id, source=source): ref
            for entries in self._entries.values()
            for keys, refs in entries.batches()
            for source, pool_id, ref in zip(decoded(keys["client"]), keys["pool"].tolist(), refs.tolist(), strict=True)
        }

    def change(self, changes: Mapping[Assigned, int | None]) -> None:
        """Give sources another backend (a reference), or none."""
        for version, entries in self._entries.items():
            ours = {_key(each): ref for each, ref in changes.items() if each.source.version == version}
            given = {key: ref for key, ref in ours.items() if ref is not None}
            for key in ours.keys() - given.keys():
                entries.remove(key)
            if given:
                entries.set_all(np.array(list(given), _KEYS[version]), np.array(list(given.values()), INDEX))


def _key(assigned: Assigned) -> tuple[Any, ...]:
    return address_field(assigned.source), assigned.pool_id
