"""The world that packets are tried in: addresses, segments, and the tables of a director with three backends. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

import numpy as np

from lbctl.core.model import Address, OnEmpty, Protocol
from lbctl.core.tables import (
    BackendRow,
    BackendState,
    InterfaceRow,
    Lan,
    Members,
    PoolRow,
    ServiceKey,
    ServiceRow,
    Slots,
    Tables,
    reference,
)
from lbctl.dataplane.layout import PURPOSES

LOOPBACK = 1
"""The ifindex that a test-run without a context stands on."""
HERE, FAR = Lan(LOOPBACK), Lan(100)
"""Where the director and its backends are, and behind another NIC."""
VIP, FAR_VIP = IPv4Address("192.0.2.100"), IPv4Address("192.0.2.200")
VIP6, FAR_VIP6 = IPv6Address("2001:db8:2::100"), IPv6Address("2001:db8:2::200")
"""The far ones are announced on the other NIC."""
DIRECTOR, DIRECTOR6 = IPv4Address("192.0.2.10"), IPv6Address("2001:db8:2::10")
OWN_MAC = bytes.fromhex("02000202000a")
DICOM, DICOM_TOO, SYSLOG = 104, 11_112, 514
SERVICES: Mapping[tuple[Address, int, Protocol], int] = {
    (VIP, DICOM, Protocol.TCP): 1,
    (VIP, DICOM_TOO, Protocol.TCP): 2,
    (VIP, SYSLOG, Protocol.UDP): 3,
    (VIP6, DICOM, Protocol.TCP): 4,
    (VIP6, DICOM_TOO, Protocol.TCP): 5,
    (VIP6, SYSLOG, Protocol.UDP): 6,
}
"""Their numbers."""
SIZE = 1021
GENERATION = 7
"""Of every backend."""
POOL = 1
FOR_ANSWERS, FOR_RESETS = 0, 1
"""The director's rows of lb_budgets."""


def for_pick_ups(service: int) -> int:
    """The row of a service's tokens for connections in mid-stream."""
    return service * PURPOSES


def for_handshakes(service: int) -> int:
    """The row of a service's tokens for completed handshakes."""
    return service * PURPOSES + 1


def backend_mac(number: int) -> bytes:
    """The MAC of backend ``number``."""
    return bytes((2, 0, 0, 0, 0, number))


def backend_row(
    number: int,
    *,
    state: BackendState = BackendState.UP,
    mac: bytes | None = None,
    limit: int = 0,
    resume: int | None = None,
    lan: Lan = HERE,
) -> BackendRow:
    """Backend ``number`` at 192.0.2.(10 + number). (It answers for VIPs of both families here: to the program it is a MAC.)"""
    return BackendRow(
        generation=GENERATION,
        identity=1000 + number,
        address=IPv4Address(int(DIRECTOR) + number),
        lan=lan,
        state=state,
        mac=backend_mac(number) if mac is None else mac or None,
        limit=limit,
        resume=max(limit - 1, 0) if resume is None else resume,
    )


def up_in(backends: Mapping[int, BackendRow]) -> tuple[int, ...]:
    """References of the backends that take new connections."""
    return tuple(reference(i, row.generation) for i, row in backends.items() if row.state is BackendState.UP)


def interface_row(mac: bytes = OWN_MAC) -> InterfaceRow:
    """The director's."""
    return InterfaceRow(mac=mac, address=DIRECTOR, address6=DIRECTOR6)


def tables(
    backends: dict[int, BackendRow],
    slots: Slots | None = None,
    *,
    fallbacks: Sequence[int] = (),
    on_empty: OnEmpty = OnEmpty.RESET,
    is_private: bool = False,
) -> Tables:
    """A VIP of each family with services tcp/104, tcp/11112, udp/514 over one pool. Slots go round the backends that are up,
    but for those that only stand in if these are full."""
    own = tuple(ref for ref in up_in(backends) if ref & 0xFFFF not in fallbacks)
    others = tuple(ref for ref in up_in(backends) if ref & 0xFFFF in fallbacks)
    round_robin = own or others or (0,)
    owners = np.array([round_robin[i % len(round_robin)] for i in range(SIZE)], np.uint32) if slots is None else slots
    return Tables(
        interfaces={HERE: interface_row()},
        vips={VIP: HERE, VIP6: HERE},
        services={
            ServiceKey(vip=vip, port=port, protocol=protocol): ServiceRow(id=number, pool_id=POOL)
            for (vip, port, protocol), number in SERVICES.items()
        },
        pools={POOL: PoolRow(identity=99, base=0, size=SIZE, on_empty=on_empty, is_private=is_private)},
        backends=backends,
        slots={POOL: owners},
        members={POOL: Members(own=own, fallbacks=others)},
    )
