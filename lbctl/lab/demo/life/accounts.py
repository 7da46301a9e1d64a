"""What became of every connection, act by act."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from lbctl.lab.capture import Kind
from lbctl.lab.demo.ledger import Ledger
from lbctl.lab.demo.programme import Account
from lbctl.lab.demo.report import plain_table

_FATES = ("went on", "told", "left waiting", "cut", "served", "refused")
_HEADINGS = (
    "live:\nwent on",
    "live:\ntold",
    "live: left\nwaiting",
    "live:\ncut",
    "new:\nserved",
    "new:\nrefused",
)


def accounts(ledger: Ledger) -> Iterator[Account]:
    """The connections that the clients made and kept, by what became of them."""
    yield "What became of connections", _fates_table(ledger)


def summary(ledger: Ledger) -> str:
    """What cut connections, and what did not."""
    fates = {fate: sum(phase.fates[fate] for phase in ledger.phases) for fate in _FATES}
    answers = sum(phase.received(Kind.FROM_VIP).frames for phase in ledger.phases)
    return (
        f"{fates['went on']} live connections went on, {fates['cut']} were cut without cause, and {fates['told']} whose "
        f"server was dead, halted or replaced were told so. Answers of servers that passed the director: {answers} frames."
    )


def _fates_table(ledger: Ledger) -> Table:
    table = plain_table(left=("phase",), right=_HEADINGS)
    for phase in ledger.phases:
        table.add_row(phase.title, *(str(phase.fates[fate] or "-") for fate in _FATES))
    table.add_section()
    totals = (sum(phase.fates[fate] for phase in ledger.phases) for fate in _FATES)
    table.add_row("all", *(f"{total:,}" for total in totals), style="bold")
    return table
