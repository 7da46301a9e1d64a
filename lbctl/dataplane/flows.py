"""The flow tables: swept, and listed for people."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lbctl.core.model import Protocol as Transport
from lbctl.dataplane import sweep
from lbctl.dataplane.layout import FlowState
from lbctl.dataplane.maps import HashMap
from lbctl.dataplane.port import FlowEntry, IdleLimits, Sweep, Waiting

FLOW_MAPS = {Transport.TCP: "lb_flows_tcp4", Transport.UDP: "lb_flows_udp4"}
PRESSURE = 0.75
"""A table that the latest sweep left fuller than this lets go of what may be a flood's."""
UNPROVEN_S = 60.0
"""Then a flow of a single packet ends after so many idle seconds, and not after hours: a spoofed one has no second."""
_K = TypeVar("_K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Backends:
    """Whether each backend is there, which generation it is of, and whether it has all its connections; by backend id."""

    live: NDArray[np.bool_]
    generations: NDArray[np.uint32]
    full: NDArray[np.bool_]


@dataclass(slots=True)
class _Tally:
    """What a sweep counts on its way, by the names of `Sweep`."""

    flows: dict[int, int] = field(default_factory=dict)
    services: dict[int, int] = field(default_factory=dict)
    vips: dict[IPv4Address, int] = field(default_factory=dict)
    open: dict[int, int] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    expired: int = 0

    def note(self, protocol: Transport, keys: NDArray[Any], flows: NDArray[Any], ended: NDArray[np.bool_]) -> None:
        """A batch, and which of it were ended."""
        self.expired += int(ended.sum())
        _add(self.flows, sweep.count_by(flows[~ended]["backend"]))
        _add(self.services, sweep.count_by(flows[~ended]["service"]))
        _add(self.vips, sweep.count_by_vip(keys[~ended]))
        if protocol is Transport.TCP:
            _add(self.open, sweep.count_open(flows[~ended]))
            _add(self.ended, sweep.count_open(flows[ended]))

    def sweep(self, *, capacity: int, fill: float) -> Sweep:
        """All of it."""
        return Sweep(
            flows=self.flows,
            services=self.services,
            vips=self.vips,
            open=self.open,
            ended=self.ended,
            expired=self.expired,
            capacity=capacity,
            fill=fill,
        )


class FlowTables:
    """All flow maps. ``now`` reads jiffies, ``hz`` tells how many make a second."""

    def __init__(self, maps: Mapping[str, HashMap], *, now: Callable[[], int], hz: Callable[[], int]) -> None:
        self._maps = maps
        self._now = now
        self._hz = hz
        self._fill = 0.0

    def sweep(self, limits: IdleLimits, backends: Callable[[], Backends]) -> Sweep:
        """Delete idle flows, and those whose backend is no more; count the others. ``backends`` tells what the tables have at
        that moment."""
        ticks = sweep.limits_in_ticks(limits, self._hz())
        tally, fill = _Tally(), 0.0
        for protocol, name in FLOW_MAPS.items():
            live_here = 0
            for keys, flows in self._maps[name].batches():
                ended = self._ended(flows, ticks, backends())
                # looked at once more each: a client may have come back from the same port meanwhile
                ended[ended] = self._maps[name].remove_unchanged(keys[ended], flows[ended])
                tally.note(protocol, keys, flows, ended)
                live_here += int((~ended).sum())
            fill = max(fill, live_here / self._maps[name].max_entries)
        self._fill = fill
        return tally.sweep(capacity=sum(self._maps[name].max_entries for name in FLOW_MAPS.values()), fill=fill)

    def _ended(self, flows: NDArray[Any], ticks: NDArray[np.int64], known: Backends) -> NDArray[np.bool_]:
        """``known`` is of later than the flows: a flow's backend was there before any slot named it, so before the flow."""
        return sweep.find_ended(
            flows,
            now=self._now(),
            limits=ticks,
            live=known.live,
            generations=known.generations,
            unproven_ticks=int(UNPROVEN_S * self._hz()),
            pressed=known.full | (self._fill > PRESSURE),
        )

    def give_up(self, references: Sequence[int]) -> Sequence[Waiting]:
        """The TCP flows of these backends that are not reset yet, also those whose client has said all it had to say: it may
        wait for the answer. They are marked as reset, so that the sweep ends them."""
        found: list[Waiting] = []
        tcp = self._maps[FLOW_MAPS[Transport.TCP]]
        for keys, flows in tcp.batches():
            ours = np.isin(flows["backend"], references) & (flows["state"] != FlowState.RESET)
            marked = flows[ours].copy()
            marked["state"] = FlowState.RESET
            # looked at once more each: a client that came back from the same port is somebody else's by now
            is_marked = tcp.replace_unchanged(keys[ours], flows[ours], marked)
            found += _waiting(keys[ours][is_marked], flows[ours][is_marked])
        return found

    def quiet(self, references: Sequence[int], *, idle_s: float, limit: int) -> Sequence[Waiting]:
        """At most ``limit`` open TCP flows of these backends that have been idle for longer than that."""
        found: list[Waiting] = []
        ticks = idle_s * self._hz()
        for keys, flows in self._maps[FLOW_MAPS[Transport.TCP]].batches():
            is_open = np.isin(flows["backend"], references) & (flows["state"] == FlowState.OPEN)
            quiet = is_open & (sweep.idle_ticks(flows, self._now()) > ticks)
            found += _waiting(keys[quiet], flows[quiet])
        return random.sample(found, min(limit, len(found)))  # or those who never answer would be asked alone

    def entries(self, limit: int, references: Sequence[int] | None) -> Sequence[FlowEntry]:
        """At most ``limit`` live flows, in no order; those of these backends, or all."""
        found: list[FlowEntry] = []
        for protocol, name in FLOW_MAPS.items():
            for keys, flows in self._maps[name].batches():
                is_wanted = np.full(len(keys), True) if references is None else np.isin(flows["backend"], references)
                wanted = np.flatnonzero(is_wanted)[: limit - len(found)]
                found += self._decoded(protocol, keys[wanted], flows[wanted])
                if len(found) >= limit:
                    return found
        return found

    def _decoded(self, protocol: Transport, keys: NDArray[Any], flows: NDArray[Any]) -> list[FlowEntry]:
        idle = sweep.idle_ticks(flows, self._now()) / self._hz()
        return [
            FlowEntry(
                protocol=protocol,
                client=IPv4Address(key[0]),
                client_port=key[2],
                vip=IPv4Address(key[1]),
                vip_port=key[3],
                backend=flow["backend"],
                idle_s=idle_s,
                state=FlowState(flow["state"]).name.lower(),
            )
            for key, flow, idle_s in zip(keys.tolist(), sweep.named(flows), idle.tolist(), strict=True)
        ]


def _waiting(keys: NDArray[Any], flows: NDArray[Any]) -> list[Waiting]:
    return [
        Waiting(
            backend=flow["backend"],
            client=IPv4Address(key[0]),
            client_port=key[2],
            vip=IPv4Address(key[1]),
            vip_port=key[3],
            acked=flow["acked"],
            next=flow["next"],
            was_open=flow["state"] == FlowState.OPEN,
        )
        for key, flow in zip(keys.tolist(), sweep.named(flows), strict=True)
    ]


def _add(totals: dict[_K, int], counts: Mapping[_K, int]) -> None:
    for key, count in counts.items():
        totals[key] = totals.get(key, 0) + count
