"""The declared interfaces as they are now, and all that hangs on them: neighbours, probe paths, groups, the program,
announcements.

When one goes, comes, or changes, all of that is made anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from lbctl.core.model import Address, Declaration
from lbctl.daemon.announcing import Announcer
from lbctl.daemon.attaching import Attacher
from lbctl.daemon.facts import Facts
from lbctl.daemon.faults import faults_of
from lbctl.daemon.monitor import Monitor
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.surroundings import Claims, Surroundings
from lbctl.daemon.vips import announced_vips
from lbctl.dataplane.port import Dataplane
from lbctl.errors import LbctlError
from lbctl.network.port import Link, LinkChanged, PathsTouched

_log = logging.getLogger(__name__)


class Interfaces:
    """``links`` by name, as they were when they were last settled. ``unreached`` are the backends, by label, to which the
    kernel then refused a path for probes, and why."""

    def __init__(
        self,
        reconciler: Reconciler,
        dataplane: Dataplane,
        surroundings: Surroundings,
        *,
        facts: Facts,
        monitor: Monitor,
        exchanging: asyncio.Lock,
    ) -> None:
        self._reconciler = reconciler
        self._dataplane = dataplane
        self._surroundings = surroundings
        self._facts = facts
        self._monitor = monitor
        self._announcer = Announcer(surroundings)
        self.attacher = Attacher(dataplane, surroundings.network, exchanging=exchanging)
        self.links: Mapping[str, Link] = {}
        self.unreached: Mapping[str, LbctlError] = {}

    async def settle(self, links: Mapping[str, Link], *, anew: bool = False) -> None:
        """Make the surroundings fit the declaration and the interfaces that there are. ``anew``: also what fitted before, for
        something happened to the interfaces. Whoever sees that first notes what is announced again for it."""
        declaration, before, is_first = self._reconciler.declaration, self.links, not self.links
        anew = anew or any(before[name] != links[name] for name in before.keys() & links.keys())
        self._announcer.links_changed(before=before, after=links)
        self.links = links
        self._facts.warn(faults_of(declaration, links))
        self._reconciler.neighbourhood.met(links)
        lingering = self._reconciler.lingering()
        are_new = await self._surroundings.manage_neighbours(declaration, links, lingering=lingering, anew=anew)
        self.unreached = await self._surroundings.set_probe_paths(declaration, links, anew=anew)
        for link in links.values() if are_new or is_first else ():
            for neighbour in await self._surroundings.network.neighbours(link.ifindex):
                self._reconciler.neighbour_seen(neighbour)
        self._probe(declaration)

    def _probe(self, declaration: Declaration) -> None:
        """All backends but the unreached: of these nothing is known but what was."""
        for label, error in self.unreached.items():
            self._facts.not_probed(label, error.message)
        routes = self._surroundings.routes(declaration)
        self._monitor.watch(declaration, {label: routes[label] for label in routes.keys() - self.unreached.keys()})

    def probe_no_others(self) -> None:
        """Another file was declared: until all is settled for it, nobody is heard whom it has not."""
        self._monitor.leave_others(self._reconciler.declaration)

    async def restore_paths(self) -> None:
        """Put rules and routes of the probes back that somebody else deleted: without them nobody can be probed. (With a link
        go its routes, which is nobody's doing; they come back when that is settled.)"""
        links = await self.present()
        if links == self.links and await self._surroundings.lacks_probe_paths(links):
            await self.settle(self.links, anew=True)
            _log.warning("somebody deleted rules or routes of lbctl's probes (protocol 108); they are put back")

    def concerns(self, event: LinkChanged) -> bool:
        """Whether a change is one of ours, or of the device below one."""
        names = {interface.name for interface in self._reconciler.declaration.interfaces}
        known = {link.ifindex: link for link in self.links.values()}
        if event.ifindex in {link.device for link in known.values()} - known.keys():
            return True
        if event.link is None or event.link.name not in names:
            return event.ifindex in known
        return known.get(event.ifindex) != event.link

    async def present(self) -> Mapping[str, Link]:
        """The links now, to be settled."""
        return await self._surroundings.present_links(self._reconciler.declaration)

    async def attach(self, declaration: Declaration, links: Mapping[str, Link]) -> None:
        """Put the program where it belongs. What is gone was detached with that."""
        self.attacher.forget_absent(links)
        await self.attacher.attach(declaration, links)

    async def announce(self) -> None:
        """Tell the network of VIPs that became active, and listen for those who ask for them."""
        active = self._reconciler.current.vips
        forwarding = {name: link for name, link in self.links.items() if name in self.attacher.attachments}
        try:
            await self._announcer.listen(self.links, active=active)
        finally:
            self._announcer.announce_new(
                announced_vips(self._reconciler.declaration),
                active=active,
                forwarding=forwarding,
                claimed=self._dataplane.claims,
            )

    async def reach(self) -> None:
        """Try the paths again that the kernel refused, and look for those that are gone without a word."""
        if self.unreached:
            await self.settle(self.links)
        elif self._facts.unprobed:
            self._surroundings.touched(PathsTouched())
            await self.restore_paths()

    def defend(self, vips: Iterable[Address]) -> None:
        """Say once more whose these are."""
        active = self._reconciler.current.vips
        services = self._reconciler.declaration.services
        self._announcer.defend([vip for vip in vips if vip in active], services, links=self.links)

    async def recheck(self, vips: Iterable[Address]) -> None:
        """Ask the network once more who answers for these."""
        asked = frozenset(vips)
        if asked:
            declaration = self._reconciler.declaration
            self.learn(asked, await self._surroundings.find_duplicates(asked, declaration, self.links))

    def learn(self, asked: Iterable[Address], claims: Claims) -> None:
        """The network was asked for these VIPs."""
        for vip, mac in claims.owners.items():
            if vip not in self._reconciler.refused_vips:
                _log.error("%s is not served: %s already answers for it; free the address there", vip, mac.hex(":"))
        self._reconciler.claims_found(asked, owners=claims.owners, unchecked=claims.unchecked)
