"""The multicast groups in which IPv6 stations ask for a VIP, joined by the kernel.

The kernel joins a group when a multicast address is put on an interface with ``autojoin``, tells the NIC and (by MLD)
snooping switches, and stays in it whether a daemon runs or not. Such an address carries lbctl's mark (IFA_PROTO, Linux 5.18;
with an older one groups of an earlier run stay joined, which costs nothing but a few frames).

Measured on 6.18: when the interface is set down, the kernel deletes the address, as all of IPv6, but stays in the group
through down and up, refuses the address from then on (EADDRINUSE), and so cannot be told to leave: the same few frames.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from ipaddress import IPv6Address
from socket import AF_INET6

from pyroute2.netlink.exceptions import NetlinkError

from lbctl.network.ndp import solicited_node
from lbctl.network.netlink import Netlink
from lbctl.network.rtnetlink import PROTOCOL

_IFA_F_NODAD = 0x02
_IFA_F_NOPREFIXROUTE = 0x200
_IFA_F_MCAUTOJOIN = 0x400


def groups_of(vips: Iterable[IPv6Address]) -> frozenset[IPv6Address]:
    """The solicited-node groups. VIPs that end in the same 24 bits share one."""
    return frozenset(solicited_node(vip) for vip in vips)


async def set_groups(netlink: Netlink, ifindex: int, wanted: frozenset[IPv6Address]) -> None:
    """Join and leave until the groups that lbctl is in on the interface are these. One that an operator joined stays his."""
    current = await _read(netlink, ifindex)
    for group in wanted - current:
        await _change(netlink, "add", ifindex, group, tolerated={errno.EEXIST, errno.EADDRINUSE})
    for group in current - wanted:
        await _change(netlink, "del", ifindex, group, tolerated={errno.EADDRNOTAVAIL})


async def _read(netlink: Netlink, ifindex: int) -> frozenset[IPv6Address]:
    return frozenset(
        IPv6Address(message.get_attr("IFA_ADDRESS"))
        for message in await netlink.dump("addr")
        if message["family"] == AF_INET6 and message["index"] == ifindex and message.get_attr("IFA_PROTO") == PROTOCOL
    )


async def _change(netlink: Netlink, command: str, ifindex: int, group: IPv6Address, *, tolerated: set[int]) -> None:
    flags = _IFA_F_NODAD | _IFA_F_NOPREFIXROUTE | _IFA_F_MCAUTOJOIN
    marks = {"flags": flags, "proto": PROTOCOL} if command == "add" else {}
    try:
        await netlink.request(
            "addr", command, index=ifindex, family=AF_INET6, address=str(group), prefixlen=128, **marks
        )
    except NetlinkError as error:
        if error.code not in tolerated:
            raise
