"""Watches that managed neighbours still have the MAC that the kernel knows.

The kernel takes most of a minute to notice a MAC that changed without a gratuitous ARP (see `neighbours`), and as long
to notice that a neighbour has vanished. So each neighbour is asked by unicast a few times a second, as RFC 1122
section 2.3.2.1 (2) has it. No answer: it is asked by broadcast, and the kernel learns the new MAC from the answer.
Silence for a while: the kernel is told to verify the entry. Nothing on the machine is configured for this.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address

from lbctl.errors import LbctlError
from lbctl.network import arp
from lbctl.network.packets import open_arp_socket
from lbctl.network.port import Link

_log = logging.getLogger(__name__)

_EAGER_BROADCASTS = 3
_BROADCAST_EVERY = 4
"""After a few eager ones, a silent neighbour is asked by broadcast in one round of four."""
_ROUNDS_TO_SILENCE = 10


@dataclass(slots=True)
class Acquaintance:
    """One watched neighbour: the MAC heard last, and how many requests have gone unanswered since."""

    mac: bytes | None = None
    unanswered: int = 0

    def heard_from(self, mac: bytes) -> bool:
        """An answer came. True if the neighbour has another MAC than before."""
        has_moved = self.mac is not None and mac != self.mac
        self.mac, self.unanswered = mac, 0
        return has_moved

    def next_recipient(self) -> bytes | None:
        """The MAC to ask in this round, or ``None`` to hold back; counts the round as unanswered."""
        silent_rounds, self.unanswered = self.unanswered, self.unanswered + 1
        if self.mac is not None and silent_rounds == 0:
            return self.mac
        is_due = silent_rounds <= _EAGER_BROADCASTS or silent_rounds % _BROADCAST_EVERY == 0
        return arp.BROADCAST if is_due else None

    @property
    def has_just_fallen_silent(self) -> bool:
        """True in exactly one round of a silence."""
        return self.unanswered == _ROUNDS_TO_SILENCE


class NeighbourWatch:
    """Watches the managed neighbours of one interface, in a task of its own, until `close`."""

    def __init__(
        self,
        *,
        link: Callable[[], Link],
        interval_s: float,
        on_silence: Callable[[IPv4Address], Coroutine[None, None, None]],
        on_move: Callable[[IPv4Address, bytes], Coroutine[None, None, None]],
    ) -> None:
        self._link = link
        self._interval_s = interval_s
        self._on_silence = on_silence
        self._on_move = on_move
        self._tasks: set[asyncio.Task[None]] = set()
        self._acquaintances: dict[IPv4Address, Acquaintance] = {}
        self._socket = open_arp_socket(link().name, replies_only=True)
        asyncio.get_running_loop().add_reader(self._socket, self._hear)
        self._start(self._run())

    def add(self, address: IPv4Address) -> None:
        """Watch this neighbour too."""
        self._acquaintances.setdefault(address, Acquaintance())

    def discard(self, address: IPv4Address) -> None:
        """Watch this neighbour no longer."""
        self._acquaintances.pop(address, None)

    async def close(self) -> None:
        """Stop asking and release the socket."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    async def _run(self) -> None:
        while True:
            for address, acquaintance in tuple(self._acquaintances.items()):
                self._ask(address, acquaintance)
                if acquaintance.has_just_fallen_silent:
                    _log.warning("%s on %s does not answer ARP", address, self._link().name)
                    self._start(self._on_silence(address))
            await asyncio.sleep(self._interval_s)

    def _ask(self, address: IPv4Address, acquaintance: Acquaintance) -> None:
        recipient = acquaintance.next_recipient()
        if recipient is None:
            return
        link = self._link()
        frame = arp.request(mac=link.mac, sender=_sender(link, address), target=address, to=recipient)
        with suppress(OSError):  # the link is down, or gone: the event stream tells of it
            self._socket.send(frame)

    def _hear(self) -> None:
        try:
            packet = arp.parse(self._socket.recv(2048))
        except OSError:  # going down is reported once through the socket
            return
        if packet is None or packet.sender not in self._acquaintances or packet.sender_mac == self._link().mac:
            return
        if self._acquaintances[packet.sender].heard_from(packet.sender_mac):
            self._start(self._on_move(packet.sender, packet.sender_mac))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except LbctlError as error:
                _log.warning("%s", error)

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _sender(link: Link, target: IPv4Address) -> IPv4Address:
    """Our address in the target's subnet; else none, as in a probe."""
    return next((own.ip for own in link.addresses if target in own.network), arp.UNSPECIFIED)
