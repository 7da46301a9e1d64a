"""The data plane's own tables, read from their pins beside the daemon."""

from __future__ import annotations

from pathlib import Path

from lbctl.core.tables import BackendRow, BackendState
from lbctl.dataplane import bpf, loader
from lbctl.dataplane.layout import MAPS
from lbctl.dataplane.maps import shared_array
from lbctl.dataplane.rows import backend_row
from lbctl.lab.node import Node


class PinnedBackends:
    """The data plane's row of each backend, as the program sees it at this very moment."""

    def __init__(self, pins: Path) -> None:
        spec = MAPS["lb_backends"]
        self._rows = shared_array(bpf.open_pin(loader.pin_path("lb_backends", spec, pins)), spec)

    def _row_of(self, node: Node) -> BackendRow:
        (row,) = self._rows[(self._rows["address"] == int(node.address)) & (self._rows["state"] != 0)]
        return backend_row(row)

    def mac_of(self, node: Node) -> str:
        """The MAC that frames for that backend get."""
        return (self._row_of(node).mac or b"").hex(":")

    def state_of(self, node: Node) -> BackendState:
        """What the program does with that backend's connections."""
        return self._row_of(node).state
