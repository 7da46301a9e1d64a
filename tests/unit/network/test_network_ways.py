"""The way of a probe: what is made of the kernel's answers, also of those that nobody expects."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from lbctl.core.model import Address
from lbctl.network.netlink import Answer, Netlink
from lbctl.network.policy import FAMILIES, MESSAGE
from lbctl.network.rtnetlink import Request, attribute
from lbctl.network.ways import Way, astray, way_to

VIP, VIA, ELSEWHERE = IPv4Address("192.0.2.100"), IPv4Address("192.0.2.11"), IPv4Address("192.0.2.1")
UNICAST, LOCAL, UNREACHABLE, GATEWAY = 1, 2, 7, 5


class Answering(Netlink):
    """A kernel of few words."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def exchange(self, requests: Iterable[Request], *, pause_s: float = 0.0) -> list[Answer]:
        return [self._answer for _ in requests]


def told(kind: int, gateway: Address | None = None) -> bytes:
    """A route, as the kernel puts it."""
    message = MESSAGE.pack(FAMILIES[4], 32, 32, 0, 0, 0, 0, kind, 0)
    return message + (attribute(GATEWAY, gateway.packed) if gateway else b"")


def asked(answer: Answer) -> Way | None:
    return asyncio.run(way_to(Answering(answer), VIP, mark=1, source=ip_address("192.0.2.10")))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (told(UNICAST, VIA), None),
        (told(UNICAST, ELSEWHERE), "leads probes of 192.0.2.100 elsewhere than via 192.0.2.11"),
        (told(UNICAST), "elsewhere"),
        (told(LOCAL), "an address of the director's own"),
        (told(UNREACHABLE), "its policy rule or route is missing"),
        (NetlinkError(errno.ENETUNREACH), "its policy rule or route is missing"),
    ],
    ids=["to the backend", "to a router", "on the link", "here", "nowhere", "refused"],
)
def test_way_that_does_not_lead_to_the_backend_is_told(answer: Answer, says: str | None) -> None:
    found = astray(asked(answer), VIP, via=VIA, mark=1)
    assert (found is None) is (says is None)
    assert found is None or (says or "") in found.message


@pytest.mark.parametrize("answer", [NetlinkError(errno.EINVAL), NetlinkError(errno.EOPNOTSUPP), b"", b"\x02" * 7])
def test_way_of_which_the_kernel_says_nothing_keeps_no_probe_from_being_believed(answer: Answer) -> None:
    """Else a kernel that does not know the question would have no backend looked after."""
    assert asked(answer) is None
    assert astray(None, VIP, via=VIA, mark=1) is None
