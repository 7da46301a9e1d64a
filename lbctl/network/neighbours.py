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
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, AF_INET6

from pyroute2.netlink import NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH

from lbctl.core.model import Address
from lbctl.network.netlink import Netlink
from lbctl.network.port import Neighbour
from lbctl.network.rtnetlink import PROTOCOL, Request, attribute, attributes, number_attribute, number_of
from lbctl.network.surprises import MAC_BYTES, understood

FAMILIES = {4: AF_INET, 6: AF_INET6}

_MESSAGE = struct.Struct("=BxxxiHBB")
"""struct ndmsg: family, interface, state, flags, type."""
_NDA_DST = 1
_NDA_LLADDR = 2
_NDA_PROTOCOL = 12
_NDA_FLAGS_EXT = 15
_NUD_NONE = 0x00
_NUD_REACHABLE = 0x02
_NUD_PROBE = 0x10
_NTF_EXT_LEARNED = 0x10
_NTF_EXT_MANAGED = 1 << 0
_STATES = {
    _NUD_NONE: "none",
    0x01: "incomplete",
    _NUD_REACHABLE: "reachable",
    0x04: "stale",
    0x08: "delay",
    _NUD_PROBE: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
_USABLE = frozenset({"reachable", "stale", "delay", "probe", "permanent"})
_PAUSE_S = 0.02
"""After a hundred neighbours: each is asked for by broadcast, and switches drop a storm of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A neighbour, and who made it."""

    neighbour: Neighbour
    protocol: int
    is_managed: bool


def decode(body: bytes) -> Entry | None:
    """Of the body of an RTM_NEWNEIGH or RTM_DELNEIGH message; ``None`` if that is of another family. The kernel tells no MAC
    for a failed entry, nor for one of a tunnel. Raises `ValueError` or `struct.error` for what is no such message."""
    family, ifindex, state, _, _ = _MESSAGE.unpack_from(body)
    if family not in FAMILIES.values():
        return None
    told = attributes(body, _MESSAGE.size)
    mac = told.get(_NDA_LLADDR, b"")
    name = _STATES.get(state, hex(state))
    has_mac = len(mac) == MAC_BYTES
    neighbour = Neighbour(
        ifindex=ifindex,
        address=ip_address(told.get(_NDA_DST, b"")),
        mac=mac if has_mac else None,
        usable=has_mac and name in _USABLE,
        state=name,
    )
    is_managed = bool(number_of(told.get(_NDA_FLAGS_EXT)) & _NTF_EXT_MANAGED)
    return Entry(neighbour=neighbour, protocol=number_of(told.get(_NDA_PROTOCOL)), is_managed=is_managed)


async def read_neighbours(netlink: Netlink) -> tuple[Neighbour, ...]:
    """The entries of every interface."""
    return tuple(entry.neighbour for entry in await _read(netlink))


async def read_owned(netlink: Netlink, ifindex: int) -> frozenset[Address]:
    """The addresses of an interface's entries that lbctl made, in this run or an earlier one."""
    entries = await _read(netlink)
    return frozenset(
        entry.neighbour.address
        for entry in entries
        if entry.neighbour.ifindex == ifindex and entry.protocol == PROTOCOL
    )


async def install(
    netlink: Netlink, ifindex: int, addresses: Sequence[Address]
) -> Mapping[Address, NetlinkError | None]:
    """Make the entries managed, and have the kernel resolve them now. Tells of each whether it was refused, but of none where a
    permanent entry of the operator's stands."""
    found = await _find(netlink, ifindex, addresses)
    # The kernel would strip NUD_PERMANENT, and with it the operator's pinned MAC.
    answers = {address: _refusal(entry) for address, entry in found.items() if not _is_permanent(entry)}
    new = [address for address, refusal in answers.items() if refusal is None and not _is_as_made(found[address])]
    made = await netlink.exchange((_managed(ifindex, address) for address in new), pause_s=_PAUSE_S)
    return {**answers, **dict(zip(new, map(_refusal, made), strict=True))}


async def remove(netlink: Netlink, ifindex: int, addresses: Sequence[Address]) -> Mapping[Address, NetlinkError | None]:
    """Delete those of the entries that are managed ones. Tells of each whether it was refused, but of none on an interface that
    is gone: so are they."""
    found = await _find(netlink, ifindex, addresses)
    managed = [address for address, entry in found.items() if isinstance(entry, Entry) and entry.is_managed]
    deleted = await netlink.exchange(_request(RTM_DELNEIGH, 0, ifindex, address) for address in managed)
    refusals = map(_refusal, (*found.values(), *deleted))
    return dict(zip((*found, *managed), map(_unless_gone, refusals), strict=True))


async def verify(netlink: Netlink, ifindex: int, address: Address) -> None:
    """Have the kernel probe a resolved entry now (three requests, ``retrans_time_ms`` apart) and decide its fate."""
    entry = await _read_entry(netlink, ifindex, address)
    if entry is None or not entry.neighbour.usable or entry.neighbour.state in ("probe", "permanent"):
        return
    await _overwrite(netlink, ifindex, address, mac=entry.neighbour.mac, state=_NUD_PROBE)


async def correct(netlink: Netlink, ifindex: int, address: Address, *, mac: bytes) -> None:
    """Give the entry the MAC that was heard, should the kernel have ignored it (``locktime`` after the last change)."""
    entry = await _read_entry(netlink, ifindex, address)
    if entry is None or _is_permanent(entry) or entry.neighbour.mac == mac:
        return
    await _overwrite(netlink, ifindex, address, mac=mac, state=_NUD_REACHABLE)


async def _read(netlink: Netlink) -> list[Entry]:
    return await netlink.read(RTM_GETNEIGH, bytes(_MESSAGE.size), understood("a neighbour", decode))


async def _find(
    netlink: Netlink, ifindex: int, addresses: Sequence[Address]
) -> Mapping[Address, Entry | NetlinkError | None]:
    """The entries by address; ``None`` for one that is not there."""
    answers = await netlink.exchange(_request(RTM_GETNEIGH, 0, ifindex, address) for address in addresses)
    found = (decode(answer) if isinstance(answer, bytes) else _unless_absent(answer) for answer in answers)
    return dict(zip(addresses, found, strict=True))


async def _read_entry(netlink: Netlink, ifindex: int, address: Address) -> Entry | None:
    (entry,) = (await _find(netlink, ifindex, [address])).values()
    if isinstance(entry, NetlinkError):
        raise entry
    return entry


async def _overwrite(netlink: Netlink, ifindex: int, address: Address, *, mac: bytes | None, state: int) -> None:
    key = attribute(_NDA_LLADDR, mac or b"")
    change = _request(RTM_NEWNEIGH, NLM_F_REPLACE, ifindex, address, key, state=state, ext_learned=True)
    # A request that sets a state clears the managed flag, and one that sets the flag ignores the state: hence two.
    for answer in await netlink.exchange([change, _managed(ifindex, address)]):
        if isinstance(answer, NetlinkError):
            raise answer


def _managed(ifindex: int, address: Address) -> Request:
    mark = attribute(_NDA_PROTOCOL, bytes([PROTOCOL])) + number_attribute(_NDA_FLAGS_EXT, _NTF_EXT_MANAGED)
    return _request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ifindex, address, mark, ext_learned=True)


