"""Who has an address? IPv4 asks it by ARP, IPv6 by neighbour discovery: the frames of either, chosen by the address. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from lbctl.core.model import Address
from lbctl.network import arp, ndp
from lbctl.network.port import Link


def announcement(link: Link, address: Address) -> bytes:
    """Tells everybody that the address is at the link's MAC."""
    if isinstance(address, IPv4Address):
        return arp.announcement(mac=link.mac, address=address)
    return ndp.announcement(mac=link.mac, address=address)


def probe(link: Link, address: Address) -> bytes:
    """Asks whether anybody uses the address, without claiming any."""
    if isinstance(address, IPv4Address):
        return arp.probe(mac=link.mac, address=address)
    return ndp.probe(mac=link.mac, address=address)


def name_for(address: Address) -> str:
    """What asking for an address is called."""
    return "ARP" if address.version == 4 else "neighbour solicitations"


def can_ask(link: Link, target: Address) -> bool:
    """Whether there is an address to ask from. IPv6 has none while the link is down. Asked by nobody, a station that has just
    come up would take it for one that wants its address, and give that up (RFC 4862 section 5.4.3)."""
    return isinstance(target, IPv4Address) or _sender6(link, target) is not None


def question(link: Link, target: Address, *, to: bytes | None) -> bytes:
    """Asks for the target's MAC: the station that has this one, or everybody. Only if one `can_ask`."""
    if isinstance(target, IPv4Address):
        return arp.request(mac=link.mac, sender=_sender4(link, target), target=target, to=to or arp.BROADCAST)
    return ndp.request(mac=link.mac, sender=_sender6(link, target) or ndp.UNSPECIFIED, target=target, to=to)


def parse(frame: bytes) -> arp.ArpPacket | ndp.NdpPacket | None:
    """The packet of either kind in an untagged frame, or ``None``."""
    return arp.parse(frame) or ndp.parse(frame)


def _sender4(link: Link, target: IPv4Address) -> IPv4Address:
    """Our address in the target's subnet; else none, as in a probe."""
    own = (interface for interface in link.addresses if isinstance(interface, IPv4Interface))
    return next((interface.ip for interface in own if target in interface.network), arp.UNSPECIFIED)


def _sender6(link: Link, target: IPv6Address) -> IPv6Address | None:
    """Our address in the target's subnet, else any."""
    own = [interface for interface in link.addresses if isinstance(interface, IPv6Interface)]
    return next((interface.ip for interface in own if target in interface.network), own[0].ip if own else None)
