"""Where a lab's nodes are: layer-2 segments, each with a subnet of both families, and the places of a node on them.

A host's number is its own everywhere: backend 12 is 192.0.2.12 and 2001:db8:2::12 at home, 203.0.113.12 elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from lbctl.core.model import Address

INTERFACE = "eth0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A wire of the switch, or a VLAN on it (``vlan`` 0: what is untagged)."""

    name: str
    subnet: IPv4Network
    subnet6: IPv6Network
    wire: int = 0
    vlan: int = 0

    def address(self, host: int) -> IPv4Address:
        """The IPv4 address of the host of that number."""
        return self.subnet[host]

    def address6(self, host: int) -> IPv6Address:
        """The IPv6 address of the host of that number; it ends with the same digits as the IPv4 one."""
        return self.subnet6[int(str(host), 16)]


HOME = Segment(name="home", subnet=IPv4Network("192.0.2.0/24"), subnet6=IPv6Network("2001:db8:2::/64"))
"""Where clients and directors are, and backends unless a lab wants them elsewhere."""
_FAR_SUBNETS = (IPv4Network("203.0.113.0/24"), IPv6Network("2001:db8:113::/64"))
SECOND_WIRE = Segment(name="second wire", subnet=_FAR_SUBNETS[0], subnet6=_FAR_SUBNETS[1], wire=1)
"""Directors have a second NIC on it, ``eth1``."""
TAGGED = Segment(name="tagged", subnet=_FAR_SUBNETS[0], subnet6=_FAR_SUBNETS[1], vlan=20)
"""VLAN 20 on the wire of home. Directors' ports are trunks, and they have an interface ``eth0.20``; everybody else is on an
access port."""
SEGMENTS = (HOME, SECOND_WIRE, TAGGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An interface of a node on a segment. ``port`` names the other end of its cable, in the switch; a VLAN sub-interface has
    no cable of its own, and its ``parent`` names the interface that has."""

    segment: Segment
    host: int
    interface: str
    port: str
    parent: str = ""

    @property
    def address(self) -> IPv4Address:
        """The node's IPv4 address there."""
        return self.segment.address(self.host)

    @property
    def address6(self) -> IPv6Address:
        """The node's IPv6 address there."""
        return self.segment.address6(self.host)

    @property
    def on_link(self) -> IPv4Interface:
        """The IPv4 address with its subnet."""
        return IPv4Interface((self.address, self.segment.subnet.prefixlen))

    @property
    def on_link6(self) -> IPv6Interface:
        """The IPv6 address with its subnet."""
        return IPv6Interface((self.address6, self.segment.subnet6.prefixlen))

    @property
    def mac(self) -> str:
        """The interface's first MAC. A sub-interface has its parent's."""
        return mac_of(HOME.address(self.host) if self.parent else self.address)


def mac_of(address: IPv4Address, *, generation: int = 0) -> str:
    """A locally administered MAC that can be read: ``02:gg:`` and the four bytes of the address."""
    return bytes([0x02, generation % 256, *address.packed]).hex(":")


def host_prefix(address: Address) -> str:
    """The address as the only one of its prefix: ``/32`` or ``/128``."""
    return f"{address}/{address.max_prefixlen}"


def segment_of(name: str) -> Segment:
    """The segment of that name; `KeyError` if there is none."""
    return {segment.name: segment for segment in SEGMENTS}[name]


def places_of(host: int, segments: Sequence[Segment], *, node: str, on_trunk: bool) -> tuple[Place, ...]:
    """A node's places on segments. On a trunk a tagged segment is a sub-interface of the interface at home."""
    places: list[Place] = []
    for segment in segments:
        if on_trunk and segment.vlan:
            name = f"{INTERFACE}.{segment.vlan}"
            places.append(
                Place(segment=segment, host=host, interface=name, port=f"to-{node}.{segment.vlan}", parent=INTERFACE)
            )
        else:
            number = sum(not place.parent for place in places)
            port = f"to-{node}" + (f"-{number}" if number else "")
            places.append(Place(segment=segment, host=host, interface=f"eth{number}", port=port))
    return tuple(places)
