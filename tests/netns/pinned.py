"""The data plane's own tables, read from their pins beside the daemon."""

from __future__ import annotations

import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.core.model import Address
from lbctl.core.tables import BackendRow, BackendState
from lbctl.dataplane import bpf, loader
from lbctl.dataplane.layout import MAPS
from lbctl.dataplane.maps import HashMap, shared_array
from lbctl.dataplane.rows import backend_row
from lbctl.lab.node import Node


class PinnedBackends:
    """The data plane's row of each backend, as the program sees it at this very moment."""

    def __init__(self, pins: Path) -> None:
        self._rows, self._connections = (shared(name, pins) for name in ("lb_backends", "lb_connections"))

    def address_of(self, reference: int) -> Address:
        """The address of the backend that a flow refers to."""
        return self._row(reference & 0xFFFF).address

    def _row(self, number: int) -> BackendRow:
        limit, resume = (int(self._connections[number][key]) for key in ("limit", "resume"))
        return backend_row(self._rows[number], limit=limit, resume=resume)

    def _row_of(self, node: Node) -> BackendRow:
        rows = [self._row(int(number)) for number in np.flatnonzero(self._rows["state"])]
        (found,) = [row for row in rows if row.address == node.address]
        return found

    def mac_of(self, node: Node) -> str:
        """The MAC that frames for that backend get."""
        return (self._row_of(node).mac or b"").hex(":")

    def state_of(self, node: Node) -> BackendState:
        """What the program does with that backend's connections."""
        return self._row_of(node).state


def opened(name: str, pins: Path) -> HashMap:
    """A pinned map, for as long as the process lives."""
    return HashMap(bpf.open_pin(loader.pin_path(name, MAPS[name], pins)), MAPS[name])


def shared(name: str, pins: Path) -> NDArray[Any]:
    """A pinned array as the program sees it; what is written to it takes effect at once."""
    return shared_array(bpf.open_pin(loader.pin_path(name, MAPS[name], pins)), MAPS[name])


def hz_of(pins: Path) -> int:
    """Jiffies a second, as the daemon measured them; 0: not yet."""
    return _global("hz", pins)


def seed_of(pins: Path) -> int:
    """The secret of the flow hash."""
    return _global("seed", pins)


def generation_of(pins: Path) -> int:
    """How many complete writes there were."""
    return _global("generation", pins)


def watched_of(pins: Path) -> int:
    """Which events the program tells: bits of ``enum lb_watch``."""
    return _global("watched", pins)


def _global(name: str, pins: Path) -> int:
    spec = MAPS["lb_globals"]
    with bpf.opened_pin(loader.pin_path("lb_globals", spec, pins)) as globals_:
        row = HashMap(globals_, spec).get(0)
    assert row is not None
    return int(row[name][0])


class PinnedFlow:
    """The flow of one TCP connection. Its last packet can be made to lie in the past, as if time had gone by for it
    alone."""

    def __init__(self, pins: Path, *, client: IPv4Address, port: int, vip: IPv4Address, vip_port: int) -> None:
        self._flows = opened("lb_flows_tcp4", pins)
        self._hz = hz_of(pins)
        self._key = np.array([(int(client), int(vip), port, vip_port)], MAPS["lb_flows_tcp4"].key)
        entry = self._entry()
        assert entry is not None, "the connection has no flow"
        self._now, self._read_at = int(entry["last_seen"][0]), time.monotonic()  # to be made just after a packet

    @property
    def exists(self) -> bool:
        """Whether the table has it."""
        return self._entry() is not None

    def make_idle(self, idle_s: float) -> None:
        """Let its last packet be so long ago. A flow that is no more, or has a packet at this very moment, is left alone."""
        entry = self._entry()
        if entry is not None:
            now = self._now + round((time.monotonic() - self._read_at) * self._hz)
            aged = entry.copy()
            aged["last_seen"] = (now - round(idle_s * self._hz)) & 0xFFFF_FFFF
            self._flows.replace_unchanged(self._key, entry, aged)

    def _entry(self) -> NDArray[Any] | None:
        return self._flows.get(self._key[0].item())
