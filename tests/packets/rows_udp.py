"""Rows: UDP."""

from __future__ import annotations

from lbctl.core.model import Protocol
from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, Entry, backends, drops, owner, sends
from tests.packets.frames import IP_OPTIONS, cut, padded, patched, udp
from tests.packets.rig import backend_mac

UP, DRAINING, DOWN, ABSENT = BackendState.UP, BackendState.DRAINING, BackendState.DOWN, BackendState.ABSENT

OWNER = owner(Protocol.UDP)
OLD = OWNER % 3 + 1
NEW_OWNER = owner(Protocol.UDP, up=tuple(number for number in (1, 2, 3) if number != OLD))
ENTERED = Entry(backend=OWNER, protocol=Protocol.UDP)


def kept(generation: int = 7) -> Entry:
    """A flow to `OLD`."""
    return Entry(backend=OLD, protocol=Protocol.UDP, generation=generation)


def with_flow(backend: BackendState = UP, generation: int = 7) -> Before:
    """A flow to `OLD`, which is in a state of its own."""
    return Before(backends=backends(backend, number=OLD), flow=kept(generation))


NEW = [
    sends("first datagram", udp(), OWNER, Reason.UDP_NEW, after=ENTERED),
    sends("first datagram, padded", padded(udp()), OWNER, Reason.UDP_NEW, after=ENTERED),
    sends("first datagram, empty", udp(data=b""), OWNER, Reason.UDP_NEW, after=ENTERED),
    sends("first datagram, large", udp(data=bytes(1472)), OWNER, Reason.UDP_NEW, after=ENTERED),
    sends("first datagram, IP options", udp(options=list(IP_OPTIONS)), OWNER, Reason.UDP_NEW, after=ENTERED),
    sends("first datagram without a checksum", patched(udp(), 40, b"\0\0"), OWNER, Reason.UDP_NEW, after=ENTERED),
    drops(
        "datagram to an unresolved backend", udp(), Reason.UNRESOLVED, Before(backends=backends(number=OWNER, mac=b"")),
        after=ENTERED,
    ),
    drops(
        "datagram from its slot's backend", udp(source=backend_mac(OWNER)), Reason.LOOP_BACKEND, after=ENTERED,
    ),
]  # fmt: skip

ESTABLISHED = [
    sends(
        "next datagram, backend up", udp(), OLD, Reason.UDP_ESTABLISHED, with_flow(), after=kept()
    ),
    sends(
        "next datagram, backend draining", udp(), OLD, Reason.UDP_ESTABLISHED, with_flow(DRAINING),
        after=kept(),
    ),
    sends(
        "next datagram, backend down", udp(), NEW_OWNER, Reason.UDP_NEW, with_flow(DOWN),
        after=Entry(backend=NEW_OWNER, protocol=Protocol.UDP),
    ),
    sends(
        "next datagram, backend gone", udp(), NEW_OWNER, Reason.UDP_NEW, with_flow(ABSENT),
        after=Entry(backend=NEW_OWNER, protocol=Protocol.UDP),
    ),
    sends(
        "next datagram, backend of a later generation", udp(), OWNER, Reason.UDP_NEW, with_flow(generation=6), after=ENTERED
    ),
]  # fmt: skip

TRUNCATED = [
    drops(
        f"UDP header of {size} bytes, total length {'true' if honest else 'untrue'}", cut(udp(), size, honest=honest),
        Reason.MALFORMED,
    )
    for size in (0, 1, 2, 4, 6, 7)
    for honest in (True, False)
]  # fmt: skip

ROWS: list[Case] = NEW + ESTABLISHED + TRUNCATED
