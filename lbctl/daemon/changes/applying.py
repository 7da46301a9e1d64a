"""Texts that are put in force: by an operator, by SIGHUP, or again, for nobody confirmed the one after. One at a time.

Each is an entry of the history before anything is written to the kernel: what cannot be remembered is not done. But to go back
from what nobody confirmed needs no room on the disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from lbctl.config.reading import MAX_BYTES
from lbctl.core.changes import changes
from lbctl.core.model import Declaration
from lbctl.daemon.audit import ITSELF, SIGNAL, Actor, AuditLog, outcome_of
from lbctl.daemon.changes.changing import Changer
from lbctl.daemon.changes.history import Entry, How, Outcome, digest
from lbctl.daemon.changes.past import entry_text, told
from lbctl.daemon.changes.pending import Pending, Waiting
from lbctl.daemon.changes.reading import Reader
from lbctl.daemon.changes.remembering import Memory, Wanted
from lbctl.daemon.facts import Facts, InForce
from lbctl.daemon.models import History, HistoryText
from lbctl.errors import ConflictError, LbctlError, RolledBackError, UsageError

_log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the time that is left for a confirmation is looked at, at least; also the pause after a failure to roll back."""
_NAMED = 3
"""So many changes are named in one line."""


class Applier:
    """``memory`` is what the disk knows, ``facts`` what the status tells."""

    def __init__(self, changer: Changer, memory: Memory, *, facts: Facts, audit: AuditLog, reader: Reader) -> None:
        self._reader = reader
        self._changer = changer
        self._memory = memory
        self._facts = facts
        self._audit = audit
        self._one_at_a_time = asyncio.Lock()
        self._somebody_waits = asyncio.Event()
        self._is_up = asyncio.Event()

    async def begin(self) -> None:
        """The daemon is up. What waited when the one before it ended, waits on."""
        await asyncio.to_thread(self._memory.note_start)
        if self._facts.waiting:
            self._changer.may_return_to(self._facts.waiting.pending.actives)
            self._somebody_waits.set()
        self._is_up.set()

    # What may be asked for -----------------------------------------------------------------------------------------------

    async def reload(self) -> str:
        """Put the file in force as it is now. On any fault nothing changes, and the old configuration goes on."""
        path = self._memory.config.path
        await self._is_up.wait()  # a signal may come at any time
        async with self._one_at_a_time:
            try:
                self._require_nobody_waits()
                text = await asyncio.to_thread(self._memory.config.text)
                said = await self._put(Wanted(text=text, source=str(path), actor=SIGNAL, how=How.RELOAD))
            except BaseException as error:  # unforeseen ones, too, and the daemon's end
                self._facts.config_error = str(error) if isinstance(error, LbctlError) else outcome_of(error)
                if isinstance(error, LbctlError):
                    _log.error("the configuration was not reloaded, the one before goes on: %s", error)
                self._audit.record(SIGNAL, "reload", str(path), outcome=outcome_of(error), is_done=False)
                raise
            await self._changer.reduce()
            _log.info("reloaded %s", path)
            self._audit.record(SIGNAL, "reload", str(path), outcome=said)
            return f"reloaded {path}"

    async def apply(self, actor: Actor, *, text: str, source: str, base: str, confirm_s: float | None) -> str:
        """Put a text in force that was planned on top of another, whose SHA-256 is ``base``."""
        async with self._one_at_a_time:
            self._require_nobody_waits()
            self._require_base(base)
            wanted = Wanted(text=text, source=source, actor=actor, how=How.APPLY)
            return await self._put(wanted, confirm_s=confirm_s)

    async def roll_back(self, actor: Actor, *, number: int | None, base: str) -> str:
        """Put an entry's text in force again; without a number what was in force before. Ends the wait for a confirmation."""
        async with self._one_at_a_time:
            self._require_base(base)
            waiting = self._facts.waiting
            if waiting and number in (None, waiting.pending.before):
                return await self._take_back(waiting, why=f"by {actor.name}")
            self._require_nobody_waits()
            found = self._memory.history.entry(number) if number is not None else self._before()
            text = await asyncio.to_thread(self._memory.history.text, found.number)
            return await self._put(Wanted(text=text, source=entry_text(found.number), actor=actor, how=How.ROLLBACK))

    async def confirm(self) -> str:
        """What waits stays."""
        async with self._one_at_a_time:
            waiting = self._facts.waiting
            if waiting is None:
                raise UsageError("nothing waits for a confirmation", hint="`lbctl history` tells what became of it")
            said = await asyncio.to_thread(self._fit_file, waiting.entry.source, self._facts.in_force.text)
            if not await asyncio.to_thread(self._memory.forget_pending):
                raise LbctlError("it is not confirmed", hint="; ".join(self._facts.remarks.values()))
            self._ends_waiting()
            return await self._settled(waiting.entry, said, "confirmed: ")

    def history(self) -> History:
        """May be called from another thread."""
        in_force, waiting = self._facts.in_force.entry, self._facts.waiting
        return told(self._memory.history.entries(), in_force=in_force, waiting=waiting)

    def history_text(self, number: int) -> HistoryText:
        """May be called from another thread."""
        return HistoryText(number=number, text=self._memory.history.text(number))

    async def roll_back_unconfirmed_forever(self) -> None:
        """What nobody confirms in time is rolled back, whether or not whoever applied it is still there."""
        while True:
            await self._somebody_waits.wait()
            left_s = self._facts.waiting.pending.left_s() if self._facts.waiting else LOOK_S
            if left_s > 0:
                await asyncio.sleep(min(left_s, LOOK_S))
                continue
            async with self._one_at_a_time:
                await self._give_up_waiting()

    # How it is done ------------------------------------------------------------------------------------------------------

    async def _put(self, wanted: Wanted, *, confirm_s: float | None = None) -> str:
        """The same text again is no change, and not even parsed."""
        if digest(wanted.text) == self._facts.in_force.sha256:
            return await self._same(wanted)
        _require_readable(wanted.text)
        declaration = await self._reader.declaration(wanted.text, source=wanted.source)
        wanted = replace(wanted, what=_in_one_line(self._changer.declaration, declaration))
        entry = await self._change(wanted, declaration, confirm_s)
        self._facts.in_force = InForce(text=wanted.text, source=wanted.source, entry=entry)
        self._facts.config_error = None
        if self._facts.waiting:
            return f"{_in_force(entry)}; {self._facts.waiting.words(confirm_s or 0)}"
        said = await asyncio.to_thread(self._fit_file, entry.source, wanted.text)
        return await self._settled(entry, said, "")

    async def _change(self, wanted: Wanted, declaration: Declaration, confirm_s: float | None) -> Entry:
        """Its entry, which waits if it is to be confirmed."""
        begun: list[Entry | Waiting] = []

        async def remember(actives: Mapping[str, str]) -> None:
            taken = self._changer.taken_by(declaration)
            begin = partial(self._memory.begin, taken=taken, actives=actives)
            begun.append(await asyncio.to_thread(begin, wanted, confirm_s=confirm_s))

        try:
            await self._changer.change(declaration, commit=remember)
        except RolledBackError as error:
            why = error.message.removeprefix("rolled back: ")
            await asyncio.to_thread(self._failed, begun[0], why)
            raise
        if isinstance(begun[0], Entry):
            return begun[0]
        self._facts.waiting = await asyncio.to_thread(self._memory.let_wait, begun[0], confirm_s or 0.0)
        self._changer.may_return_to(self._facts.waiting.pending.actives)
        self._somebody_waits.set()
        return begun[0].entry

    def _failed(self, begun: Entry | Waiting, why: str) -> None:
        entry = begun if isinstance(begun, Entry) else begun.entry
        if self._memory.settle(entry, Outcome.FAILED, why=why):
            self._memory.forget_pending()
        self._memory.prune()

    async def _same(self, wanted: Wanted) -> str:
        """All that there may be to do is to mend what somebody else wrote."""
        is_mended = await self._changer.mend()
        self._facts.config_error = None
        said = await asyncio.to_thread(self._fit_file, wanted.source, wanted.text)
        done = "the tables are as lbctl wrote them again" if is_mended else "nothing to do"
        return _joined(f"{done}: this very text is in force", said)

    async def _settled(self, entry: Entry, said: str | None, word: str) -> str:
        """It stays. What could not be written does not undo it. The file comes before: the next start goes by it, and whoever
        is killed in between has begun what is in the file."""
        await asyncio.to_thread(self._memory.settle, entry, Outcome.DONE)
        await asyncio.to_thread(self._memory.prune)
        return _joined(word + _in_force(entry), said)

    def _fit_file(self, source: str, text: str) -> str | None:
        """The file is to have the text that is in force, but is not to lose one that was written since."""
        is_own = self._memory.config.is_named(source)
        return self._memory.compare_file(text) if is_own else self._memory.write_file(text)

    # Going back ----------------------------------------------------------------------------------------------------------

    async def _give_up_waiting(self) -> None:
        """Unless it was confirmed at the last moment. Tried again until it succeeds."""
        waiting = self._facts.waiting
        if waiting is None or waiting.pending.left_s() > 0:
            return
        try:
            said = await self._take_back(waiting, why="nobody confirmed it in time")
        except LbctlError as error:
            self._facts.failed(error)
            await asyncio.sleep(LOOK_S)
        except Exception:  # whatever it is: nobody else would take it back
            _log.exception("what nobody confirmed is not rolled back yet")
            await asyncio.sleep(LOOK_S)
        else:
            self._audit.record(ITSELF, "roll back", f"entry {waiting.entry.number}", outcome=said)

    async def _take_back(self, waiting: Waiting, *, why: str) -> str:
        """What was in force before, is again; so is the file's text, if the file is where this one was applied from."""
        before = await asyncio.to_thread(self._memory.history.entry, waiting.pending.before)
        text = await asyncio.to_thread(self._memory.history.text, before.number)
        declaration = await self._reader.declaration(text, source=before.source)
        await self._changer.change(declaration, commit=_nothing)
        self._facts.in_force = InForce(text=text, source=before.source, entry=before)
        await self._give_back(waiting.pending)
        said = await asyncio.to_thread(self._note_taken_back, waiting.entry, text, why)
        self._ends_waiting()
        await asyncio.to_thread(self._memory.prune)
        done = f"entry {waiting.entry.number} is rolled back ({why}), entry {before.number} is in force again"
        return _joined(done, said)

    async def _give_back(self, pending: Pending) -> None:
        """What is remembered of it is forgotten after that."""
        try:
            await self._changer.give_back(pending.taken)
        except LbctlError as error:
            self._facts.failed(error)

    def _note_taken_back(self, entry: Entry, text: str, why: str) -> str | None:
        is_in_file = self._memory.config.sha256() == entry.sha256
        said = self._memory.write_file(text) if is_in_file else self._memory.compare_file(text)
        is_noted = self._memory.settle(entry, Outcome.ROLLED_BACK, why=why)
        if is_noted or self._memory.config.sha256() != entry.sha256:  # else the next start would go by that file
            self._memory.forget_pending()
        return said

    def _ends_waiting(self) -> None:
        self._facts.waiting, self._facts.config_error = None, None
        self._changer.may_return_to({})
        self._somebody_waits.clear()

    # What must hold ------------------------------------------------------------------------------------------------------

    def _require_nobody_waits(self) -> None:
        if self._facts.waiting:
            raise ConflictError(
                f"{self._facts.waiting.entry.words} waits for its confirmation",
                hint="confirm or roll back first: lbctl confirm, or lbctl rollback",
            )

    def _require_base(self, base: str) -> None:
        if base != self._facts.in_force.sha256:
            raise ConflictError(
                f"the configuration was changed meanwhile by {self._facts.in_force.words}",
                hint="plan again: lbctl plan",
            )

    def _before(self) -> Entry:
        """What was in force before the present entry."""
        present = self._facts.in_force.entry
        older = (e for e in self._memory.history.known_good() if present is None or e.number < present.number)
        found = next(older, None)
        if found is None:
            raise UsageError("nothing was in force before", hint="`lbctl history` lists what there is")
        return found


async def _nothing(_actives: Mapping[str, str]) -> None:
    """To go back needs no room on the disk."""


def _require_readable(text: str) -> None:
    """From a file, too: at the next start."""
    if len(text.encode()) > MAX_BYTES:
        raise UsageError(f"the text is larger than {MAX_BYTES >> 20} MiB", hint="is this the right file?")


def _in_force(entry: Entry) -> str:
    return f"entry {entry.number} is in force: {entry.what}"


def _joined(said: str, more: str | None) -> str:
    return f"{said}; but {more}" if more else said


def _in_one_line(before: Declaration, after: Declaration) -> str:
    """What a change is, for the history."""
    found = [str(change) for change in changes(before, after)]
    more = [f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
    return "; ".join([*found[:_NAMED], *more]) or "nothing but comments, or the way it is written"
