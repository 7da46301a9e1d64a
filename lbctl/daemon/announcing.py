"""Gratuitous ARP, and unsolicited neighbour advertisements, for VIPs that become active: on an interface that forwards, once
for each occasion. And the groups in which hosts ask for those of IPv6."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import IPv6Address

from lbctl.core.addresses import by_number
from lbctl.core.model import Address, Service
from lbctl.core.tables import Lan
from lbctl.daemon.neighbourhood import lan_of
from lbctl.daemon.surroundings import Surroundings
from lbctl.daemon.vips import is_announced
from lbctl.network.port import Link

_log = logging.getLogger(__name__)


class Announcer:
    """Remembers what was announced, and where it listens, so that nothing is left out when a step before it failed and is tried
    again."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._announced: dict[Address, Lan] = {}
        self._listening: dict[int, frozenset[IPv6Address]] = {}

    async def listen(self, links: Mapping[str, Link], *, active: Mapping[Address, Lan]) -> None:
        """Be a member of the groups of the active IPv6 VIPs on each interface, and of no others. Raises `LbctlError`."""
        for link in (link for link in links.values() if link.is_up):
            vips = frozenset(vip for vip, lan in active.items() if isinstance(vip, IPv6Address) and lan == lan_of(link))
            if self._listening.get(link.ifindex) != vips:
                await self._surroundings.network.listen_for(link.ifindex, vips)
                self._listening[link.ifindex] = vips

    def announce_new(
        self,
        declared: frozenset[Address],
        *,
        active: Mapping[Address, Lan],
        forwarding: Mapping[str, Link],
        claimed: Callable[[], Collection[Address]],
    ) -> None:
        """Announce the active VIPs that were not announced yet; ``forwarding`` are the interfaces with the program, by name.
        Those that are declared no more, and have live connections, too: unless they are ``claimed`` by somebody else."""
        self._announced = {vip: lan for vip, lan in self._announced.items() if active.get(vip) == lan}
        for interface, link in forwarding.items():
            lan = lan_of(link)
            fresh = [vip for vip in active if active[vip] == lan and vip not in self._announced] if link.is_up else []
            if set(fresh) - declared:
                others = claimed()
                fresh = [vip for vip in fresh if vip in declared or vip not in others]
            if fresh:
                self._announced.update(dict.fromkeys(fresh, lan))
                _log.info("%s: announcing %s", interface, ", ".join(map(str, sorted(fresh, key=by_number))))
                self._surroundings.announce(fresh, link)

    def defend(self, vips: Iterable[Address], services: Iterable[Service], *, links: Mapping[str, Link]) -> None:
        """Say once more whose these VIPs are: a single announcement (RFC 5227 section 2.4)."""
        interfaces = {service.vip: service.interface for service in services if is_announced(service)}
        for vip in vips:
            link = links.get(interfaces.get(vip, ""))
            if link is not None and link.is_up:
                self._surroundings.announce([vip], link, times=1)

    def links_changed(self, *, before: Mapping[str, Link], after: Mapping[str, Link]) -> None:
        """An interface that came up, was made anew, or has another MAC, is a new occasion to announce its VIPs, and to
        listen: one that goes down leaves its groups."""
        risen = {name for name, link in after.items() if link.is_up and not _is_same_station(before.get(name), link)}
        for name in risen:
            _log.info("%s is up with MAC %s", name, after[name].mac.hex(":"))
        lans = {lan_of(links[name]) for links in (before, after) for name in risen & links.keys()}
        self._announced = {vip: lan for vip, lan in self._announced.items() if lan not in lans}
        goes_on = {link.ifindex for name, link in after.items() if link.is_up and name not in risen}
        self._listening = {ifindex: vips for ifindex, vips in self._listening.items() if ifindex in goes_on}


def _is_same_station(before: Link | None, after: Link) -> bool:
    if before is None or not before.is_up:
        return False
    return (before.mac, before.ifindex, lan_of(before)) == (after.mac, after.ifindex, lan_of(after))
