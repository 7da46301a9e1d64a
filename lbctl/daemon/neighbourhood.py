"""The backends' neighbour entries as the kernel told them, and the MACs that were confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lbctl.core.model import Address
from lbctl.core.situation import NicFacts
from lbctl.core.tables import Lan, Tables
from lbctl.daemon.doubts import is_heard
from lbctl.network.port import Link, Neighbour, is_other_station

_ASKED_ANEW = frozenset({"deleted", "none", "incomplete"})
"""States that tell nothing of a neighbour that was usable: the kernel has forgotten it, as it does all of an interface's when
that goes down or gets another MAC, and asks again. If no answer comes, it says so (failed) within seconds. On another
interface nobody has answered yet."""


class Neighbourhood:
    """``macs`` has the last confirmed MAC of each address, ``nics`` the interfaces as they are now, by name."""

    def __init__(self, current: Tables) -> None:
        self.nics: Mapping[str, NicFacts] = {}
        self.macs = {row.address: row.mac for row in current.backends.values() if row.mac}
        self.neighbours: dict[Address, Neighbour] = {}
        self._indices: Mapping[str, int] = {}

    def met(self, links: Mapping[str, Link]) -> None:
        """These are the interfaces there are, by name."""
        self.nics = {name: NicFacts(lan=lan_of(link), mac=link.mac) for name, link in links.items()}
        self._indices = {name: link.ifindex for name, link in links.items()}

    def seen(self, neighbour: Neighbour, interfaces: Mapping[Address, str]) -> bool:
        """The kernel told of a neighbour; true if that matters to a backend, whose interface's name is in ``interfaces``. The
        same address on another interface is somebody else."""
        interface = interfaces.get(neighbour.address)
        if interface is None or self._indices.get(interface) != neighbour.ifindex:
            return False
        if neighbour.mac is not None and not is_other_station(neighbour.mac, own=self.nics[interface].mac):
            neighbour = replace(
                neighbour, mac=None, usable=False, state="claimed with a MAC that is no other station's"
            )
        before = self.neighbours.get(neighbour.address)
        is_same_entry = before is not None and before.ifindex == neighbour.ifindex
        if before is not None and is_same_entry and before.usable and neighbour.state in _ASKED_ANEW:
            neighbour = replace(neighbour, mac=before.mac, usable=True)
        self.neighbours[neighbour.address] = neighbour
        if neighbour.usable and neighbour.mac:
            self.macs[neighbour.address] = neighbour.mac
        return before is None or _essence(before) != _essence(neighbour)


def lan_of(link: Link) -> Lan:
    """The segment that an interface is on, as the program knows it: by the device at the bottom."""
    return Lan(link.attach_index, link.vlan)


def _essence(neighbour: Neighbour) -> tuple[bytes | None, bool, bool, bool]:
    return neighbour.mac, neighbour.usable, neighbour.state == "failed", is_heard(neighbour)
