"""What concerns the director as a whole: the one row of ``lb_globals``."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np

from lbctl.dataplane.layout import GLOBALS
from lbctl.dataplane.maps import HashMap


class Globals:
    """A change reads the row and writes it whole, one after the other."""

    def __init__(self, entries: HashMap) -> None:
        self._entries = entries
        self._lock = Lock()

    def read(self) -> np.void:
        """The row; its fields as in ``struct globals``."""
        found = self._entries.get(0)
        row: np.void = np.zeros(1, GLOBALS)[0] if found is None else found[0]
        return row

    def change(self, **fields: int) -> None:
        """Give these fields other values."""
        with self._lock:
            row: Any = self.read()
            for name, value in fields.items():
                row[name] = value
            self._entries.set(0, row.item())
