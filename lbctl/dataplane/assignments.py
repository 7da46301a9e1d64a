"""Which backend holds what a source sends: the program writes an entry when a source's first connection is made."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address

import numpy as np

from lbctl.dataplane.layout import ASSIGNMENT_KEY, INDEX
from lbctl.dataplane.maps import HashMap
from lbctl.dataplane.port import Assigned


class Assignments:
    """The hash map of assignments."""

    def __init__(self, entries: HashMap) -> None:
        self._entries = entries

    def read(self) -> Mapping[Assigned, int]:
        """The backend reference of each source."""
        return {
            Assigned(pool_id=pool_id, source=IPv4Address(client)): ref
            for keys, refs in self._entries.batches()
            for (client, pool_id), ref in zip(keys.tolist(), refs.tolist(), strict=True)
        }

    def change(self, changes: Mapping[Assigned, int | None]) -> None:
        """Give sources another backend (a reference), or none."""
        keys = {key: (int(key.source), key.pool_id) for key in changes}
        gone = [keys[key] for key, ref in changes.items() if ref is None]
        given = {keys[key]: ref for key, ref in changes.items() if ref is not None}
        for key in gone:
            self._entries.remove(key)
        if given:
            self._entries.set_all(np.array(list(given), ASSIGNMENT_KEY), np.array(list(given.values()), INDEX))
