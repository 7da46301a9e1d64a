"""The history as it is told."""

from __future__ import annotations

from collections.abc import Sequence

from lbctl.daemon.changes.history import Entry, Outcome
from lbctl.daemon.changes.pending import Waiting
from lbctl.daemon.models import History, HistoryEntry
from lbctl.daemon.models.applying import EntryOutcome

_TOLD: dict[Outcome, EntryOutcome] = {
    Outcome.BEGUN: "begun",
    Outcome.UNCONFIRMED: "applied",
    Outcome.DONE: "applied",
    Outcome.FAILED: "failed",
    Outcome.ROLLED_BACK: "rolled back",
}


def entry_text(number: int) -> str:
    """What messages call the text of an entry."""
    return f"entry {number} of the history"


def told(entries: Sequence[Entry], *, in_force: Entry | None, waiting: Waiting | None) -> History:
    """Which one is in force follows from what came after."""
    present = in_force.number if in_force else 0
    if waiting:
        before: int | None = waiting.pending.before
    else:
        before = next((e.number for e in reversed(entries) if e.was_in_force and e.number < present), None)
    return History(entries=tuple(_entry(entry, present, waiting) for entry in entries), before=before)


def _entry(entry: Entry, present: int, waiting: Waiting | None) -> HistoryEntry:
    outcome = _TOLD[entry.outcome]
    if entry.number == present:
        outcome = "unconfirmed" if waiting and waiting.entry.number == present else "in force"
    return HistoryEntry(
        number=entry.number,
        time=entry.time,
        user=entry.user,
        uid=entry.uid,
        how=entry.how.value,
        source=entry.source,
        sha256=entry.sha256,
        what=entry.what,
        outcome=outcome,
        why=entry.why,
    )
