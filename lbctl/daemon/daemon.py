"""The running daemon: every event changes a fact of the reconciler, and one loop carries out what follows.

Whoever changes more than one fact (start, reload, a changed interface, an operator's word) holds ``_changing`` until the facts
fit together again; the reconcile loop waits for that. Neighbours are taken in at any time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lbctl.config.loader import load_regular
from lbctl.core.features import Features
from lbctl.core.model import Declaration
from lbctl.core.verdict import AgentReport, AgentSilence, ProbeResult
from lbctl.daemon.assigning import Assigner
from lbctl.daemon.audit import AuditLog
from lbctl.daemon.conflicts import LOOK_INTERVAL_S
from lbctl.daemon.defending import Defender
from lbctl.daemon.eventlog import log_actives, log_events, log_steps
from lbctl.daemon.facts import Facts
from lbctl.daemon.interfaces import Interfaces
from lbctl.daemon.keeping import Keeper
from lbctl.daemon.monitor import Monitor
from lbctl.daemon.operating import Operator
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.reporting import Reporter
from lbctl.daemon.resetting import Resetter
from lbctl.daemon.specialising import Specialiser
from lbctl.daemon.store import ActiveStore, AssignmentStore, OverrideStore
from lbctl.daemon.surroundings import Claims, Surroundings
from lbctl.daemon.sweeping import Sweeper
from lbctl.daemon.verifying import Verifier
from lbctl.daemon.vips import fresh_vips
from lbctl.daemon.watching import Watching
from lbctl.dataplane.port import Dataplane
from lbctl.errors import KernelError, LbctlError
from lbctl.network.port import Link, NeighbourChanged

_log = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 10.0
RECHECK_INTERVAL_S = 10.0
RETRY_S = FIRST_VERDICTS_S = 1.0


class Daemon:
    """Owns the reconciler. Its public methods are its loops, and what the API and the signals may do."""

    def __init__(
        self,
        *,
        config: Path,
        declaration: Declaration,
        dataplane: Dataplane,
        surroundings: Surroundings,
        state: Path,
        features: Features,
    ) -> None:
        """``features`` are those of the program that is loaded."""
        self._config = config
        self._facts = Facts(started=time.monotonic(), config=config, director=declaration.director)
        self._changing, self._reloading = asyncio.Lock(), asyncio.Lock()
        self._has_news = asyncio.Event()
        self._has_link_news = asyncio.Event()
        self._has_verdicts = asyncio.Event()
        overrides = OverrideStore(state)
        self.audit = AuditLog(state)
        self._reconciler = reconciler = Reconciler(
            declaration,
            dataplane,
            overrides=overrides.load(),
            actives=ActiveStore(state).load().active,
            now=time.monotonic(),
        )
        self._monitor = Monitor(on_probe=self._probed, on_agent=self._agent_answered, on_fault=self._facts.not_probed)
        exchanging = asyncio.Lock()
        self._interfaces = Interfaces(
            reconciler, dataplane, surroundings, facts=self._facts, monitor=self._monitor, exchanging=exchanging
        )
        self._defender = Defender(reconciler, dataplane, defend=self._interfaces.defend)
        assigner = Assigner(reconciler, dataplane, AssignmentStore(state))
        self._keeper = Keeper(reconciler, assigner, state)
        self._reporter = Reporter(
            reconciler,
            dataplane,
            self._facts,
            attachments=self._interfaces.attacher.attachments,
            assigner=assigner,
            claims=self._defender.claims,
        )
        self._resetter = Resetter(dataplane, surroundings, label_of=reconciler.label_of)
        self._sweeper = Sweeper(reconciler, dataplane, self._resetter, Verifier(dataplane, surroundings.network))
        self._specialiser = Specialiser(dataplane, features, exchanging=exchanging)
        self.watching = Watching(reconciler, dataplane)
        self.operator = Operator(
            reconciler=reconciler,
            reporter=self._reporter,
            assigner=assigner,
            watching=self.watching,
            overrides=overrides,
            changing=self._changing,
            apply=self._reconcile_now,
        )
        self._surroundings = surroundings

    async def bring_up(self, links: Mapping[str, Link], *, claims: Claims) -> None:
        """From adopted tables to a director that forwards and is announced."""
        async with self._changing:
            declaration = self._reconciler.declaration
            self._defender.look()
            self._interfaces.learn(claims.owners.keys() | claims.unchecked, claims)
            await self._interfaces.settle(links)
            if self._reconciler.current.services:  # adopted: no id that a flow refers to may be given away
                await self._sweeper.sweep()
            await self._first_verdicts()
            await self._reconcile()  # first: a program behind links that are there needs tables that are filled
            await self._specialiser.extend(declaration, current=self._reconciler.current)
            await self._interfaces.attach(declaration, links)
            self._interfaces.attacher.keep_only(links)
            await self._interfaces.announce()

    async def _first_verdicts(self) -> None:
        """Give the first probes a moment, so that the first client finds its server. Who is dead takes longer to tell."""
        deadline = time.monotonic() + FIRST_VERDICTS_S
        while not self._reconciler.observed.is_first_look_over and time.monotonic() < deadline:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_verdicts.wait(), deadline - time.monotonic())
            self._has_verdicts.clear()

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What runs once it is up, besides `watch_network`."""
        return (
            self._whenever(self._has_news, self._reconcile),
            self._whenever(self._has_link_news, self._links_changed),
            self._sweep_forever(),
            self._keeper.keep_forever(self._changing, self._facts),
            self._recheck_refused_forever(),
            self._look_for_claims_forever(),
        )

    async def _whenever(self, there_is_news: asyncio.Event, act: Callable[[], Awaitable[None]]) -> None:
        """Act as soon as there is news; after a failure, again until it succeeds."""
        while True:
            await there_is_news.wait()
            there_is_news.clear()
            try:
                async with self._changing:
                    await act()
            except LbctlError as error:
                self._facts.failed(error)
                await asyncio.sleep(RETRY_S)
                there_is_news.set()

    async def _reconcile(self) -> None:
        before = self._reconciler.actives
        plan = self._reconciler.reconcile(now=time.monotonic())
        self._resetter.carried_out(plan.steps)
        log_steps(plan.steps, self._reconciler)
        log_actives(before, self._reconciler.actives)
        await self._interfaces.announce()
        self._facts.last_error = None
        await self._keeper.keep(self._facts)

    async def _reconcile_now(self) -> bool:
        """Whether it succeeded; if not, the loop goes on trying."""
        try:
            await self._reconcile()
        except LbctlError as error:
            self._facts.failed(error)
            self._has_news.set()
            return False
        return True

    async def watch_network(self) -> None:
        """Take in neighbours as they change; leave interfaces to another loop, for those take longer."""
        async for event in self._surroundings.network.events():
            if isinstance(event, NeighbourChanged):
                if self._reconciler.neighbour_seen(event.neighbour):
                    self._has_news.set()
            elif self._interfaces.concerns(event):
                self._has_link_news.set()

    async def _links_changed(self) -> None:
        """An interface of ours came, went, or changed: make everything anew that hangs on it."""
        declaration, links = self._reconciler.declaration, await self._interfaces.present()
        await self._interfaces.settle(links)
        await self._interfaces.recheck(self._reconciler.unchecked_vips)
        await self._reconcile()
        await self._interfaces.attach(declaration, links)
        await self._interfaces.announce()

    async def _sweep_forever(self) -> None:
        """End idle flows, and count the others: at once, then every few seconds."""
        while True:
            try:
                self._reporter.note()
                await self._sweeper.sweep()
            except KernelError as error:
                self._facts.failed(error)
            self._has_news.set()
            await asyncio.sleep(SWEEP_INTERVAL_S)

    async def _recheck_refused_forever(self) -> None:
        """A VIP that somebody else answered for may be free by now; a program may be gone that nobody here took off."""
        while True:
            await asyncio.sleep(RECHECK_INTERVAL_S)
            try:
                async with self._changing:
                    await self._interfaces.recheck(
                        self._reconciler.refused_vips.keys() | self._reconciler.unchecked_vips
                    )
                    if await self._interfaces.attacher.forget_lost():
                        self._has_link_news.set()
            except LbctlError as error:
                self._facts.failed(error)
            self._has_news.set()

    async def _look_for_claims_forever(self) -> None:
        """Others may say that a VIP is theirs at any time."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                self._defender.look()
            except KernelError as error:
                self._facts.failed(error)

    def _probed(self, label: str, result: ProbeResult) -> None:
        self._facts.probed(label)
        events = self._reconciler.observed.probed(label, result, now=time.monotonic())
        log_events(label, events)
        self._has_verdicts.set()
        if events:
            self._has_news.set()

    def _agent_answered(self, label: str, answer: AgentReport | AgentSilence) -> None:
        was_guessed = self._reconciler.observed.is_guessed(label)
        events = self._reconciler.observed.agent_answered(label, answer, now=time.monotonic())
        log_events(label, events)
        self._has_verdicts.set()
        if events or was_guessed:
            self._has_news.set()

    async def reload(self) -> str:
        """Read the file again. On any fault nothing changes, and the old configuration goes on."""
        async with self._reloading:
            try:
                declaration = await asyncio.to_thread(load_regular, self._config)
                links = await self._surroundings.links(declaration)
                # Before anything is held: meanwhile backends fail, and others take over.
                await self._specialiser.extend(declaration, current=self._reconciler.current)
                async with self._changing:
                    await self._change_over(declaration, links)
            except LbctlError as error:
                self._facts.config_error = str(error)
                _log.error("the configuration was not reloaded, the one before goes on: %s", error)
                raise
            _log.info("reloaded %s", self._config)
            with suppress(LbctlError):  # what is too much does no harm
                await self._specialiser.reduce(declaration, current=self._reconciler.current)
            return f"reloaded {self._config}"

    async def _change_over(self, declaration: Declaration, links: Mapping[str, Link]) -> None:
        await self._keeper.keep(self._facts)
        await self._redeclare(declaration, links)
        self._facts.config_error = None
        await self._reconcile_now()
        self._interfaces.attacher.keep_only(links)

    async def _redeclare(self, declaration: Declaration, links: Mapping[str, Link]) -> None:
        """All that can fail, before the first write to the tables; if it does fail, all is as it was."""
        fresh = fresh_vips(declaration, links, current=self._reconciler.current.vips)
        claims = await self._surroundings.find_duplicates(fresh, declaration, links)
        before, links_before = self._reconciler.facts(), self._interfaces.links
        self._reconciler.declare(declaration, now=time.monotonic())
        self._interfaces.learn(fresh, claims)
        try:
            self._reconciler.plan(now=time.monotonic())
            await self._interfaces.attacher.attach(declaration, links)
            await self._interfaces.settle(links)
            await self._first_verdicts()
        except LbctlError:  # it does not fit the tables, or an interface cannot run in the mode declared
            self._reconciler.restore(before)
            with suppress(LbctlError):
                await self._interfaces.settle(links_before)
            raise

    async def close(self) -> None:
        """The kernel goes on forwarding."""
        await self._monitor.close()
        await self._resetter.close()
