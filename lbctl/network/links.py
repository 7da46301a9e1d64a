"""Network interfaces, read from the kernel."""

from __future__ import annotations

import errno
from collections import defaultdict
from ipaddress import IPv4Interface
from socket import AF_INET
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from lbctl.network.netlink import Netlink
from lbctl.network.port import Link

_IFF_UP = 0x1
_IFF_LOWER_UP = 0x10000
"""The carrier is there. Unlike IFF_RUNNING it follows the driver at once."""


async def read_links(netlink: Netlink) -> dict[int, Link]:
    """Every interface by index."""
    addresses = await _read_addresses(netlink)
    messages = await netlink.dump("link")
    return {message["index"]: _decode(message, addresses[message["index"]]) for message in messages}


async def read_link(netlink: Netlink, ifindex: int) -> Link | None:
    """One interface, or ``None`` if it does not exist."""
    try:
        (message,) = await netlink.request("link", "get", index=ifindex)
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise
    return _decode(message, (await _read_addresses(netlink))[ifindex])


async def _read_addresses(netlink: Netlink) -> defaultdict[int, list[IPv4Interface]]:
    found: defaultdict[int, list[IPv4Interface]] = defaultdict(list)
    for message in await netlink.dump("addr", family=AF_INET):
        # IFA_ADDRESS is the far end on a point-to-point link; IFA_LOCAL is always our own.
        own = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        found[message["index"]].append(IPv4Interface(f"{own}/{message['prefixlen']}"))
    return found


def _decode(message: Any, addresses: list[IPv4Interface]) -> Link:
    flags = message["flags"]
    return Link(
        ifindex=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        mac=bytes.fromhex((message.get_attr("IFLA_ADDRESS") or "").replace(":", "")),
        addresses=tuple(addresses),
        is_up=bool(flags & _IFF_UP and flags & _IFF_LOWER_UP),
        mtu=message.get_attr("IFLA_MTU"),
    )
