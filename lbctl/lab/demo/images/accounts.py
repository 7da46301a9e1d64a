"""What moved: connections by archive, bytes by kind, and what the director saw of it all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.table import Table

from lbctl.lab.capture import FROM_CLIENTS, Kind
from lbctl.lab.demo.ledger import Ledger, Phase
from lbctl.lab.demo.programme import Account
from lbctl.lab.demo.report import plain_table
from lbctl.lab.demo.words import amount, kilobytes, megabytes
from lbctl.lab.topology import VIP

_NIC_COLUMNS: tuple[tuple[str, Callable[[Phase], int]], ...] = (
    ("client\ndata", lambda phase: phase.received(Kind.CLIENT_DATA).octets),
    ("pure\nACKs", lambda phase: phase.received(Kind.CLIENT_ACK).octets),
    ("SYN, FIN\nRST", lambda phase: phase.received(Kind.CLIENT_CONTROL).octets),
    ("archive\nto client", lambda phase: phase.received(Kind.FROM_VIP).octets),
    ("lbctl's\nchecks", lambda phase: phase.both_ways(Kind.PROBE).octets),
    ("\nARP", lambda phase: phase.both_ways(Kind.ARP).octets),
    ("\nother", lambda phase: phase.both_ways(Kind.OTHER).octets),
)


def accounts(ledger: Ledger) -> Iterator[Account]:
    """Who got the connections, and what passed the director's NIC."""
    yield "New connections by archive, and the MB that clients stored and retrieved", _work_table(ledger)
    yield "The director's NIC, in kB: received from clients; checks and ARP in and out", _nic_table(ledger)


def _work_table(ledger: Ledger) -> Table:
    archives = sorted({name for phase in ledger.phases for name in phase.connections})
    headings = (*archives, "stored", "retrieved")
    table = plain_table(left=("phase",), right=headings)
    for phase in ledger.phases:
        connections = (str(phase.connections.get(name, 0)) for name in archives)
        table.add_row(phase.title, *connections, megabytes(phase.stored_bytes), megabytes(phase.retrieved_bytes))
    table.add_section()
    table.add_row(
        "all",
        *(str(sum(phase.connections.get(name, 0) for phase in ledger.phases)) for name in archives),
        megabytes(sum(phase.stored_bytes for phase in ledger.phases)),
        megabytes(sum(phase.retrieved_bytes for phase in ledger.phases)),
        style="bold",
    )
    return table


def _nic_table(ledger: Ledger) -> Table:
    headings = tuple(heading for heading, _ in _NIC_COLUMNS)
    table = plain_table(left=("phase",), right=headings)
    rows = {phase.title: _nic_row(phase) for phase in ledger.phases}
    for title, row in rows.items():
        table.add_row(title, *map(kilobytes, row))
    table.add_section()
    table.add_row("all", *(kilobytes(sum(column)) for column in zip(*rows.values(), strict=True)), style="bold")
    return table


def _nic_row(phase: Phase) -> tuple[int, ...]:
    return tuple(octets_of(phase) for _, octets_of in _NIC_COLUMNS)


def summary(ledger: Ledger) -> str:
    """What came back, and what the director saw of it."""
    retrieved = sum(phase.retrieved_bytes for phase in ledger.phases)
    acknowledged = sum(phase.received(Kind.CLIENT_ACK).octets for phase in ledger.phases)
    answers = sum(phase.received(Kind.FROM_VIP).frames for phase in ledger.phases)
    received = sum(phase.received(*FROM_CLIENTS).frames for phase in ledger.phases)
    sent_on = sum(phase.sent(*FROM_CLIENTS).frames for phase in ledger.phases)
    part = f" ({acknowledged / retrieved:.2%})" if retrieved else ""
    return (
        f"{amount(retrieved)} came back from {VIP}. The director saw {answers} frames of it, and {amount(acknowledged)} "
        f"of pure ACKs{part}. Of {received:,} frames from clients it sent {sent_on:,} on."
    )
