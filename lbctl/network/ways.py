"""The way that the kernel would send a probe now. Somebody's address, rule or route may lead it elsewhere than lbctl's own rule
and route do: what comes back from there says nothing of the backend."""

from __future__ import annotations

import errno
from socket import IPPROTO_TCP
from typing import NamedTuple

from pyroute2.netlink import NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_GETROUTE

from lbctl.core.model import Address
from lbctl.errors import NetworkError
from lbctl.network.netlink import Netlink
from lbctl.network.policy import FAMILIES, MESSAGE
from lbctl.network.rtnetlink import Request, attribute, attributes, number_attribute
from lbctl.network.surprises import left_out

_RTA_DST, _RTA_SRC, _RTA_GATEWAY, _RTA_MARK, _RTA_IP_PROTO = 1, 2, 5, 16, 27
_RTN_UNICAST, _RTN_LOCAL = 1, 2
_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH)


class Way(NamedTuple):
    """``kind`` is that of the route (RTN_UNICAST and so on), ``via`` the bytes of its gateway; of no way both are ``None``."""

    kind: int | None = None
    via: bytes | None = None


async def way_to(netlink: Netlink, vip: Address, *, mark: int, source: Address | None) -> Way | None:
    """The way of a TCP packet with that mark from that source; ``None`` if the kernel does not say, for one that does not know
    the question must not keep all backends from being probed. Raises `OSError`."""
    (answer,) = await netlink.exchange([_request(vip, mark, source)])
    if isinstance(answer, NetlinkError) and answer.code not in _NO_WAY:
        return None
    if not isinstance(answer, bytes):
        return Way()
    with left_out("a way"):
        _, _, _, _, _, _, _, kind, _ = MESSAGE.unpack_from(answer)
        via = attributes(answer, MESSAGE.size).get(_RTA_GATEWAY)
        return Way(kind, via) if kind in (_RTN_UNICAST, _RTN_LOCAL) else Way()
    return None


def astray(way: Way | None, vip: Address, *, via: Address, mark: int) -> NetworkError | None:
    """What to say of a way that does not lead to the VIP ``via`` a backend."""
    if way is None or way == Way(_RTN_UNICAST, via.packed):
        return None
    if way.kind == _RTN_LOCAL:
        return NetworkError(
            f"the VIP {vip} is an address of the director's own, which its probes reach instead: take it off here",
            hint=f"see who puts it there: ip address show to {vip}; ip route show table local {vip}",
        )
    if way.kind is None:
        return NetworkError(
            f"no probe is sent to {vip} via {via}: its policy rule or route is missing",
            hint="see who deletes rules and routes with protocol 108: ip rule; lbctl puts them back",
        )
    return NetworkError(
        f"somebody's rule or route leads probes of {vip} elsewhere than via {via}",
        hint=f"lbctl's rule of priority 108 must come first: ip rule; ip route get {vip} mark {mark:#x}",
    )


def _request(vip: Address, mark: int, source: Address | None) -> Request:
    bits = 8 * len(vip.packed)
    told = (
        MESSAGE.pack(FAMILIES[len(vip.packed)], bits, bits if source else 0, 0, 0, 0, 0, 0, 0),
        attribute(_RTA_DST, vip.packed),
        attribute(_RTA_SRC, source.packed) if source else b"",
        number_attribute(_RTA_MARK, mark),
        attribute(_RTA_IP_PROTO, bytes([IPPROTO_TCP])),
    )
    return Request(kind=RTM_GETROUTE, flags=NLM_F_REQUEST, body=b"".join(told))
