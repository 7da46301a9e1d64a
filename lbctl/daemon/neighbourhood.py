"""The backends' neighbour entries as the kernel told them, and the MACs that were confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address

from lbctl.core.desired import NicFacts
from lbctl.core.model import Declaration
from lbctl.core.tables import Tables
from lbctl.daemon.doubts import is_heard
from lbctl.network.port import Link, Neighbour, is_other_station


class Neighbourhood:
    """``macs`` has the last confirmed MAC of each address, ``nics`` the interfaces as they are now, by name."""

    def __init__(self, current: Tables) -> None:
        self.nics: dict[str, NicFacts] = {}
        self.macs = {row.address: row.mac for row in current.backends.values() if row.mac}
        self.neighbours: dict[IPv4Address, Neighbour] = {}

    def met(self, links: Mapping[str, Link]) -> None:
        """These are the interfaces there are, by name."""
        self.nics = {name: NicFacts(ifindex=link.ifindex, mac=link.mac) for name, link in links.items()}

    def seen(self, neighbour: Neighbour, declaration: Declaration) -> bool:
        """The kernel told of a neighbour; true if that matters to a backend. The same address on another interface is
        somebody else."""
        interface = _interfaces(declaration).get(neighbour.address)
        nic = self.nics.get(interface) if interface else None
        if nic is None or nic.ifindex != neighbour.ifindex:
            return False
        if neighbour.mac is not None and not is_other_station(neighbour.mac, own=nic.mac):
            neighbour = replace(
                neighbour, mac=None, usable=False, state="claimed with a MAC that is no other station's"
            )
        before = self.neighbours.get(neighbour.address)
        self.neighbours[neighbour.address] = neighbour
        if neighbour.usable and neighbour.mac:
            self.macs[neighbour.address] = neighbour.mac
        return before is None or _essence(before) != _essence(neighbour)

    def heard_on(self, declaration: Declaration) -> frozenset[str]:
        """The interfaces on which at least one backend answers now."""
        interfaces = _interfaces(declaration)
        return frozenset(interfaces[a] for a, found in self.neighbours.items() if a in interfaces and is_heard(found))


def _interfaces(declaration: Declaration) -> Mapping[IPv4Address, str]:
    return {backend.address: backend.interface for backend in declaration.backends()}


def _essence(neighbour: Neighbour) -> tuple[bytes | None, bool, bool, bool]:
    return neighbour.mac, neighbour.usable, neighbour.state == "failed", is_heard(neighbour)
