"""The data plane's tables as values: what the kernel holds, or what it should hold. No I/O.

A *reference* to a backend is its id with its generation in one integer (``id | generation << 16``), as slots and flows
carry it; 0 refers to nobody. Ids are reused, references are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numpy.typing import NDArray

from lbctl.core.model import Address, Network, OnEmpty, Protocol

NOBODY = 0
NOBODY_ELSE = 0xFFFFFFFF
"""An assignment to a server that is gone, whose sources must not go to another (``LB_NOBODY_ELSE``)."""
Slots = NDArray[np.uint32]
"""References of the owners of a pool's slots, in order; shape (size,)."""


class BackendState(IntEnum):
    """``enum lb_backend_state`` of ``ebpf/types.h``: all that the program needs to know of a backend's condition."""

    ABSENT = 0
    UP = 1
    DRAINING = 2
    DOWN = 3
    DEAD = 4
    HALTED = 5


def reference(backend_id: int, generation: int) -> int:
    """What slots and flows carry."""
    return backend_id | generation << 16


def id_of(ref: int) -> int:
    """The backend id in a reference."""
    return ref & 0xFFFF


@dataclass(frozen=True, slots=True, order=True)
class Lan:
    """A layer-2 segment: an interface, or a VLAN of it. Of one tag ``vlan`` is its id (0: untagged), of two the outer id times
    4,096 plus the inner one."""

    ifindex: int
    vlan: int = 0


ROUTED = Lan(0)
"""In place of a VIP's segment: routers know the way to it, and it is answered for nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceRow:
    """A segment that is balanced on; ``mac`` is 6 bytes, the addresses are the director's own."""

    mac: bytes
    address: IPv4Address | None = None
    address6: IPv6Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ServiceKey:
    """One (VIP, port, protocol)."""

    vip: Address
    port: int
    protocol: Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRow:
    """The index of a service's counters (from 1), its pool, and the list of its sources (0: everybody may come)."""

    id: int
    pool_id: int
    source_list: int = 0


Sources = Mapping[Network, int]
"""Who may come: prefixes of one family, each with the pool row that a class of connections is shared by, or 0 for the service's
own. The longest prefix that a source has counts; who has none may not come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow:
    """Where a pool's slots lie, the hash of its name, and what becomes of a connection that nobody takes."""

    identity: int
    base: int
    size: int
    on_empty: OnEmpty = OnEmpty.RESET
    is_private: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """References of those who take a pool's new connections, in the order of the file: where to look for room when a slot's
    owner has none. ``fallbacks`` are those of the pool that takes over then."""

    own: tuple[int, ...] = ()
    fallbacks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRow:
    """A real server. ``mac`` is ``None`` until it was confirmed. ``limit`` is its TCP connections at most (0: no limit), and
    once full it takes new ones again from ``resume`` down."""

    generation: int
    identity: int
    address: Address
    lan: Lan
    state: BackendState
    mac: bytes | None
    limit: int = 0
    resume: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """All of it, keyed by segment, VIP (to the segment that it is announced on, or `ROUTED`), service key, list of
    sources, pool id and backend id (all from 1). Every pool has slots and members; so has each class of connections that a pool
    shares in its own way, for it has a pool row.

    ``freed`` holds the last generation of each backend id that is free now. ``drops_wrong_ports``: what comes to a VIP's port
    that no service has is dropped, not refused."""

    interfaces: Mapping[Lan, InterfaceRow] = field(default_factory=dict)
    vips: Mapping[Address, Lan] = field(default_factory=dict)
    services: Mapping[ServiceKey, ServiceRow] = field(default_factory=dict)
    sources: Mapping[int, Sources] = field(default_factory=dict)
    pools: Mapping[int, PoolRow] = field(default_factory=dict)
    backends: Mapping[int, BackendRow] = field(default_factory=dict)
    slots: Mapping[int, Slots] = field(default_factory=dict)
    members: Mapping[int, Members] = field(default_factory=dict)
    freed: Mapping[int, int] = field(default_factory=dict)
    drops_wrong_ports: bool = False

    def reference(self, backend_id: int) -> int:
        """The reference to a backend of these tables."""
        return reference(backend_id, self.backends[backend_id].generation)
