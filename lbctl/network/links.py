"""Network interfaces, read from the kernel."""

from __future__ import annotations

import errno
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Interface, IPv6Interface
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from lbctl.network.netlink import Netlink
from lbctl.network.port import Link
from lbctl.network.surprises import left_out, mac_of, name_of

MAXIMUM_TAGS = 2

_IFF_UP = 0x1
_IFF_LOWER_UP = 0x10000
"""The carrier is there. Unlike IFF_RUNNING it follows the driver at once."""

_IFA_F_OPTIMISTIC = 0x04
_IFA_F_DADFAILED = 0x08
_IFA_F_TENTATIVE = 0x40

_VIDS = range(4096)
_VLAN_NAME = re.compile(r"(?P<parent>.+)\.(?P<vid>[1-9][0-9]{0,3})")

_Find = Callable[[int | str], Awaitable[Any | None]]
"""The message of the interface with that index or name."""


async def read_links(netlink: Netlink) -> dict[int, Link]:
    """Every interface by index."""
    addresses = await _read_addresses(netlink)
    messages = {message["index"]: message for message in await netlink.dump("link")}
    known = {**messages, **{_name(message): message for message in messages.values()}}

    async def find(key: int | str) -> Any | None:
        return known.get(key)

    links: dict[int, Link] = {}
    for index, message in messages.items():
        with left_out(f"interface {index}"):
            links[index] = await _decode(message, addresses[index], find)
    return links


async def read_link(netlink: Netlink, ifindex: int) -> Link | None:
    """One interface, or ``None`` if it does not exist."""

    async def find(key: int | str) -> Any | None:
        # Not from a dump: with 200 interfaces that takes 65 ms, and one takes half a millisecond.
        return await _read_message(netlink, key)

    message = await find(ifindex)
    if message is None:
        return None
    addresses = await _read_addresses(netlink)
    with left_out(f"interface {ifindex}"):
        return await _decode(message, addresses[ifindex], find)
    return None


def is_up(flags: int) -> bool:
    """Whether an interface is set up, and has a carrier."""
    return bool(flags & _IFF_UP and flags & _IFF_LOWER_UP)


async def _read_message(netlink: Netlink, key: int | str) -> Any | None:
    selector = {"index": key} if isinstance(key, int) else {"ifname": key}
    try:
        (message,) = await netlink.request("link", "get", **selector)
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise
    return message


async def _read_addresses(netlink: Netlink) -> defaultdict[int, list[IPv4Interface | IPv6Interface]]:
    found: defaultdict[int, list[IPv4Interface | IPv6Interface]] = defaultdict(list)
    for message in await netlink.dump("addr"):
        with left_out("an address"):
            address = _decode_address(message)
            if address is not None:
                found[message["index"]].append(address)
    return found


def _decode_address(message: Any) -> IPv4Interface | IPv6Interface | None:
    """An address of ours that others can reach us by. Link-local ones cannot be told apart across interfaces, multicast ones
    are groups, and a tentative one is perhaps somebody else's."""
    # IFA_ADDRESS is the far end on a point-to-point link; IFA_LOCAL is always our own.
    own = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if message["family"] == AF_INET:
        return IPv4Interface(f"{own}/{message['prefixlen']}")
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    is_in_doubt = flags & _IFA_F_DADFAILED or (flags & _IFA_F_TENTATIVE and not flags & _IFA_F_OPTIMISTIC)
    if message["family"] != AF_INET6 or is_in_doubt:
        return None
    address = IPv6Interface(f"{own}/{message['prefixlen']}")
    return None if address.is_link_local or address.is_multicast else address


async def _decode(message: Any, addresses: list[IPv4Interface | IPv6Interface], find: _Find) -> Link:
    flags = message["flags"]
    device, vlan = await _place(message, find)
    return Link(
        ifindex=message["index"],
        name=_name(message),
        mac=mac_of(message.get_attr("IFLA_ADDRESS")) or b"",
        addresses=tuple(addresses),
        is_up=is_up(flags),
        mtu=message.get_attr("IFLA_MTU"),
        device=device,
        vlan=vlan,
    )


async def _place(message: Any, find: _Find) -> tuple[int, int]:
    """The interface at the bottom, and the tags of the frames there in one number; (0, 0) of one that is its own."""
    device = vlan = tags = 0
    while tags <= MAXIMUM_TAGS and (above := _parent_and_vid(message)) is not None:
        parent = await find(above[0])
        if parent is None:
            break
        device, vlan, tags = parent["index"], above[1] << 12 * tags | vlan, tags + 1
        message = parent
    return device, vlan


def _parent_and_vid(message: Any) -> tuple[int | str, int] | None:
    """The index or name of the interface that this one is a VLAN of, and which one."""
    info = message.get_attr("IFLA_LINKINFO")
    if info is None or info.get_attr("IFLA_INFO_KIND") != "vlan":
        return _parent_and_vid_by_name(_name(message))
    if message.get_attr("IFLA_LINK_NETNSID") is not None:
        return None  # its parent is in another namespace: the index means another interface here
    vid = info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_VLAN_ID")
    if vid not in _VIDS:
        raise ValueError(f"a VLAN of number {vid}")
    return message.get_attr("IFLA_LINK"), vid


def _name(message: Any) -> str:
    return name_of(message.get_attr("IFLA_IFNAME"))


def _parent_and_vid_by_name(name: str) -> tuple[str, int] | None:
    """Of an interface that something else than the kernel's VLAN driver made and named alike."""
    named = _VLAN_NAME.fullmatch(name)
    if named is None or not 0 < int(named["vid"]) < 4095:
        return None
    return named["parent"], int(named["vid"])
