"""The running daemon: every event changes a fact of the reconciler, and one loop carries out what follows."""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lbctl.config.loader import load
from lbctl.core.desired import NicFacts
from lbctl.core.model import Declaration
from lbctl.core.plan import Plan, SetSlots, SetVip
from lbctl.core.verdict import AgentReport, AgentSilence, ProbeResult
from lbctl.daemon.eventlog import log_events
from lbctl.daemon.models import Flows, Status
from lbctl.daemon.monitor import Monitor
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.reporting import Facts, Reporter
from lbctl.daemon.store import OverrideStore, with_drained
from lbctl.daemon.surroundings import Surroundings
from lbctl.dataplane.port import Attachment, Dataplane
from lbctl.errors import KernelError, LbctlError, UsageError
from lbctl.network.port import Link, LinkChanged, NeighbourChanged, NetworkEvent

_log = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 10.0
RECHECK_INTERVAL_S = 10.0
RETRY_S = 1.0
FIRST_VERDICTS_S = 1.0


class Daemon:
    """Owns the reconciler. Its public methods are what the API and the signals may do."""

    def __init__(
        self,
        *,
        config: Path,
        declaration: Declaration,
        dataplane: Dataplane,
        surroundings: Surroundings,
        store: OverrideStore,
    ) -> None:
        self._config = config
        self._dataplane = dataplane
        self._store = store
        self._overrides = store.load()
        self._facts = Facts(started=time.monotonic(), config=config)
        self._links: Mapping[str, Link] = {}
        self._attachments: dict[str, Attachment] = {}
        self._wake = asyncio.Event()
        self._changing = asyncio.Lock()
        self._reconciler = Reconciler(declaration, dataplane, drained=self._overrides.drained, now=time.monotonic())
        self._reporter = Reporter(self._reconciler, dataplane, self._facts)
        self._surroundings = surroundings
        self._monitor = Monitor(on_probe=self._probed, on_agent=self._agent_answered)

    # Start -----------------------------------------------------------------------------------------------------------

    async def bring_up(self, links: Mapping[str, Link], *, duplicates: Mapping[IPv4Address, bytes]) -> None:
        """From adopted tables to a director that forwards and is announced."""
        async with self._changing:
            self._refuse(duplicates)
            await self._settle(links)
            await self._first_verdicts()
            self._reconcile()
            self._attach()
            self._announce_all()

    async def _settle(self, links: Mapping[str, Link]) -> None:
        """Make the surroundings fit the declaration and the interfaces that there are."""
        declaration = self._reconciler.declaration
        self._links = links
        self._reconciler.nics = {name: NicFacts(ifindex=link.ifindex, mac=link.mac) for name, link in links.items()}
        await self._surroundings.manage_neighbours(declaration, links)
        await self._surroundings.set_probe_paths(declaration, links)
        for link in links.values():
            for neighbour in await self._surroundings.network.neighbours(link.ifindex):
                self._reconciler.neighbour_seen(neighbour)
        self._monitor.watch(declaration, self._surroundings.routes(declaration))

    async def _first_verdicts(self) -> None:
        """Give the first probes a moment, so that the first client finds its server. Who is dead takes longer to tell."""
        deadline = time.monotonic() + FIRST_VERDICTS_S
        while time.monotonic() < deadline and not self._is_first_look_over():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), deadline - time.monotonic())
            self._wake.clear()

    def _is_first_look_over(self) -> bool:
        return all(
            member.health.last_result or member.health.accepts_new for member in self._reconciler.members.values()
        )

    def _attach(self) -> None:
        """Tables first, traffic then."""
        modes = {interface.name: interface.mode for interface in self._reconciler.declaration.interfaces}
        for name, link in self._links.items():
            known = self._attachments.get(name)
            if known is None or known.ifindex != link.ifindex:
                self._attachments[name] = self._dataplane.attach(link.ifindex, modes[name])
                self._log_attachment(name, self._attachments[name])
        for name in self._attachments.keys() - self._links.keys():
            del self._attachments[name]
        self._dataplane.detach_others(frozenset(found.ifindex for found in self._attachments.values()))
        self._reporter.attachments = self._attachments

    @staticmethod
    def _log_attachment(name: str, attachment: Attachment) -> None:
        if attachment.fallback_reason:
            _log.warning("%s: no native XDP (%s): generic mode, slower", name, attachment.fallback_reason)
        else:
            _log.info("%s: program attached in %s mode", name, attachment.mode)

    # The loops -------------------------------------------------------------------------------------------------------

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What runs for as long as the daemon does, once it is up."""
        return self.reconcile_forever(), self.sweep_forever(), self.recheck_refused_forever()

    async def reconcile_forever(self) -> None:
        """Carry out what follows from new facts as soon as there are any; after a failure try again."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                self._reconcile()
            except LbctlError as error:
                self._facts.last_error = error.message
                _log.error("%s", error)
                await asyncio.sleep(RETRY_S)
                self._wake.set()

    def _reconcile(self) -> Plan:
        plan = self._reconciler.reconcile(now=time.monotonic())
        self._facts.last_error = None
        if not plan.is_empty:
            _log.debug("generation %d: %d steps", self._reconciler.generation, len(plan.steps))
        for step in plan.steps:
            if isinstance(step, SetSlots):
                _log.info("pool %d: %d slots changed hands", step.pool_id, len(step.at))
            if isinstance(step, SetVip) and step.after is not None:
                self._announce(step.vip)
        return plan

    async def watch_network(self) -> None:
        """Take in neighbours and links as they change."""
        async for event in self._surroundings.network.events():
            await self._network_changed(event)

    async def _network_changed(self, event: NetworkEvent) -> None:
        if isinstance(event, NeighbourChanged):
            if self._reconciler.neighbour_seen(event.neighbour):
                self._wake.set()
        elif self._concerns_us(event):
            async with self._changing:
                await self._links_changed()

    def _concerns_us(self, event: LinkChanged) -> bool:
        names = {interface.name for interface in self._reconciler.declaration.interfaces}
        known = {link.ifindex: link for link in self._links.values()}
        if event.link is None:
            return event.ifindex in known
        return event.link.name in names and known.get(event.ifindex) != event.link

    async def _links_changed(self) -> None:
        """An interface of ours came, went, or changed: everything that hangs on it is made anew."""
        before = self._links
        links = await self._surroundings.present_links(self._reconciler.declaration)
        try:
            await self._settle(links)
            self._reconcile()
            self._attach()
        except LbctlError as error:  # it may be changing still: the next event brings the rest
            _log.warning("%s", error)
        for name, link in links.items():
            was = before.get(name)
            if link.is_up and (was is None or not was.is_up or was.mac != link.mac):
                _log.info("%s is up with MAC %s", name, link.mac.hex(":"))
                self._surroundings.announce(self._vips_on(name), link)

    async def sweep_forever(self) -> None:
        """End idle flows, and count the others: at once, then every few seconds."""
        while True:
            limits = self._reconciler.idle_limits()
            started = time.monotonic()  # what began to flow during the sweep may have been missed
            try:
                self._reconciler.swept(await asyncio.to_thread(self._dataplane.sweep, limits), now=started)
            except KernelError as error:
                _log.error("%s", error)
            self._wake.set()
            await asyncio.sleep(SWEEP_INTERVAL_S)

    async def recheck_refused_forever(self) -> None:
        """A VIP that somebody else answered for may be free by now."""
        while True:
            await asyncio.sleep(RECHECK_INTERVAL_S)
            refused = self._reconciler.refused_vips
            if refused:
                declaration = self._reconciler.declaration
                found = await self._surroundings.find_duplicates(tuple(refused), declaration, self._links)
                self._reconciler.refused_vips = {}
                self._refuse(found)
                self._wake.set()

    # Facts -----------------------------------------------------------------------------------------------------------

    def _probed(self, label: str, result: ProbeResult) -> None:
        log_events(label, self._reconciler.probed(label, result, now=time.monotonic()))
        self._wake.set()

    def _agent_answered(self, label: str, answer: AgentReport | AgentSilence) -> None:
        events = self._reconciler.agent_answered(label, answer, now=time.monotonic())
        log_events(label, events)
        if events:
            self._wake.set()

    def _refuse(self, duplicates: Mapping[IPv4Address, bytes]) -> None:
        for vip, mac in duplicates.items():
            _log.error("%s is not served: %s already answers for it; free the address there", vip, mac.hex(":"))
        self._reconciler.refused_vips = {**self._reconciler.refused_vips, **duplicates}

    def _announce(self, vip: IPv4Address) -> None:
        for service in self._reconciler.declaration.services:
            link = self._links.get(service.interface)
            if service.vip == vip and link is not None:
                self._surroundings.announce((vip,), link)
                return

    def _announce_all(self) -> None:
        for name, link in self._links.items():
            self._surroundings.announce(self._vips_on(name), link)

    def _vips_on(self, interface: str) -> list[IPv4Address]:
        refused = self._reconciler.refused_vips
        services = self._reconciler.declaration.services
        return list(dict.fromkeys(s.vip for s in services if s.interface == interface and s.vip not in refused))

    # What the API and the signals may do -----------------------------------------------------------------------------

    def status(self) -> Status:
        """Everything, as of now."""
        return self._reporter.status()

    def flows(self, limit: int) -> Flows:
        """Live flows."""
        return self._reporter.flows(limit)

    def set_drained(self, label: str, *, drained: bool) -> str:
        """Drain or enable a backend: on disk first, then in the kernel, then said."""
        labels = [backend.label for backend in self._reconciler.declaration.backends()]
        if label not in labels:
            raise UsageError(f"there is no backend {label}", hint=_nearest(label, labels))
        word = "drained" if drained else "enabled"
        if (label in self._overrides.drained) == drained:
            return f"{label} was {word} already"
        overrides = with_drained(self._overrides, [label], drained=drained)
        self._store.save(overrides)
        self._overrides = overrides
        self._reconciler.drained = overrides.drained
        self._reconcile()
        return f"{label} {word}" + (": no new connections, live ones go on" if drained else "")

    async def reload(self) -> str:
        """Read the file again. On any fault nothing changes, and the old configuration goes on."""
        async with self._changing:
            try:
                declaration = load(self._config)
                links = await self._surroundings.links(declaration)
                await self._redeclare(declaration, links)
            except LbctlError as error:
                self._facts.config_error = str(error)
                _log.error("the configuration was not reloaded, the one before goes on: %s", error)
                raise
            self._facts.config_error = None
            _log.info("reloaded %s", self._config)
            return f"reloaded {self._config}"

    async def _redeclare(self, declaration: Declaration, links: Mapping[str, Link]) -> None:
        fresh = {service.vip for service in declaration.services} - self._reconciler.current.vips.keys()
        duplicates = await self._surroundings.find_duplicates(fresh, declaration, links)
        before = self._reconciler.declaration, self._reconciler.members
        self._reconciler.declare(declaration, now=time.monotonic())
        try:
            self._reconciler.plan(now=time.monotonic())
        except LbctlError:  # it does not fit the tables
            self._reconciler.declaration, self._reconciler.members = before
            raise
        self._reconciler.refused_vips = {vip: mac for vip, mac in self._reconciler.refused_vips.items() if vip in fresh}
        self._refuse(duplicates)
        await self._settle(links)
        await self._first_verdicts()
        self._reconcile()
        self._attach()

    async def close(self) -> None:
        """Stop probing. The kernel goes on forwarding."""
        await self._monitor.close()


def _nearest(label: str, labels: list[str]) -> str:
    close = difflib.get_close_matches(label, labels, n=1)
    return f"did you mean {close[0]}?" if close else "the backends are: " + ", ".join(labels)
