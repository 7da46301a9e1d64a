"""Neighbour entries: read, installed as managed, released.

A *managed* entry (NTF_EXT_MANAGED, Linux 5.16) is resolved and kept by the kernel itself; *extern_learn* exempts it
from garbage collection. What the kernel does with one, measured on 6.18 with its default parameters:

- a gratuitous ARP, or any other ARP packet from the owner, changes the MAC at once (also with ``arp_accept`` 0, and a
  gratuitous one also within ``locktime``);
- a MAC that changes *silently* (as Linux does it unless ``arp_notify`` is set) is noticed after 47 s: reachable time,
  delay, three unicast probes, FAILED, and only then a broadcast. `lbctl.network.watch` closes that gap;
- losing the carrier, or ``ip link set down``, deletes the entry for good. `lbctl.network.kernel` puts it back;
- all of this holds for IPv6 as well, with these differences: the kernel asks from its link-local address, so for the two
  seconds in which that one is tentative after link-up, it asks nobody; it takes no MAC from an answer without the option that
  holds it, as stations give to a unicast question; and it heeds no answer once the entry has failed.
"""

from __future__ import annotations

import errno
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from lbctl.core.model import Address
from lbctl.network.netlink import Netlink
from lbctl.network.port import Neighbour
from lbctl.network.surprises import left_out, mac_of

PROTOCOL = 0x6C
"""The mark of lbctl's own entries (NDA_PROTOCOL), as on its routes."""

FAMILIES = frozenset({AF_INET, AF_INET6})

NUD_NONE = 0x00
NUD_REACHABLE = 0x02
NUD_PROBE = 0x10
NUD_PERMANENT = 0x80
_NTF_EXT_LEARNED = 0x10
_NTF_EXT_MANAGED = 1 << 0
_STATES = {
    NUD_NONE: "none",
    0x01: "incomplete",
    NUD_REACHABLE: "reachable",
    0x04: "stale",
    0x08: "delay",
    NUD_PROBE: "probe",
    0x20: "failed",
    0x40: "noarp",
    NUD_PERMANENT: "permanent",
}
_USABLE = frozenset({"reachable", "stale", "delay", "probe", "permanent"})


def decode(message: Any) -> Neighbour:
    """The neighbour of an RTM_NEWNEIGH or RTM_GETNEIGH message. The kernel tells no MAC for a failed entry, nor for one of
    a tunnel. Raises whatever pyroute2 does for a message that is none."""
    mac = mac_of(message.get_attr("NDA_LLADDR"))
    state = _STATES.get(message["state"], hex(message["state"]))
    return Neighbour(
        ifindex=message["ifindex"],
        address=ip_address(message.get_attr("NDA_DST")),
        mac=mac,
        usable=mac is not None and state in _USABLE,
        state=state,
    )


async def read_neighbours(netlink: Netlink) -> tuple[Neighbour, ...]:
    """The entries of every interface."""
    found: list[Neighbour] = []
    for message in await _dump(netlink):
        with left_out("a neighbour"):
            found.append(decode(message))
    return tuple(found)


async def read_owned(netlink: Netlink, ifindex: int) -> frozenset[Address]:
    """The addresses of an interface's entries that lbctl made, in this run or an earlier one."""
    entries = await _dump(netlink)
    mine = (m for m in entries if m["ifindex"] == ifindex and m.get_attr("NDA_PROTOCOL") == PROTOCOL)
    return frozenset(ip_address(message.get_attr("NDA_DST")) for message in mine)


async def install(netlink: Netlink, ifindex: int, address: Address) -> bool:
    """Make the entry managed, and have the kernel resolve it now. False: a permanent one of the operator's stands."""
    entry = await _read_entry(netlink, ifindex, address)
    # The kernel would strip NUD_PERMANENT, and with it the operator's pinned MAC.
    if entry is not None and entry["state"] & NUD_PERMANENT:
        return False
    await _set_managed(netlink, ifindex, address)
    return True


async def remove(netlink: Netlink, ifindex: int, address: Address) -> None:
    """Delete the entry if it is a managed one."""
    entry = await _read_entry(netlink, ifindex, address)
    if entry is None or not (entry.get_attr("NDA_FLAGS_EXT") or 0) & _NTF_EXT_MANAGED:
        return
    try:
        await netlink.request("neigh", "del", ifindex=ifindex, dst=str(address))
    except NetlinkError as error:
        if error.code != errno.ENOENT:
            raise


async def verify(netlink: Netlink, ifindex: int, address: Address) -> None:
    """Have the kernel probe a resolved entry now (three requests, ``retrans_time_ms`` apart) and decide its fate."""
    entry = await _read_entry(netlink, ifindex, address)
    if entry is None or not decode(entry).usable or entry["state"] & (NUD_PROBE | NUD_PERMANENT):
        return
    await _overwrite(netlink, ifindex, address, mac=entry.get_attr("NDA_LLADDR"), state=NUD_PROBE)


async def correct(netlink: Netlink, ifindex: int, address: Address, *, mac: bytes) -> None:
    """Give the entry the MAC that was heard, should the kernel have ignored it (``locktime`` after the last change)."""
    entry = await _read_entry(netlink, ifindex, address)
    if entry is None or entry["state"] & NUD_PERMANENT or decode(entry).mac == mac:
        return
    await _overwrite(netlink, ifindex, address, mac=mac.hex(":"), state=NUD_REACHABLE)


async def _dump(netlink: Netlink) -> list[Any]:
    return [entry for entry in await netlink.dump("neigh") if entry["family"] in FAMILIES]


async def _overwrite(netlink: Netlink, ifindex: int, address: Address, *, mac: str, state: int) -> None:
    key = {"ifindex": ifindex, "dst": str(address)}
    await netlink.request("neigh", "change", **key, lladdr=mac, state=state, flags=_NTF_EXT_LEARNED)
    # A request that sets a state clears the managed flag, and one that sets the flag ignores the state: hence two.
    await _set_managed(netlink, ifindex, address)


async def _set_managed(netlink: Netlink, ifindex: int, address: Address) -> None:
    await netlink.request(
        "neigh",
        "replace",
        ifindex=ifindex,
        dst=str(address),
        state=NUD_NONE,
        flags=_NTF_EXT_LEARNED,
        flags_ext=_NTF_EXT_MANAGED,
        protocol=PROTOCOL,
    )


async def _read_entry(netlink: Netlink, ifindex: int, address: Address) -> Any | None:
    try:
        (entry,) = await netlink.request("neigh", "get", ifindex=ifindex, dst=str(address))
    except NetlinkError as error:
        if error.code == errno.ENOENT:
            return None
        raise
    return entry
