"""Many connections to many services over many backends: the frames of ``curves.c``, and tables of any size."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbctl.core import slots
from lbctl.core.model import Protocol
from lbctl.core.tables import Members, PoolRow, ServiceKey, ServiceRow, Tables, reference
from lbctl.dataplane.layout import FLOW, FLOW_KEY4, MEMBERS
from tests.packets.rig import Rig
from tests.packets.world import GENERATION, HERE, POOL, VIP, backend_row, interface_row, up_in

SYN, ACK = 0x02, 0x10
_FIRST_CLIENT, _PORT_BITS, _FIRST_SERVICE = 0x0B00_0000, 14, 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """So many connections, services and backends. Connection i is to service i modulo their number, and every backend has as
    many as any other."""

    backends: int = 3
    services: int = 1
    connections: int = 1_000

    def frame(self, flags: int) -> bytes:
        """What the programs make their frames of: ``struct crowd``. They put MACs, client, ports."""
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 0, 0x4000, 64, 6, 0, bytes(4), VIP.packed)
        tcp = struct.pack(">HHIIBBHHH", 0, 0, 1, 1, 0x50, flags, 65535, 0, 0)
        return bytes(12) + b"\x08\x00" + ip + tcp + struct.pack("<III", 0, self.connections, self.services)

    def tables(self) -> Tables:
        """One VIP, its services on ports of their own, one pool."""
        backends = {number: replace(backend_row(1), identity=number) for number in range(1, self.backends + 1)}
        size, refs = slots.table_size(self.backends), up_in(backends)
        return Tables(
            interfaces={HERE: interface_row()},
            vips={VIP: HERE},
            services={
                ServiceKey(vip=VIP, port=_FIRST_SERVICE + i, protocol=Protocol.TCP): ServiceRow(id=1 + i, pool_id=POOL)
                for i in range(self.services)
            },
            pools={POOL: PoolRow(identity=99, base=0, size=size)},
            backends=backends,
            slots={POOL: np.resize(np.array(refs, np.uint32), size)},
            members={POOL: Members(own=refs[:MEMBERS])},
        )

    def enter(self, rig: Rig) -> None:
        """Put all connections into the table, in no order: what lies side by side in memory is not met one after the other."""
        numbers = np.random.default_rng(seed=1).permutation(self.connections)
        flows = np.zeros(self.connections, FLOW)
        flows["backend"] = reference(0, GENERATION) + 1 + numbers % self.backends
        flows["service"], flows["last_seen"] = 1 + numbers % self.services, rig.clock.jiffies()
        rig.flows["lb_flows_tcp4"].set_all(self._keys(numbers), flows)

    def _keys(self, numbers: NDArray[Any]) -> NDArray[Any]:
        keys = np.zeros(self.connections, FLOW_KEY4)
        keys["client"], keys["vip"] = _FIRST_CLIENT + (numbers >> _PORT_BITS), int(VIP)
        keys["client_port"] = 1 << _PORT_BITS | numbers & (1 << _PORT_BITS) - 1
        keys["vip_port"] = _FIRST_SERVICE + numbers % self.services
        return keys
