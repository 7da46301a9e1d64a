"""What the program counts: by reason, by service, by backend, and how long handshakes took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from lbctl.dataplane.layout import MAPS, Reason
from lbctl.dataplane.maps import PerCpuArray
from lbctl.dataplane.port import Counters, Traffic

PER_CPU = ("lb_reasons", "lb_service_stats", "lb_backend_stats")


class CounterTables:
    """``descriptors`` are those of `PER_CPU`, ``handshakes`` is the shared array of ``struct handshake_times``."""

    def __init__(self, descriptors: Mapping[str, int], handshakes: NDArray[Any]) -> None:
        tables = (PerCpuArray(descriptors[name], MAPS[name]) for name in PER_CPU)
        self._reasons, self._services, self._backends = tables
        self._buckets = handshakes["buckets"]

    def read(self, *, services: Sequence[int], backends: Sequence[int]) -> Counters:
        """Those of all reasons and of the given ids."""
        return Counters(
            reasons={Reason(i).name.lower(): traffic for i, traffic in _traffic(self._reasons, list(Reason)).items()},
            services=_traffic(self._services, services),
            backends=_traffic(self._backends, backends),
            handshakes=dict(zip(backends, map(tuple, self._buckets[list(backends)].tolist()), strict=True)),
        )

    def begin_service(self, service_id: int) -> None:
        """The row goes to another service."""
        self._services.clear(service_id)

    def begin_backend(self, backend_id: int) -> None:
        """The row goes to another server."""
        self._backends.clear(backend_id)
        self._buckets[backend_id] = 0


def _traffic(table: PerCpuArray, indices: Sequence[int]) -> Mapping[int, Traffic]:
    return {index: Traffic(**fields) for index, fields in zip(indices, table.totals(indices), strict=True)}
