"""Rows: pools with private storage, where a source keeps to the backend that holds what it sent."""

from __future__ import annotations

from dataclasses import replace

from lbctl.core.model import Protocol
from lbctl.core.tables import BackendState
from lbctl.dataplane.layout import Reason
from tests.packets.cases import Before, Case, Entry, backends, drops, of_both, refuses, sends
from tests.packets.families import Family
from tests.packets.frames import tcp
from tests.packets.hashes import hash_source
from tests.packets.world import DICOM_TOO, SIZE, backend_row

UP, ABSENT = BackendState.UP, BackendState.ABSENT
NO_NEW = (BackendState.DRAINING, BackendState.DOWN, BackendState.DEAD, BackendState.HALTED)


def owner(ip: Family) -> int:
    """To whom a source falls that has sent nothing yet: in the rig, slots go round the three."""
    return (hash_source(ip.client) * SIZE >> 32) % 3 + 1


def held(number: int, state: BackendState = UP) -> Before:
    """What the client sent is with that backend, which is in that state."""
    return Before(holder=number, backends=backends(state, number=number))


def unheld(ip: Family) -> list[Case]:
    new, datagram = owner(ip), Entry(backend=owner(ip), protocol=Protocol.UDP)
    given = Before(holder=0)
    return [
        sends("SYN of a source that sent nothing yet", ip.tcp("S"), new, Reason.SYN, given),
        sends("SYN of the same source to another service", ip.tcp("S", DICOM_TOO), new, Reason.SYN, given),
        sends("SYN of the same source from another port", ip.tcp("S", client_port=7), new, Reason.SYN, given),
        sends("datagram of a source that sent nothing yet", ip.udp(), new, Reason.UDP_NEW, given, after=datagram),
        sends(
            "first ACK of a source that sent nothing yet",
            ip.tcp("A"),
            new,
            Reason.FIRST_ACK,
            replace(given, earlier=(ip.tcp("S"),)),
            after=Entry(backend=new),
        ),
    ]


def assigned(ip: Family) -> list[Case]:
    holder = owner(ip) % 3 + 1
    flow, datagram = Entry(backend=holder), Entry(backend=holder, protocol=Protocol.UDP)
    elsewhere = Entry(backend=owner(ip))
    full = {**backends(), holder: backend_row(holder, limit=1)}
    return [
        sends("SYN of an assigned source", ip.tcp("S"), holder, Reason.SYN, held(holder)),
        sends("ACK of an assigned source", ip.tcp("A"), holder, Reason.PICKED_UP, held(holder), after=flow),
        sends("datagram of an assigned source", ip.udp(), holder, Reason.UDP_NEW, held(holder), after=datagram),
        sends(
            "data of an assigned source on a flow that is elsewhere",
            ip.tcp("PA"),
            owner(ip),
            Reason.ESTABLISHED,
            replace(held(holder), flow=elsewhere),
            after=elsewhere,
        ),
        sends("SYN of an assigned source, holder gone", ip.tcp("S"), *heir(ip, holder)),
        sends(
            "SYN of an assigned source, its holder has room for one",
            ip.tcp("S"),
            holder,
            Reason.SYN,
            replace(held(holder), backends=full),
        ),
        sends("SYN of another source than the one that is assigned", tcp_of_another(ip), *another(ip, holder)),
    ]


def heir(ip: Family, holder: int) -> tuple[int, Reason, Before]:
    """Who takes over what the holder can take no more."""
    left = [number for number in (1, 2, 3) if number != holder]
    return left[(hash_source(ip.client) * SIZE >> 32) % 2], Reason.SYN, held(holder, ABSENT)


def tcp_of_another(ip: Family) -> bytes:
    return tcp("S", client=ip.foreign, vip=ip.vip)


def another(ip: Family, holder: int) -> tuple[int, Reason, Before]:
    return (hash_source(ip.foreign) * SIZE >> 32) % 3 + 1, Reason.SYN, held(holder)


def of(what: str, state: BackendState) -> str:
    return f"{what} of an assigned source, holder {state.name.lower()}"


def not_moved(ip: Family) -> list[Case]:
    """He is refused rather than sent to where his studies are not; in mid-stream the holder is right whatever its state."""
    holder = owner(ip) % 3 + 1
    flow = Entry(backend=holder)
    segment = ip.tcp("A", ack=9)
    return [
        *(
            refuses(
                of(name, state),
                frame,
                Reason.TURNED_AWAY,
                held(holder, state),
            )
            for state in NO_NEW
            for name, frame in (("SYN", ip.tcp("S")), ("datagram", ip.udp()))
        ),
        *(
            sends(
                of("ACK", state),
                segment,
                holder,
                Reason.PICKED_UP,
                held(holder, state),
                after=flow,
            )
            for state in (BackendState.DRAINING, BackendState.DOWN)
        ),
        *(
            refuses(of("ACK", state), segment, Reason.RESET, held(holder, state))
            for state in (BackendState.DEAD, BackendState.HALTED)
        ),
        drops(
            "SYN of an assigned source, holder unresolved",
            ip.tcp("S"),
            Reason.UNRESOLVED,
            Before(holder=holder, backends=backends(number=holder, mac=b"")),
        ),
    ]


ROWS: list[Case] = of_both(unheld, assigned, not_moved)
