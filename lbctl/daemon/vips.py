"""Which VIPs are announced where, and which are not there yet. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lbctl.core.model import Address, Announce, Declaration, Service
from lbctl.core.tables import Lan
from lbctl.daemon.neighbourhood import lan_of
from lbctl.network.port import Link


def is_announced(service: Service) -> bool:
    """Whether the director answers for a service's VIP on a segment; else routers know the way to it."""
    return service.announce is Announce.ARP


def announced_vips(declaration: Declaration) -> frozenset[Address]:
    """Those that are answered for on a segment."""
    return frozenset(service.vip for service in declaration.services if is_announced(service))


def fresh_vips(
    declaration: Declaration, links: Mapping[str, Link], *, current: Mapping[Address, Lan]
) -> frozenset[Address]:
    """Those that are to be announced where they are not answered for now: somebody else may. ``links`` by name; ``current`` has
    the segment of each VIP that is active."""
    wanted = {
        service.vip: lan_of(links[service.interface]) if service.interface in links else None
        for service in declaration.services
        if is_announced(service)
    }
    return frozenset(vip for vip, lan in wanted.items() if lan is None or current.get(vip) != lan)
