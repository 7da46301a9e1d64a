"""What the state directory and the configuration file say of the texts that are in force, and of those that were.

All methods touch the disk, so call them in a thread. What has to be remembered before a change raises if it cannot be; what is
noted after one does not undo it: a failure becomes a remark in the status.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from lbctl.core.assignments import Book
from lbctl.daemon.audit import ITSELF, Actor, AuditLog
from lbctl.daemon.changes.configfile import ConfigFile
from lbctl.daemon.changes.history import Entry, History, How, Outcome, digest
from lbctl.daemon.changes.pending import PendingStore, Waiting, until
from lbctl.daemon.changes.starting import Start
from lbctl.daemon.facts import Facts, InForce
from lbctl.errors import LbctlError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A text that somebody wants in force."""

    text: str
    source: str
    actor: Actor
    how: How
    what: str = ""
    """What it changes, in one line."""


class Memory:
    """``facts`` tell what is in force, what waits, and what could not be written."""

    def __init__(self, config: Path, state: Path, *, start: Start, facts: Facts, audit: AuditLog) -> None:
        self.config = ConfigFile(config)
        self.history = History(state)
        self._pending = PendingStore(state)
        self._facts = facts
        self._audit = audit
        self._start = start
        facts.in_force = InForce(text=start.text, source=start.source)
        facts.config_error = start.config_error

    # Before the first write: raises --------------------------------------------------------------------------------------

    def begin(
        self, wanted: Wanted, *, confirm_s: float | None, taken: Mapping[str, Book], actives: Mapping[str, str]
    ) -> Waiting | Entry:
        """Remember a change that is about to be made, and what to go back to if nobody confirms it: also the sources whose
        backends are ``taken`` from them, and who are the active ones. Raises `LbctlError`."""
        self._forget_taken_back()
        before = self._facts.in_force.entry or self._remember_present()
        entry = self._add(wanted)
        if confirm_s is None:
            return entry
        pending = until(confirm_s, number=entry.number, before=before.number, taken=taken, actives=actives)
        try:
            self._pending.save(pending)
        except LbctlError as error:
            self.settle(entry, Outcome.FAILED, why=error.message)
            raise
        return Waiting(entry, pending)

    def _forget_taken_back(self) -> None:
        """Nobody waits now. What waited last may have been taken back while the disk refused to note it; the next start would
        believe that it waits still."""
        self.history.catch_up()
        self._pending.clear()
        self._facts.remark("pending", None)

    def _remember_present(self) -> Entry:
        """The disk refused it at the start."""
        present = self._facts.in_force
        entry = self._add(
            Wanted(text=present.text, source=present.source, actor=ITSELF, how=How.START, what="remembered late")
        )
        self._facts.in_force = InForce(text=present.text, source=present.source, entry=entry)
        return self.history.settle(entry, Outcome.DONE)

    def _add(self, wanted: Wanted) -> Entry:
        return self.history.add(wanted.text, actor=wanted.actor, how=wanted.how, source=wanted.source, what=wanted.what)

    # After it: remarks ---------------------------------------------------------------------------------------------------

    def settle(self, entry: Entry, outcome: Outcome, *, why: str = "") -> bool:
        """Note what became of a change; whether that is on the disk."""
        return self._try("history", lambda: self.history.settle(entry, outcome, why=why))

    def let_wait(self, begun: Waiting, confirm_s: float) -> Waiting:
        """It is in force, and its time begins now: to carry it out may have taken seconds."""
        self.settle(begun.entry, Outcome.UNCONFIRMED)
        pending = begun.pending.renewed(confirm_s)
        is_saved = self._try("pending", lambda: self._pending.save(pending))
        return Waiting(begun.entry, pending) if is_saved else replace(begun, is_shortened=True)

    def forget_pending(self) -> bool:
        """Nothing waits any more."""
        return self._try("pending", self._pending.clear)

    def _try(self, subject: str, act: Callable[[], object]) -> bool:
        try:
            act()
        except LbctlError as error:
            self._facts.remark(subject, error.message)
            return False
        self._facts.remark(subject, None)
        return True

    def prune(self) -> None:
        """Let the oldest entries go, but not what is in force, nor what may be in force again next."""
        entry, waiting = self._facts.in_force.entry, self._facts.waiting
        keep = {each.number for each in islice(self.history.known_good(), 2)}
        keep |= {entry.number} if entry else set()
        keep |= {waiting.pending.number, waiting.pending.before} if waiting else set()
        try:
            self.history.prune(keep=frozenset(keep))
        except OSError as error:
            _log.warning("the history is not pruned: %s", error)

    def write_file(self, text: str) -> str | None:
        """Make this the file's text. What there is to say if it could not be; or if it had one that nobody has applied yet."""
        try:
            aside = self._exchange(text)
        except OSError as error:
            fault = error.strerror or error
            said = f"{self.config.path} differs from what is in force, for it cannot be written: {fault}"
            self._facts.remark("file", said)
            return said
        self._facts.remark("file", None)
        return f"{self.config.path} had a text that the history does not have: it is in {aside} now" if aside else None

    def _exchange(self, text: str) -> Path | None:
        """Where the file's text is that somebody wrote and the history does not have."""
        found = self.config.sha256()
        if found == digest(text):
            return None
        is_known = found in {entry.sha256 for entry in self.history.entries()} or not self.config.path.exists()
        aside = None if is_known else self.config.set_aside()
        self.config.replace(text)
        return aside

    def compare_file(self, text: str) -> str | None:
        """What there is to say if the file does not have the text that was applied as its own."""
        said = None if self.config.sha256() == digest(text) else f"{self.config.path} differs from what is in force"
        self._facts.remark("file", said)
        return said

    # The start -----------------------------------------------------------------------------------------------------------

    def note_start(self) -> None:
        """What is in force now, and what became of what the daemon before this one had begun. Never fails."""
        start = self._start
        self._facts.remark("pending", start.fault)
        if start.expired:
            self._expire(start)
        waiting = start.waits.number if start.waits else None
        try:
            self._settle_begun(start, waiting)
            self._note_in_force(start, waiting)
        except LbctlError as error:
            self._facts.remark("history", f"what is in force is not in the history: {error.message}")

    def _expire(self, start: Start) -> None:
        """Nobody confirmed it, and the time is over, or the machine was started anew."""
        assert start.expired is not None
        try:
            refused = self.history.entry(start.expired.number)
            if self.config.sha256() == refused.sha256:
                self.write_file(start.text)
        except LbctlError as error:
            self._facts.remark("pending", error.message)
            self.forget_pending()
            return
        if refused.sha256 == digest(start.text):  # there was nothing to go back to
            if self.settle(refused, Outcome.DONE, why="nobody confirmed it, but nothing from before it could be read"):
                self.forget_pending()
            return
        is_whole = refused.outcome is not Outcome.BEGUN
        why = "nobody confirmed it" if is_whole else "the daemon ended while it was carried out"
        self._audit.record(
            ITSELF, "roll back", f"entry {refused.number}", outcome=f"entry {refused.number} is rolled back: {why}"
        )
        if self.settle(refused, Outcome.ROLLED_BACK, why=why):
            self.forget_pending()

    def _settle_begun(self, start: Start, waiting: int | None) -> None:
        """What the daemon before this one was killed at. The latest may well be what this one starts from."""
        entries = self.history.entries()
        for entry in entries:
            if entry.outcome is Outcome.BEGUN and entry.number != waiting:
                is_in_force = entry is entries[-1] and entry.sha256 == digest(start.text)
                why = "" if is_in_force else "the daemon ended while it was carried out"
                self.history.settle(entry, Outcome.DONE if is_in_force else Outcome.FAILED, why=why)

    def _note_in_force(self, start: Start, waiting: int | None) -> None:
        entry = self.history.entry(waiting) if waiting is not None else self.history.in_force()
        if entry is None or entry.sha256 != digest(start.text):
            what = "the file differs from what was in force" if entry else "the first start"
            wanted = Wanted(text=start.text, source=start.source, actor=ITSELF, how=How.START, what=what)
            entry = self.history.settle(self._add(wanted), Outcome.DONE)
        self._facts.in_force = InForce(text=start.text, source=start.source, entry=entry)
        self._facts.waiting = Waiting(entry, start.waits) if start.waits else None
