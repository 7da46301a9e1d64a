"""Which flows have ended: pure functions over the arrays that a batched look-up returns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.dataplane.layout import SERVICES, FlowState
from lbctl.dataplane.port import IdleLimits


def limits_in_ticks(limits: IdleLimits, hz: int) -> NDArray[np.int64]:
    """Idle limits in jiffies, indexed by (flow state, service id); shape (3, SERVICES)."""
    table = np.full((len(FlowState), SERVICES), limits.default_s * hz, np.int64)
    for service, seconds in limits.open_s.items():
        table[FlowState.OPEN, service] = math.ceil(seconds * hz)
    table[FlowState.CLOSING] = np.minimum(table[FlowState.OPEN], int(limits.closing_s * hz))
    table[FlowState.RESET] = np.minimum(table[FlowState.OPEN], int(limits.reset_s * hz))
    return table


def idle_ticks(flows: NDArray[Any], now: int) -> NDArray[np.int32]:
    """Jiffies since each flow's last packet; shape (n,). Jiffies wrap (first 5 minutes after boot), hence signed
    differences; a flow touched after ``now`` was read is 0 old."""
    ages = (np.uint32(now & 0xFFFFFFFF) - flows["last_seen"]).astype(np.uint32).view(np.int32)
    return np.maximum(ages, np.int32(0))


def find_ended(
    flows: NDArray[Any],
    *,
    now: int,
    limits: NDArray[np.int64],
    live: NDArray[np.bool_],
    generations: NDArray[np.uint32],
    unproven_ticks: int = 0,
    pressed: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Which flows are idle for longer than their limit, or refer to a backend that is gone; shape (n,).

    ``live``, ``generations`` and ``pressed`` are indexed by backend id. ``unproven_ticks`` is a limit for flows of a single
    packet to backends that are pressed: those are let go of early."""
    states = np.minimum(flows["state"], len(FlowState) - 1)
    services = np.minimum(flows["service"], SERVICES - 1)
    is_idle = idle_ticks(flows, now) > limits[states, services]
    ids = np.minimum(flows["backend"] & 0xFFFF, len(live) - 1)
    if pressed is not None:
        is_idle |= pressed[ids] & (flows["is_unproven"] != 0) & (idle_ticks(flows, now) > unproven_ticks)
    is_orphan = ~live[ids] | (generations[ids] != flows["backend"] >> 16)
    ended: NDArray[np.bool_] = is_idle | is_orphan
    return ended


def count_by(column: NDArray[Any]) -> Mapping[int, int]:
    """Flows by the values of one of their fields."""
    values, counts = np.unique(column, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def count_open(flows: NDArray[Any]) -> Mapping[int, int]:
    """Flows that neither end has ended, by backend reference."""
    return count_by(flows["backend"][flows["state"] == FlowState.OPEN])


def named(flows: NDArray[Any]) -> Iterator[dict[str, int]]:
    """Each flow's fields by name."""
    names = flows.dtype.names or ()
    return (dict(zip(names, flow, strict=True)) for flow in flows.tolist())


def returned(flows: NDArray[Any]) -> NDArray[np.int64]:
    """Payload bytes that each flow's client acknowledged; shape (n,)."""
    return _progress(flows, "acked")


def sent(flows: NDArray[Any]) -> NDArray[np.int64]:
    """Payload bytes that each flow's client sent; shape (n,)."""
    return _progress(flows, "next")


def _progress(flows: NDArray[Any], position: str) -> NDArray[np.int64]:
    """From the first position to the latest, and 2^32 for each time that it went once round the sequence numbers."""
    within = (flows[position] - flows[f"first_{position}"]).astype(np.int64)  # in 32 bits: they wrap
    progress: NDArray[np.int64] = (flows[f"{position}_wraps"].astype(np.int64) << 32) + within
    return progress
