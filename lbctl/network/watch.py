"""Watches that managed neighbours still have the MAC that the kernel knows.

The kernel takes most of a minute to notice a MAC that changed without a gratuitous ARP (see `neighbours`), and as long
to notice that a neighbour has vanished. So each neighbour is asked by unicast a few times a second, as RFC 1122
section 2.3.2.1 (2) has it for ARP, and RFC 4861 section 7.3.3 for IPv6. No answer: everybody is asked (by broadcast, or in
the solicited-node group), and the kernel learns the new MAC from the answer.
Silence for a while: the kernel is told to verify the entry. Nothing on the machine is configured for this.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from lbctl.core.model import Address
from lbctl.errors import LbctlError
from lbctl.network import resolution
from lbctl.network.packets import open_socket
from lbctl.network.port import Link

_log = logging.getLogger(__name__)

EVERYBODY = b"\xff" * 6
_EAGER_ROUNDS = 3
_ASK_EVERYBODY_EVERY = 4
"""After a few eager rounds, everybody is asked for a silent neighbour in one round of four."""
_ROUNDS_TO_SILENCE = 10
AT_ONCE = 250
"""The most that are asked in one round: with thousands, each is asked less often, and neither the network nor the process has
more to do than with so many."""
_FRAME_SIZE = 2048
_RECEIVE_BUFFER_BYTES = 1 << 20
"""Room for the answers to several rounds: the kernel counts most of a kilobyte for each."""
_SO_RCVBUFFORCE = 33


@dataclass(slots=True)
class Acquaintance:
    """One watched neighbour: the MAC heard last, and how many requests have gone unanswered since."""

    mac: bytes | None = None
    unanswered: int = 0

    def heard_from(self, mac: bytes) -> bool:
        """An answer came. True if the kernel may not know: another MAC than before, or the first answer after a silence."""
        is_news = self.unanswered >= _ROUNDS_TO_SILENCE or (self.mac is not None and mac != self.mac)
        self.mac, self.unanswered = mac, 0
        return is_news

    def doubt(self) -> None:
        """Ask everybody in the next round, as if the last had gone unanswered."""
        self.unanswered = max(self.unanswered, 1)

    def next_recipient(self) -> bytes | None:
        """The MAC to ask in this round, `EVERYBODY`, or ``None`` to hold back; counts the round as unanswered."""
        silent_rounds, self.unanswered = self.unanswered, self.unanswered + 1
        if self.mac is not None and silent_rounds == 0:
            return self.mac
        is_due = silent_rounds <= _EAGER_ROUNDS or silent_rounds % _ASK_EVERYBODY_EVERY == 0
        return EVERYBODY if is_due else None

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
        on_silence: Callable[[Address], Coroutine[None, None, None]],
        on_news: Callable[[Address, bytes], Coroutine[None, None, None]],
    ) -> None:
        self._link = link
        self._interval_s = interval_s
        self._on_silence = on_silence
        self._on_news = on_news
        self._tasks: set[asyncio.Task[None]] = set()
        self._acquaintances: dict[Address, Acquaintance] = {}
        self._sockets: dict[int, socket.socket] = {}
        """By IP version."""
        self._start(self._run())

    def add(self, address: Address) -> None:
        """Watch this neighbour too. `NetworkError` if the interface cannot be listened to."""
        if address.version not in self._sockets:
            self._sockets[address.version] = self._listen(address.version)
        self._acquaintances.setdefault(address, Acquaintance())

    def discard(self, address: Address) -> None:
        """Watch this neighbour no longer."""
        self._acquaintances.pop(address, None)

    def doubt(self, address: Address | None = None) -> None:
        """The kernel has dropped its entry for this neighbour, or perhaps for any. It learns the MAC anew from an answer that
        everybody was asked for; in one to somebody who knows the MAC, an IPv6 station leaves it out."""
        for known, acquaintance in self._acquaintances.items():
            if address in (None, known):
                acquaintance.doubt()

    async def close(self) -> None:
        """Stop asking and release the sockets."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for opened in self._sockets.values():
            asyncio.get_running_loop().remove_reader(opened)
            opened.close()
        self._sockets.clear()

    def _listen(self, version: int) -> socket.socket:
        opened = open_socket(self._link().name, version=version, answers_only=True)
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
        asyncio.get_running_loop().add_reader(opened, self._hear, opened)
        return opened

    async def _run(self) -> None:
        while True:
            for opened in self._sockets.values():  # whoever has answered is not asked as one who has not
                self._hear(opened)
            for address in self._whose_turn_it_is():
                self._ask(address, self._acquaintances[address])
            await asyncio.sleep(self._interval_s)

    def _whose_turn_it_is(self) -> list[Address]:
        """All, if they are few. Of many those who waited longest; whoever owes an answer is asked before those who do not."""
        everybody = self._acquaintances
        owing = [address for address, known in everybody.items() if known.unanswered][: AT_ONCE // 2]
        turn = dict.fromkeys([*owing, *islice(everybody, AT_ONCE)])
        chosen = list(islice(turn, AT_ONCE))
        for address in chosen if len(everybody) > AT_ONCE else ():
            everybody[address] = everybody.pop(address)  # to the end of the queue
        return chosen

    def _ask(self, address: Address, acquaintance: Acquaintance) -> None:
        link = self._link()
        if not resolution.can_ask(link, address):
            return
        recipient = acquaintance.next_recipient()
        if acquaintance.has_just_fallen_silent:
            _log.warning("%s on %s does not answer %s", address, link.name, resolution.name_for(address))
            self._start(self._on_silence(address))
        if recipient is not None:
            frame = resolution.question(link, address, to=None if recipient == EVERYBODY else recipient)
            with suppress(OSError):  # the link is down, or gone: the event stream tells of it
                self._sockets[address.version].send(frame)

    def _hear(self, opened: socket.socket) -> None:
        """All that wait, for a few hundred answer at once."""
        with suppress(
            OSError
        ):  # nobody waits any more; or the interface goes down, which is reported once through the socket
            for _ in range(2 * AT_ONCE):
                self._heard(opened.recv(_FRAME_SIZE))

    def _heard(self, frame: bytes) -> None:
        packet = resolution.parse(frame)
        if packet is None or packet.answered is None or packet.sender_mac == self._link().mac:
            return
        acquaintance = self._acquaintances.get(packet.answered)
        if acquaintance is not None and acquaintance.heard_from(packet.station):
            self._start(self._on_news(packet.answered, packet.station))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except LbctlError as error:
                _log.warning("%s", error)

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