def _request(
    kind: int,
    flags: int,
    ifindex: int,
    address: Address,
    more: bytes = b"",
    *,
    state: int = _NUD_NONE,
    ext_learned: bool = False,
) -> Request:
    head = _MESSAGE.pack(FAMILIES[address.version], ifindex, state, _NTF_EXT_LEARNED if ext_learned else 0, 0)
    return Request(kind=kind, flags=NLM_F_REQUEST | flags, body=head + attribute(_NDA_DST, address.packed) + more)


def _is_permanent(entry: Entry | NetlinkError | None) -> bool:
    """The operator's: its MAC is pinned."""
    return isinstance(entry, Entry) and entry.neighbour.state == "permanent"


def _is_as_made(entry: Entry | NetlinkError | None) -> bool:
    """An earlier run's, or one that was installed already: nothing is to be written, and nobody asked for."""
    if not isinstance(entry, Entry):
        return False
    return entry.is_managed and entry.protocol == PROTOCOL and entry.neighbour.usable


def _refusal(answer: object) -> NetlinkError | None:
    return answer if isinstance(answer, NetlinkError) else None


def _unless_absent(refusal: NetlinkError | None) -> NetlinkError | None:
    return refusal if refusal is None or refusal.code != errno.ENOENT else None


def _unless_gone(refusal: NetlinkError | None) -> NetlinkError | None:
    return refusal if refusal is None or refusal.code not in (errno.ENOENT, errno.ENODEV) else None
