"""From one declaration to another, or not at all.

All that can fail comes before the first write to the tables. What is written is read back; if the kernel refuses a step, or has
something else than was written, the declaration before is put back, written and verified like any other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from lbctl.core.assignments import Book
from lbctl.core.model import Declaration
from lbctl.daemon.assigning import Assigner
from lbctl.daemon.changes.declared import DeclaredFacts
from lbctl.daemon.interfaces import Interfaces
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.specialising import Specialiser
from lbctl.daemon.surroundings import Surroundings
from lbctl.daemon.vips import fresh_vips
from lbctl.errors import KernelError, LbctlError, RolledBackError
from lbctl.network.port import Link

_log = logging.getLogger(__name__)

Commit = Callable[[Mapping[str, str]], Awaitable[None]]
"""Given the active one of each pool with failover, as they are before the change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What of the daemon a change needs: ``keep`` saves what was learnt until now, ``first_verdicts`` gives new probes a
    moment, ``write`` carries out and verifies what the declaration asks for (`KernelError`), ``follow_up`` is what comes after
    every write, and ``try_on`` writes, and goes on trying: whether it succeeded at once. ``settle_later`` has all that hangs on
    the interfaces made anew, until that succeeds. ``assigner`` knows which sources keep to which backend."""

    keep: Callable[[], Awaitable[None]]
    first_verdicts: Callable[[], Awaitable[None]]
    write: Callable[[], None]
    follow_up: Callable[[], Awaitable[object]]
    try_on: Callable[[], Awaitable[bool]]
    settle_later: Callable[[], None]
    assigner: Assigner


class Changer:
    """``changing`` is held while facts change."""

    def __init__(
        self,
        reconciler: Reconciler,
        surroundings: Surroundings,
        interfaces: Interfaces,
        specialiser: Specialiser,
        *,
        changing: asyncio.Lock,
        hands: Hands,
    ) -> None:
        self._reconciler = reconciler
        self._surroundings = surroundings
        self._interfaces = interfaces
        self._specialiser = specialiser
        self._changing = changing
        self._hands = hands

    async def change(self, declaration: Declaration, *, commit: Commit) -> None:
        """Put another declaration in force. ``commit`` is awaited right before the first write; if it raises, nothing changes.
        Raises `LbctlError`: nothing was changed; `RolledBackError`: something was, and was taken back."""
        await self._surroundings.links(declaration)  # if they are not as declared, nobody need wait for the compiler
        # Before anything is held: meanwhile backends fail, and others take over.
        await self._specialiser.extend(declaration, current=self._reconciler.current)
        try:
            async with self._changing:
                await self._hands.keep()
                links = await self._surroundings.links(declaration)  # by now one may have another MAC
                await self._change_over(declaration, links, commit)
        finally:
            await self.reduce()

    def may_return_to(self, actives: Mapping[str, str]) -> None:
        """These are the active ones again, should the declaration before come back, where nobody else is by then. A plan of
        that tells it, too."""
        self._reconciler.once_active = actives

    def taken_by(self, declaration: Declaration) -> Mapping[str, Book]:
        """Which source keeps to which backend now, by pool, of those that another declaration has not."""
        gone = {name: _without(book, name, declaration) for name, book in self._hands.assigner.books.items()}
        return {name: book for name, book in gone.items() if book}

    async def give_back(self, taken: Mapping[str, Book]) -> None:
        """Sources that were let go of because their backends were removed, and that found no other since, have them again."""
        async with self._changing:
            await self._hands.assigner.give_back(taken)

    async def mend(self) -> bool:
        """Write what somebody else changed in the tables; whether there was anything. Raises `LbctlError`."""
        async with self._changing:
            self._reconciler.look_again()
            has_drifted = self._reconciler.has_drifted
            plan, _, _ = self._reconciler.plan(now=time.monotonic())
            if not plan.is_empty and not await self._hands.try_on():
                raise KernelError("the kernel refused some of what was to be mended; lbctl goes on trying", hint=_HINT)
            return has_drifted

    async def reduce(self) -> None:
        """Have no more in the program than is needed now. What is too much does no harm, and what is in force stays so."""
        try:
            await self._specialiser.reduce(self._reconciler.declaration, current=self._reconciler.current)
        except LbctlError as error:
            _log.warning("the program has more in it than is needed: %s", error)
        except Exception:
            _log.exception("the program has more in it than is needed")

    @property
    def declaration(self) -> Declaration:
        """The one in force."""
        return self._reconciler.declaration

    async def _change_over(self, declaration: Declaration, links: Mapping[str, Link], commit: Commit) -> None:
        before, links_before = self._reconciler.facts(), self._interfaces.links
        try:
            self._reconciler.look_again()
            await self._redeclare(declaration, links)
            await commit(before.actives)
        except (
            BaseException
        ):  # it does not fit the tables, an interface cannot run in the mode declared, the disk is full
            await self._restore(before, links_before)
            raise
        try:
            self._hands.write()
        except Exception as error:  # whatever it is: tables that are half written are put back
            await self._restore(before, links_before)
            raise await self._rolled_back(error) from error
        await self._finish(links)

    async def _finish(self, links: Mapping[str, Link]) -> None:
        """The declaration is in force. What goes wrong from here on does not undo that, and must not look as if it did."""
        try:
            await self._hands.follow_up()
            self._interfaces.attacher.keep_only(links)
            if await self._interfaces.present() != links:  # nobody listened to a new one before it was declared
                self._hands.settle_later()
        except LbctlError as error:
            _log.error("the change is in force, but not all that follows from it is done: %s", error)
        except Exception:
            _log.exception("the change is in force, but not all that follows from it is done")

    async def _redeclare(self, declaration: Declaration, links: Mapping[str, Link]) -> None:
        """All that can fail, before the first write to the tables."""
        fresh = fresh_vips(declaration, links, current=self._reconciler.current.vips)
        claims = await self._surroundings.find_duplicates(fresh, declaration, links)
        self._reconciler.declare(declaration, now=time.monotonic())
        self._interfaces.probe_no_others()
        self._interfaces.learn(fresh, claims)
        self._reconciler.hand_over(now=time.monotonic())
        await self._interfaces.attacher.attach(declaration, links)
        unreached_before = self._interfaces.unreached.keys()
        await self._interfaces.settle(links)
        for label in self._interfaces.unreached.keys() - unreached_before:
            raise self._interfaces.unreached[label]
        await self._hands.first_verdicts()

    async def _restore(self, before: DeclaredFacts, links_before: Mapping[str, Link]) -> None:
        """On the interfaces as they are by now: nobody listened to what happened to one that the file tried does not have."""
        self._reconciler.restore(before, heard=self._watched_alike(before.declaration))
        self._interfaces.probe_no_others()
        try:
            links = await self._interfaces.present()
            await self._interfaces.settle(links)
            await self._interfaces.attach(before.declaration, links)
            self._interfaces.attacher.keep_only(links)
            if links != links_before:  # the tables are to follow, and VIPs to be announced
                self._hands.settle_later()
        except LbctlError as error:
            _log.error("what hangs on the interfaces is not all as before, and is tried again: %s", error)
            self._hands.settle_later()

    def _watched_alike(self, declaration: Declaration) -> frozenset[str]:
        """The backends, by label, of which the probes say the same by another declaration as by this one: whoever fails while a
        change is tried has failed, also if it comes to nothing."""
        here, there = self._watched(self.declaration), self._watched(declaration)
        return frozenset(label for label, watched in here.items() if there.get(label) == watched)

    def _watched(self, declaration: Declaration) -> Mapping[str, tuple[object, ...]]:
        routes = self._surroundings.routes(declaration)
        backends = declaration.backends()
        return {each.label: (each.key, each.interface, each.check, each.agent, routes[each.label]) for each in backends}

    async def _rolled_back(self, error: Exception) -> RolledBackError:
        """The tables are put back; what there is to say of that."""
        why = error.message if isinstance(error, LbctlError) else repr(error)
        if not await self._hands.try_on():
            why = f"{why}; the kernel refused some of the way back, too, and lbctl goes on trying"
        return RolledBackError(f"rolled back: {why}", hint=_HINT)


def _without(book: Book, pool: str, declaration: Declaration) -> Book:
    """The part of a book that is about backends that are not declared."""
    declared = {backend.label for backend in declaration.backends()}
    return {source: name for source, name in book.items() if f"{pool}/{name}" not in declared}


_HINT = "what was in force before goes on; see the daemon's log (journalctl -u lbctl), and try again"
