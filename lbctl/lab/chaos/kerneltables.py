"""The director's tables as the kernel holds them, read from their pins beside the daemon, or while there is none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.core.model import Address
from lbctl.core.tables import BackendRow, ServiceKey, id_of, reference
from lbctl.dataplane import bpf, loader
from lbctl.dataplane.assignments import Assignments
from lbctl.dataplane.backends import Backends
from lbctl.dataplane.layout import MAPS
from lbctl.dataplane.maps import HashMap, shared_array
from lbctl.dataplane.pools import POOL_MAPS, PoolTables
from lbctl.dataplane.rows import interface_row, lan_of, service_key, vip_number


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the kernel holds: the identity of each service's pool, the rows of backends by identity (of the latest), and the
    slots of each pool by their owner's identity, by the pool's identity. ``holders`` are the identities of those that sources
    are assigned to (0: nobody), by the pool's identity and the source."""

    services: Mapping[ServiceKey, int]
    backends: Mapping[int, BackendRow]
    slots: Mapping[int, Mapping[int, int]]
    holders: Mapping[tuple[int, str], int]
    interfaces: frozenset[tuple[int, str]]
    """The director's own: index and MAC."""


@contextmanager
def _arrays(pins: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    names = ("lb_services", *POOL_MAPS, "lb_backends", "lb_connections")
    with ExitStack() as opened:
        found = {}
        for name in names:
            fd = bpf.open_pin(loader.pin_path(name, MAPS[name], pins))
            opened.callback(os.close, fd)
            found[name] = shared_array(fd, MAPS[name])
        yield found


def read(pins: Path, *, vips: Iterable[Address]) -> Held:
    """All of it. ``vips`` are those that may be there: of an IPv6 one a service has only a number."""
    numbered = {vip_number(vip): vip for vip in vips if isinstance(vip, IPv6Address)}
    with _arrays(pins) as arrays:
        backends = Backends(arrays["lb_backends"], arrays["lb_connections"], lambda _: None).read()
        tables = PoolTables({name: arrays[name] for name in POOL_MAPS})
        pools = tables.read()
        taken = np.flatnonzero(arrays["lb_services"]["key"]).tolist()
        services = {
            service_key(key, numbered.__getitem__): pools[pool].identity
            for key, _, pool, *_ in arrays["lb_services"][taken].tolist()
            if pool in pools
        }
        slots = {row.identity: _owners(tables.slots(row), backends) for row in pools.values()}
        identities = {number: row.identity for number, row in pools.items()}
    return Held(
        services=services,
        backends={row.identity: row for row in backends.values()},
        slots=slots,
        holders=_holders(pins, backends, identities),
        interfaces=_interfaces(pins),
    )


def _hash_map(pins: Path, name: str) -> HashMap:
    opened = HashMap(bpf.open_pin(loader.pin_path(name, MAPS[name], pins)), MAPS[name])
    opened.close_when_unused()
    return opened


def _interfaces(pins: Path) -> frozenset[tuple[int, str]]:
    batches = _hash_map(pins, "lb_interfaces").batches()
    taken = (entry for _, batch in batches for entry in batch[batch["lan"] != 0])
    return frozenset((lan_of(int(entry["lan"])).ifindex, interface_row(entry).mac.hex(":")) for entry in taken)


def _holders(pins: Path, backends: Mapping[int, BackendRow], pools: Mapping[int, int]) -> Mapping[tuple[int, str], int]:
    """Of those that a reference of the same generation means."""
    assigned = Assignments({4: _hash_map(pins, "lb_assignments4")}).read()
    known = {reference(number, row.generation): row.identity for number, row in backends.items()}
    return {(pools.get(key.pool_id, 0), str(key.source)): known.get(ref, 0) for key, ref in assigned.items()}


def _owners(references: NDArray[Any], backends: Mapping[int, BackendRow]) -> Mapping[int, int]:
    counted = Counter(id_of(reference) for reference in references.tolist())
    return {backends[number].identity if number in backends else 0: count for number, count in counted.items()}
