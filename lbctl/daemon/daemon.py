"""The running daemon: every event changes a fact of the reconciler, and one loop carries out what follows.

Whoever changes more than one fact (start, reload, a changed interface, an operator's word) holds ``_changing`` until the facts
fit together again; the reconcile loop waits for that. Neighbours are taken in at any time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lbctl.config.loader import load_regular
from lbctl.core.model import Declaration
from lbctl.core.verdict import AgentReport, AgentSilence, ProbeResult
from lbctl.daemon.announcing import Announcer
from lbctl.daemon.assigning import Assigner
from lbctl.daemon.attaching import Attacher
from lbctl.daemon.eventlog import log_actives, log_events, log_steps
from lbctl.daemon.facts import Facts
from lbctl.daemon.keeping import Keeper
from lbctl.daemon.monitor import Monitor
from lbctl.daemon.operating import Operator
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.reporting import Reporter
from lbctl.daemon.resetting import Resetter
from lbctl.daemon.store import ActiveStore, AssignmentStore, OverrideStore
from lbctl.daemon.surroundings import Claims, Surroundings, faults_of
from lbctl.daemon.sweeping import Sweeper
from lbctl.daemon.verifying import Verifier
from lbctl.dataplane.port import Dataplane
from lbctl.errors import KernelError, LbctlError
from lbctl.network.port import Link, LinkChanged, NeighbourChanged

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
    ) -> None:
        self._config = config
        self._dataplane = dataplane
        self._facts = Facts(started=time.monotonic(), config=config, director=declaration.director)
        self._links: Mapping[str, Link] = {}
        self._announcer = Announcer(surroundings)
        self._attacher = Attacher(dataplane)
        self._changing = asyncio.Lock()
        self._has_news = asyncio.Event()
        self._has_link_news = asyncio.Event()
        self._has_verdicts = asyncio.Event()
        overrides = OverrideStore(state)
        self._reconciler = Reconciler(
            declaration,
            dataplane,
            overrides=overrides.load(),
            actives=ActiveStore(state).load().active,
            now=time.monotonic(),
        )
        assigner = Assigner(self._reconciler, dataplane, AssignmentStore(state))
        self._keeper = Keeper(self._reconciler, assigner, state)
        self._reporter = Reporter(
            self._reconciler, dataplane, self._facts, attachments=self._attacher.attachments, assigner=assigner
        )
        self._resetter = Resetter(dataplane, surroundings, label_of=self._reconciler.label_of)
        verifier = Verifier(dataplane, surroundings.network)
        self._sweeper = Sweeper(self._reconciler, dataplane, self._resetter, verifier)
        self.operator = Operator(
            reconciler=self._reconciler,
            reporter=self._reporter,
            assigner=assigner,
            overrides=overrides,
            changing=self._changing,
            apply=self._reconcile_now,
        )
        self._surroundings = surroundings
        self._monitor = Monitor(on_probe=self._probed, on_agent=self._agent_answered, on_fault=self._facts.not_probed)

    async def bring_up(self, links: Mapping[str, Link], *, claims: Claims) -> None:
        """From adopted tables to a director that forwards and is announced."""
        async with self._changing:
            self._learn_claims(claims.owners.keys() | claims.unchecked, claims)
            await self._settle(links)
            if self._reconciler.current.services:  # adopted: no id that a flow refers to may be given away
                await self._sweeper.sweep()
            await self._first_verdicts()
            await self._reconcile()
            self._attacher.attach(self._reconciler.declaration, links)
            self._attacher.keep_only(links)
            self._announce_new()

    async def _settle(self, links: Mapping[str, Link]) -> None:
        """Make the surroundings fit the declaration and the interfaces that there are."""
        declaration = self._reconciler.declaration
        self._links = links
        self._facts.warnings = faults_of(declaration, links)
        self._reconciler.neighbourhood.met(links)
        await self._surroundings.manage_neighbours(declaration, links)
        await self._surroundings.set_probe_paths(declaration, links)
        for link in links.values():
            for neighbour in await self._surroundings.network.neighbours(link.ifindex):
                self._reconciler.neighbour_seen(neighbour)
        self._monitor.watch(declaration, self._surroundings.routes(declaration))

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
        self._announce_new()
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
            elif self._concerns_us(event):
                self._has_link_news.set()

    def _concerns_us(self, event: LinkChanged) -> bool:
        names = {interface.name for interface in self._reconciler.declaration.interfaces}
        known = {link.ifindex: link for link in self._links.values()}
        if event.link is None or event.link.name not in names:
            return event.ifindex in known
        return known.get(event.ifindex) != event.link

    async def _links_changed(self) -> None:
        """An interface of ours came, went, or changed: make everything anew that hangs on it. Nothing is detached here, for
        the program of an interface that is gone went with it."""
        links = await self._surroundings.present_links(self._reconciler.declaration)
        self._announcer.links_changed(self._reconciler.declaration.services, before=self._links, after=links)
        await self._settle(links)
        await self._recheck(self._reconciler.unchecked_vips)
        await self._reconcile()
        self._attacher.forget_absent(links)
        self._attacher.attach(self._reconciler.declaration, links)
        self._announce_new()

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
        """A VIP that somebody else answered for may be free by now."""
        while True:
            await asyncio.sleep(RECHECK_INTERVAL_S)
            try:
                async with self._changing:
                    await self._recheck(self._reconciler.refused_vips.keys() | self._reconciler.unchecked_vips)
                    if self._attacher.forget_lost():
                        self._has_link_news.set()
            except LbctlError as error:
                self._facts.failed(error)
            self._has_news.set()

    async def _recheck(self, vips: Iterable[IPv4Address]) -> None:
        asked = frozenset(vips)
        if asked:
            declaration = self._reconciler.declaration
            self._learn_claims(asked, await self._surroundings.find_duplicates(asked, declaration, self._links))

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

    def _learn_claims(self, asked: Iterable[IPv4Address], claims: Claims) -> None:
        for vip, mac in claims.owners.items():
            if vip not in self._reconciler.refused_vips:
                _log.error("%s is not served: %s already answers for it; free the address there", vip, mac.hex(":"))
        self._reconciler.claims_found(asked, owners=claims.owners, unchecked=claims.unchecked)

    def _announce_new(self) -> None:
        forwarding = {name: link for name, link in self._links.items() if name in self._attacher.attachments}
        active = self._reconciler.current.vips
        self._announcer.announce_new(self._reconciler.declaration.services, active=active, forwarding=forwarding)

    async def reload(self) -> str:
        """Read the file again. On any fault nothing changes, and the old configuration goes on."""
        async with self._changing:
            try:
                declaration = await asyncio.to_thread(load_regular, self._config)
                links = await self._surroundings.links(declaration)
                await self._keeper.keep(self._facts)
                await self._redeclare(declaration, links)
            except LbctlError as error:
                self._facts.config_error = str(error)
                _log.error("the configuration was not reloaded, the one before goes on: %s", error)
                raise
            self._facts.config_error = None
            await self._reconcile_now()
            self._attacher.keep_only(links)
            _log.info("reloaded %s", self._config)
            return f"reloaded {self._config}"

    async def _redeclare(self, declaration: Declaration, links: Mapping[str, Link]) -> None:
        """All that can fail, before the first write to the tables; if it does fail, all is as it was."""
        fresh = {service.vip for service in declaration.services} - self._reconciler.current.vips.keys()
        claims = await self._surroundings.find_duplicates(fresh, declaration, links)
        before, links_before = self._reconciler.facts(), self._links
        self._reconciler.declare(declaration, now=time.monotonic())
        self._learn_claims(fresh, claims)
        try:
            self._reconciler.plan(now=time.monotonic())
            self._attacher.attach(declaration, links)
            await self._settle(links)
            await self._first_verdicts()
        except LbctlError:  # it does not fit the tables, or an interface cannot run in the mode declared
            self._reconciler.restore(before)
            with suppress(LbctlError):
                await self._settle(links_before)
            raise

    async def close(self) -> None:
        """The kernel goes on forwarding."""
        await self._monitor.close()
        await self._resetter.close()
