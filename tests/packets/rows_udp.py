"""Rows: UDP."""

from __future__ import annotations

from lbctl.core.model import Protocol
from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, Entry, backends, drops, of_both, owner, sends
from tests.packets.families import Family
from tests.packets.frames import cut, padded, patched
from tests.packets.world import backend_mac

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


def new(ip: Family) -> list[Case]:
    return [
        sends("first datagram", ip.udp(), OWNER, Reason.UDP_NEW, after=ENTERED),
        sends("first datagram, padded", padded(ip.udp()), OWNER, Reason.UDP_NEW, after=ENTERED),
        sends("first datagram, empty", ip.udp(data=b""), OWNER, Reason.UDP_NEW, after=ENTERED),
        sends("first datagram, large", ip.udp(data=bytes(1472)), OWNER, Reason.UDP_NEW, after=ENTERED),
        sends("first datagram, IP options", ip.udp(ip_options=ip.options), OWNER, Reason.UDP_NEW, after=ENTERED),
        sends(
            "first datagram without a checksum",
            patched(ip.udp(), ip.at(6), b"\0\0"),
            OWNER,
            Reason.UDP_NEW,
            after=ENTERED,
        ),
        drops(
            "datagram to an unresolved backend",
            ip.udp(),
            Reason.UNRESOLVED,
            Before(backends=backends(number=OWNER, mac=b"")),
            after=ENTERED,
        ),
        drops(
            "datagram from its slot's backend",
            ip.udp(source=backend_mac(OWNER)),
            Reason.LOOP_BACKEND,
            after=ENTERED,
        ),
    ]


def established(ip: Family) -> list[Case]:
    return [
        sends("next datagram, backend up", ip.udp(), OLD, Reason.UDP_ESTABLISHED, with_flow(), after=kept()),
        sends(
            "next datagram, backend draining",
            ip.udp(),
            OLD,
            Reason.UDP_ESTABLISHED,
            with_flow(DRAINING),
            after=kept(),
        ),
        sends(
            "next datagram, backend down",
            ip.udp(),
            NEW_OWNER,
            Reason.UDP_NEW,
            with_flow(DOWN),
            after=Entry(backend=NEW_OWNER, protocol=Protocol.UDP),
        ),
        sends(
            "next datagram, backend gone",
            ip.udp(),
            NEW_OWNER,
            Reason.UDP_NEW,
            with_flow(ABSENT),
            after=Entry(backend=NEW_OWNER, protocol=Protocol.UDP),
        ),
        sends(
            "next datagram, backend of a later generation",
            ip.udp(),
            OWNER,
            Reason.UDP_NEW,
            with_flow(generation=6),
            after=ENTERED,
        ),
    ]


def truncated(ip: Family) -> list[Case]:
    return [
        drops(
            f"UDP header of {size} bytes, total length {'true' if honest else 'untrue'}",
            cut(ip.udp(), size, honest=honest),
            Reason.MALFORMED,
        )
        for size in (0, 1, 2, 4, 6, 7)
        for honest in (True, False)
    ]


ROWS: list[Case] = of_both(new, established, truncated)
