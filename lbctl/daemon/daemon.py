"""The running daemon: every event changes a fact of the reconciler, and one loop carries out what follows.

Whoever changes more than one fact (start, reload, a changed interface, an operator's word) holds ``_changing`` until the facts
fit together again; the reconcile loop waits for that. Neighbours are taken in at any time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from lbctl.core.features import Features
from lbctl.core.verdict import AgentReport, AgentSilence, ProbeResult
from lbctl.daemon.assigning import Assigner
from lbctl.daemon.audit import AuditLog
from lbctl.daemon.changes.applying import Applier
from lbctl.daemon.changes.changing import Changer, Hands
from lbctl.daemon.changes.planning import Planner
from lbctl.daemon.changes.remembering import Memory
from lbctl.daemon.changes.starting import Start
from lbctl.daemon.defending import Defender
from lbctl.daemon.eventlog import log_actives, log_events, log_steps
from lbctl.daemon.facts import Facts
from lbctl.daemon.interfaces import Interfaces
from lbctl.daemon.keeping import Keeper
from lbctl.daemon.monitor import Monitor
from lbctl.daemon.operating import Operator
from lbctl.daemon.pacing import whenever
from lbctl.daemon.ramping import Ramping
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.reports.status import Reporter
from lbctl.daemon.resetting import Resetter
from lbctl.daemon.specialising import Specialiser
from lbctl.daemon.state.overrides import OverrideStore
from lbctl.daemon.state.store import ActiveStore, AssignmentStore, HealthStore
from lbctl.daemon.surroundings import Claims, Surroundings
from lbctl.daemon.sweeping import Sweeper
from lbctl.daemon.verifying import Verifier
from lbctl.daemon.watching import Watching
from lbctl.dataplane.port import Dataplane
from lbctl.errors import KernelError, LbctlError
from lbctl.network.port import Link, NeighbourChanged, PathsTouched

SWEEP_INTERVAL_S = RECHECK_INTERVAL_S = 10.0
FIRST_VERDICTS_S = 1.0


class Daemon:
    """Owns the reconciler. Its public methods are its loops, and what the API and the signals may do."""

    def __init__(
        self,
        *,
        config: Path,
        start: Start,
        dataplane: Dataplane,
        surroundings: Surroundings,
        state: Path,
        features: Features,
        lost: tuple[str, ...] = (),
    ) -> None:
        """``features`` are those of the program that is loaded; ``lost`` says what an upgrade could not take along."""
        self._facts = Facts(started=time.monotonic(), config=config, director=start.declaration.director, lost=lost)
        self._changing = asyncio.Lock()
        self._has_news, self._has_verdicts = asyncio.Event(), asyncio.Event()
        self._has_link_news, self._has_path_news = asyncio.Event(), asyncio.Event()
        overrides, self.audit = OverrideStore(state), AuditLog(state)
        self._reconciler = reconciler = _reconciler(start, dataplane, overrides, state)
        self._monitor = Monitor(
            on_probe=self._probed,
            on_agent=self._agent_answered,
            on_fault=self._facts.not_probed,
            require_ways=surroundings.require_ways,
        )
        self._told_actives = reconciler.actives
        exchanging = asyncio.Lock()
        self._interfaces = Interfaces(
            reconciler, dataplane, surroundings, facts=self._facts, monitor=self._monitor, exchanging=exchanging
        )
        self._defender = Defender(reconciler, dataplane, defend=self._interfaces.defend)
        taken = start.expired.taken if start.expired else {}
        assigner = Assigner(reconciler, dataplane, AssignmentStore(state), taken=taken)
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
        memory = Memory(config, state, start=start, facts=self._facts, audit=self.audit)
        self.planner = self._planner(dataplane, surroundings, assigner)
        reader, changer = self.planner.reader, self._changer(surroundings, assigner)
        self.applier = Applier(changer, memory, facts=self._facts, audit=self.audit, reader=reader)
        self.operator = self._operator(overrides, assigner)
        self._ramping = Ramping(reconciler, overrides, news=self._has_news.set, now=time.monotonic())
        self._surroundings = surroundings

    def _planner(self, dataplane: Dataplane, surroundings: Surroundings, assigner: Assigner) -> Planner:
        return Planner(
            self._reconciler,
            dataplane,
            surroundings,
            changing=self._changing,
            in_force=lambda: self._facts.in_force.text,
            features=lambda: self._specialiser.features,
            books=lambda: assigner.books,
        )

    def _operator(self, overrides: OverrideStore, assigner: Assigner) -> Operator:
        return Operator(
            reconciler=self._reconciler,
            reporter=self._reporter,
            assigner=assigner,
            watching=self.watching,
            overrides=overrides,
            changing=self._changing,
            apply=self._reconcile_now,
        )

    def _changer(self, surroundings: Surroundings, assigner: Assigner) -> Changer:
        hands = Hands(
            keep=lambda: self._keeper.keep(self._facts),
            first_verdicts=self._first_verdicts,
            write=lambda: self._write(is_change=True),
            follow_up=lambda: self._now(self._follow_up),
            try_on=self._reconcile_now,
            settle_later=self._has_link_news.set,
            assigner=assigner,
        )
        return Changer(
            self._reconciler, surroundings, self._interfaces, self._specialiser, changing=self._changing, hands=hands
        )

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
        await self.applier.begin()

    async def _first_verdicts(self) -> None:
        """Give the first probes a moment, so that the first client finds its server. Who is dead takes longer to tell."""
        deadline = time.monotonic() + FIRST_VERDICTS_S
        while not self._reconciler.observed.is_first_look_over and time.monotonic() < deadline:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_verdicts.wait(), deadline - time.monotonic())
            self._has_verdicts.clear()

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What runs once it is up, besides `watch_network`."""
        follow = partial(whenever, changing=self._changing, failed=self._facts.failed)
        return (
            follow(self._has_news, self._reconcile),
            follow(self._has_link_news, self._links_changed),
            follow(self._has_path_news, self._interfaces.restore_paths),
            self._sweep_forever(),
            self._keeper.keep_forever(self._changing, self._facts),
            self._ramping.ramp_forever(self._changing, self._facts),
            self._recheck_refused_forever(),
            self._defender.look_forever(self._facts),
            self.applier.roll_back_unconfirmed_forever(),
        )

    async def _reconcile(self) -> None:
        self._write()
        await self._follow_up()

    def _write(self, *, is_change: bool = False) -> None:
        plan = self._reconciler.reconcile(now=time.monotonic(), is_change=is_change)
        self._resetter.carried_out(plan.steps)
        log_steps(plan.steps, self._reconciler)
        log_actives(self._told_actives, self._reconciler.actives)
        self._told_actives = self._reconciler.actives

    async def _follow_up(self) -> None:
        await self._interfaces.announce()
        self._facts.last_error = None
        await self._keeper.keep(self._facts)

    async def _reconcile_now(self) -> bool:
        """Whether it succeeded; if not, the loop goes on trying."""
        return await self._now(self._reconcile)

    async def _now(self, act: Callable[[], Awaitable[None]]) -> bool:
        try:
            await act()
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
            elif isinstance(event, PathsTouched):
                self._surroundings.touched(event)
                self._has_path_news.set()
            elif self._interfaces.concerns(event):
                self._has_link_news.set()

    async def _links_changed(self) -> None:
        """An interface of ours came, went, or changed: make everything anew that hangs on it."""
        declaration, links = self._reconciler.declaration, await self._interfaces.present()
        await self._interfaces.settle(links, anew=True)
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
        """A VIP that somebody else answered for may be free by now, and a path that the kernel refused be had; a program may be
        gone that nobody here took off."""
        while True:
            await asyncio.sleep(RECHECK_INTERVAL_S)
            try:
                async with self._changing:
                    await self._interfaces.recheck(
                        self._reconciler.refused_vips.keys() | self._reconciler.unchecked_vips
                    )
                    await self._interfaces.reach()
                    if await self._interfaces.attacher.forget_lost():
                        self._has_link_news.set()
            except LbctlError as error:
                self._facts.failed(error)
            self._has_news.set()

    def _probed(self, label: str, result: ProbeResult) -> None:
        self._facts.probed(label)
        events = self._reconciler.observed.probed(label, result, now=time.monotonic())
        log_events(label, events)
        self._has_verdicts.set()
        if events or self._reconciler.unproved:
            self._has_news.set()

    def _agent_answered(self, label: str, answer: AgentReport | AgentSilence) -> None:
        was_guessed = self._reconciler.observed.is_guessed(label)
        events = self._reconciler.observed.agent_answered(label, answer, now=time.monotonic())
        log_events(label, events)
        self._has_verdicts.set()
        if events or was_guessed:
            self._has_news.set()

    async def reload(self) -> str:
        """Put the file in force as it is now. On any fault nothing changes, and the old configuration goes on."""
        return await self.applier.reload()

    async def close(self) -> None:
        """The kernel goes on forwarding."""
        await self._monitor.close()
        await self._resetter.close()


def _reconciler(start: Start, dataplane: Dataplane, overrides: OverrideStore, state: Path) -> Reconciler:
    """One that begins with what the disk remembers."""
    once_active = start.expired.actives if start.expired else {}
    return Reconciler(
        start.declaration,
        dataplane,
        overrides=overrides.load(),
        actives={**once_active, **ActiveStore(state).load().active},
        now=time.monotonic(),
        remembered=HealthStore(state).recall(),
    )
