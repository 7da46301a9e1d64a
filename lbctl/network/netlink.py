"""Route netlink: few requests by pyroute2, many of rules, routes and neighbours at once by a socket of their own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal, TypeAlias, TypeVar

from pyroute2 import AsyncIPRoute
from pyroute2.netlink import (
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    SOL_NETLINK,
)
from pyroute2.netlink.exceptions import NetlinkError

from lbctl.network.rtnetlink import Message, Request, messages

Subject = Literal["link", "addr"]
Answer: TypeAlias = bytes | NetlinkError | None
"""To a request: what was asked for, a refusal, or just done."""
T = TypeVar("T")

_NETLINK_CAP_ACK = 10
_READ_SIZE = 65_536
_AT_ONCE = 100
"""Requests in one system call, which takes some milliseconds. Should the kernel refuse them all, then what it says (about a
kilobyte each) still fits into a socket's receive buffer."""
_RECEIVE_BUFFER_BYTES = 1 << 20
"""As much as may be had of it: mostly 208 KiB."""


class Netlink:
    """Requests of pyroute2's go one at a time: the kernel runs one dump a socket and answers a second with EBUSY."""

    def __init__(self) -> None:
        # Strict checking is what makes the kernel heed the filter of a dump.
        self._socket = AsyncIPRoute(strict_check=True, ext_ack=True)
        self._turn = asyncio.Lock()

    async def dump(self, subject: Subject, **arguments: Any) -> list[Any]:
        """All objects of a kind, as pyroute2 messages. Raises `pyroute2.NetlinkError`."""
        async with self._turn:
            return [message async for message in await getattr(self._socket, subject)("dump", **arguments)]

    async def request(self, subject: Subject, command: str, **arguments: Any) -> list[Any]:
        """One acknowledged request; what the kernel answered. Raises `pyroute2.NetlinkError`."""
        async with self._turn:
            return list(await getattr(self._socket, subject)(command, **arguments))

    async def exchange(self, requests: Iterable[Request], *, pause_s: float = 0.0) -> list[Answer]:
        """The answers to requests that are carried out one after the other, whether or not others are refused. Between a
        hundred and the next everybody else has a turn, for ``pause_s`` at least. Raises `OSError`."""
        answers: list[Answer] = []
        left = iter(requests)  # they are made when it is their turn: to make 20,000 is work as well
        with _opened() as opened:
            while some := tuple(islice(left, _AT_ONCE)):
                if answers:
                    await asyncio.sleep(pause_s)
                answers += await _exchange(opened, some)
        return answers

    async def read(self, kind: int, body: bytes, decode: Callable[[bytes], T | None]) -> list[T]:
        """What ``decode`` makes of the messages of a dump, but ``None``. Raises `pyroute2.NetlinkError`."""
        found: list[T] = []
        with _opened() as opened:
            opened.send(Request(kind=kind, flags=NLM_F_REQUEST | NLM_F_DUMP, body=body).packed(number=0))
            while True:
                for message in await _receive(opened):
                    if message.refusal:
                        raise message.refusal
                    if message.is_last:
                        return found
                    decoded = decode(message.body)
                    found += [] if decoded is None else [decoded]
                await asyncio.sleep(0)  # as in `exchange`

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()


async def _exchange(opened: socket.socket, requests: Sequence[Request]) -> list[Answer]:
    """A refusal is always told, success only of the last: what nothing was said of when that is told was done."""
    last = len(requests) - 1
    packed = (request.packed(number=number) for number, request in enumerate(requests[:last]))
    opened.send(b"".join([*packed, requests[last].packed(number=last, flags=NLM_F_ACK)]))
    answers: list[Answer] = [None] * len(requests)
    while True:
        for message in await _receive(opened):
            if message.refusal or not message.is_last:
                answers[message.number] = message.refusal or message.body
            if message.is_last and message.number == last:
                return answers


async def _receive(opened: socket.socket) -> tuple[Message, ...]:
    return tuple(messages(await asyncio.get_running_loop().sock_recv(opened, _READ_SIZE)))


@contextmanager
def _opened() -> Iterator[socket.socket]:
    """Of one exchange or dump, so that none meets what is left of another."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        for option in (NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK, _NETLINK_CAP_ACK):
            opened.setsockopt(SOL_NETLINK, option, 1)
        yield opened
