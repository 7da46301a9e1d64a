"""The flow tables: swept, and listed for people."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lbctl.core.model import Address
from lbctl.core.model import Protocol as Transport
from lbctl.dataplane import sweep
from lbctl.dataplane.addresses import count_by_address, decoded
from lbctl.dataplane.layout import FLOW_MAPS, FlowState
from lbctl.dataplane.maps import HashMap
from lbctl.dataplane.port import FlowEntry, IdleLimits, Sweep, Waiting

PROTOCOLS: Mapping[str, Transport] = {name: Transport(name.split("_")[-1][:3]) for name in FLOW_MAPS}
"""What each table holds, of either family."""
TCP_MAPS = tuple(name for name in FLOW_MAPS if PROTOCOLS[name] is Transport.TCP)
PRESSURE = 0.75
"""A table that the latest sweep left fuller than this lets go of what may be a flood's."""
UNPROVEN_S = 60.0
"""Then a flow of a single packet ends after so many idle seconds, and not after hours: a spoofed one has no second."""
_K = TypeVar("_K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Known:
    """Whether each backend is there, which generation it is of, and whether it has all its connections; by backend id."""

    live: NDArray[np.bool_]
    generations: NDArray[np.uint32]
    full: NDArray[np.bool_]


@dataclass(slots=True)
class _Tally:
    """What a sweep counts on its way, by the names of `Sweep`."""

    flows: dict[int, int] = field(default_factory=dict)
    services: dict[int, int] = field(default_factory=dict)
    vips: dict[Address, int] = field(default_factory=dict)
    datagrams: dict[int, int] = field(default_factory=dict)
    open: dict[int, int] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    expired: int = 0

    def note(self, protocol: Transport, keys: NDArray[Any], flows: NDArray[Any], ended: NDArray[np.bool_]) -> None:
        """A batch, and which of it were ended."""
        self.expired += int(ended.sum())
        _add(self.flows, sweep.count_by(flows["backend"][~ended]))
        _add(self.services, sweep.count_by(flows["service"][~ended]))
        _add(self.vips, count_by_address(keys["vip"][~ended]))
        if protocol is Transport.TCP:
            _add(self.open, sweep.count_open(flows[~ended]))
            _add(self.ended, sweep.count_open(flows[ended]))
        else:
            _add(self.datagrams, sweep.count_by(flows["backend"][~ended]))

    def sweep(self, *, capacity: int, fill: float) -> Sweep:
        """All of it."""
        return Sweep(
            flows=self.flows,
            services=self.services,
            vips=self.vips,
            datagrams=self.datagrams,
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

    def sweep(self, limits: IdleLimits, backends: Callable[[], Known]) -> Sweep:
        """Delete idle flows, and those whose backend is no more; count the others. ``backends`` tells what the tables have at
        that moment."""
        ticks = sweep.limits_in_ticks(limits, self._hz())
        tally, fill = _Tally(), 0.0
        for name, protocol in PROTOCOLS.items():
            live_here = 0
            for keys, flows in self._maps[name].batches():
                ended = self._ended(flows, ticks, backends())
                # looked at once more each: a client may have come back from the same port meanwhile
                ended[ended] = self._maps[name].remove_unchanged(keys[ended], flows[ended])
                tally.note(protocol, keys, flows, ended)
                live_here += int((~ended).sum())
            fill = max(fill, live_here / self._maps[name].max_entries)
        self._fill = fill
        return tally.sweep(capacity=self._capacity, fill=fill)

    @property
    def _capacity(self) -> int:
        """Of all tables; the one row of one that the program does not use is none."""
        sizes = [self._maps[name].max_entries for name in FLOW_MAPS]
        return sum(size for size in sizes if size > 1)

    def _ended(self, flows: NDArray[Any], ticks: NDArray[np.int64], known: Known) -> NDArray[np.bool_]:
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
        for tcp in self._tcp:
            for keys, flows in tcp.batches():
                ours = np.isin(flows["backend"], references) & (flows["state"] != FlowState.RESET)
                marked = flows[ours].copy()
                marked["state"] = FlowState.RESET
                # looked at once more each: a client that came back from the same port is somebody else's by now
                is_marked = tcp.replace_unchanged(keys[ours], flows[ours], marked)
                found += _waiting(keys[ours][is_marked], flows[ours][is_marked])
        return found

    @property
    def _tcp(self) -> list[HashMap]:
        return [self._maps[name] for name in TCP_MAPS]

    def quiet(self, references: Sequence[int], *, idle_s: float, limit: int) -> Sequence[Waiting]:
        """At most ``limit`` open TCP flows of these backends that have been idle for longer than that."""
        found: list[Waiting] = []
        ticks = idle_s * self._hz()
        for tcp in self._tcp:
            for keys, flows in tcp.batches():
                is_open = np.isin(flows["backend"], references) & (flows["state"] == FlowState.OPEN)
                quiet = is_open & (sweep.idle_ticks(flows, self._now()) > ticks)
                found += _waiting(keys[quiet], flows[quiet])
        return random.sample(found, min(limit, len(found)))  # or those who never answer would be asked alone

    def entries(self, limit: int, references: Sequence[int] | None) -> Sequence[FlowEntry]:
        """At most ``limit`` live flows, in no order; those of these backends, or all."""
        found: list[FlowEntry] = []
        for name, protocol in PROTOCOLS.items():
            for keys, flows in self._maps[name].batches():
                is_wanted = np.full(len(keys), True) if references is None else np.isin(flows["backend"], references)
                wanted = np.flatnonzero(is_wanted)[: limit - len(found)]
                found += self._decoded(protocol, keys[wanted], flows[wanted])
                if len(found) >= limit:
                    return found
        return found

    def _decoded(self, protocol: Transport, keys: NDArray[Any], flows: NDArray[Any]) -> list[FlowEntry]:
        return [
            FlowEntry(
                protocol=protocol,
                client=client,
                client_port=client_port,
                vip=vip,
                vip_port=vip_port,
                backend=flow["backend"],
                idle_s=idle_s,
                state=FlowState(flow["state"]).name.lower(),
                returned=returned,
                sent=sent,
            )
            for (client, client_port, vip, vip_port), flow, idle_s, returned, sent in zip(
                _ends(keys),
                sweep.named(flows),
                (sweep.idle_ticks(flows, self._now()) / self._hz()).tolist(),
                sweep.returned(flows).tolist(),
                sweep.sent(flows).tolist(),
                strict=True,
            )
        ]


def _waiting(keys: NDArray[Any], flows: NDArray[Any]) -> list[Waiting]:
    return [
        Waiting(
            backend=flow["backend"],
            client=client,
            client_port=client_port,
            vip=vip,
            vip_port=vip_port,
            acked=flow["acked"],
            next=flow["next"],
            was_open=flow["state"] == FlowState.OPEN,
        )
        for (client, client_port, vip, vip_port), flow in zip(_ends(keys), sweep.named(flows), strict=True)
    ]


def _ends(keys: NDArray[Any]) -> list[tuple[Address, int, Address, int]]:
    """Client, its port, VIP and its port of keys of either family."""
    clients, vips = decoded(keys["client"]), decoded(keys["vip"])
    ports = keys["client_port"].tolist(), keys["vip_port"].tolist()
    return list(zip(clients, ports[0], vips, ports[1], strict=True))


def _add(totals: dict[_K, int], counts: Mapping[_K, int]) -> None:
    for key, count in counts.items():
        totals[key] = totals.get(key, 0) + count
