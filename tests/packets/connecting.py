"""Clients that connect to backends with limits."""

from __future__ import annotations

from ipaddress import IPv4Address

from lbctl.core.tables import Tables
from lbctl.dataplane.layout import Reason
from tests.packets.cases import all_slots
from tests.packets.frames import CLIENT, tcp
from tests.packets.rig import Rig
from tests.packets.world import backend_row, tables

FIRST_PORT = 50_000


def limited(*limits: int, resume: int | None = None, fallbacks: tuple[int, ...] = (), slots_of: int = 1) -> Tables:
    """Backends 1 and so on with these limits (0: none); every slot is one of theirs."""
    rows = {
        number: backend_row(number, limit=limit, resume=resume if limit else None)
        for number, limit in enumerate(limits, start=1)
    }
    return tables(rows, all_slots(slots_of), fallbacks=fallbacks)


def send(rig: Rig, flags: str, port: int, client: IPv4Address = CLIENT) -> tuple[Reason, int]:
    """The reason, and the backend that got it; 0 if nobody did."""
    frame = tcp(flags, client_port=port, client=client, ack=9)
    outcome, reason = rig.run_for_reason(frame)
    is_sent = outcome.data[12:] == frame[12:] and outcome.data != frame
    return reason, outcome.data[5] if is_sent else 0


def connect(rig: Rig, port: int, client: IPv4Address = CLIENT) -> int:
    """A whole handshake; the backend, 0 if it was turned away."""
    reason, backend = send(rig, "S", port, client)
    if reason is not Reason.SYN:
        assert (reason, backend) == (Reason.TURNED_AWAY, 0)
        return 0
    assert send(rig, "A", port, client) == (Reason.FIRST_ACK, backend)
    return backend


def connect_many(rig: Rig, count: int, *, first: int = FIRST_PORT) -> list[int]:
    return [connect(rig, port) for port in range(first, first + count)]
