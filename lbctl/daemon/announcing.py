"""Gratuitous ARP for VIPs that become active: on an interface that forwards, once for each occasion."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address

from lbctl.core.model import Service
from lbctl.daemon.surroundings import Surroundings
from lbctl.network.port import Link

_log = logging.getLogger(__name__)


class Announcer:
    """Remembers what was announced, so that nothing is left out when a step before it failed and is tried again."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._announced: set[IPv4Address] = set()

    def announce_new(
        self, services: Iterable[Service], *, active: Collection[IPv4Address], forwarding: Mapping[str, Link]
    ) -> None:
        """Announce the active VIPs that were not announced yet; ``forwarding`` are the interfaces with the program, by name."""
        self._announced &= set(active)
        fresh: dict[str, list[IPv4Address]] = {}
        for service in services:
            link = forwarding.get(service.interface)
            if link is not None and link.is_up and service.vip in active and service.vip not in self._announced:
                fresh.setdefault(service.interface, []).append(service.vip)
                self._announced.add(service.vip)
        for interface, vips in fresh.items():
            _log.info("%s: announcing %s", interface, ", ".join(map(str, vips)))
            self._surroundings.announce(vips, forwarding[interface])

    def links_changed(
        self, services: Iterable[Service], *, before: Mapping[str, Link], after: Mapping[str, Link]
    ) -> None:
        """An interface that came up, or that has another MAC, is a new occasion to announce its VIPs."""
        risen = {name for name, link in after.items() if link.is_up and not _is_same_station(before.get(name), link)}
        for name in risen:
            _log.info("%s is up with MAC %s", name, after[name].mac.hex(":"))
        self._announced -= {service.vip for service in services if service.interface in risen}


def _is_same_station(before: Link | None, after: Link) -> bool:
    return before is not None and before.is_up and before.mac == after.mac
