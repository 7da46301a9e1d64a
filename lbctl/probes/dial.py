"""How every probe reaches a server: a TCP connection that keeps its times, acknowledges at once and ends in order.

`dial` opens a `Wire`; whatever goes wrong with the server or on the way to it is a `WireError`, which carries the
verdict. Only a fault of the director itself (no privilege to mark a socket, a source address that it does not own) is
raised as an `LbctlError`: it says nothing about the server.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from lbctl.core.addresses import endpoint
from lbctl.core.verdict import Outcome, ProbeResult
from lbctl.errors import LbctlError, NetworkError, SystemRequirementError
from lbctl.probes.port import Target

CHUNK_BYTES = 4096
MOST_BYTES = 256 << 10
"""What a server may say in a probe, goodbyes and all; the longest answer that a probe understands is a quarter of it."""

LINGER_S = 0.2
"""How long a server may take to answer our FIN with its own before we stop waiting for it."""

_OUTCOMES = {
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.EHOSTUNREACH: Outcome.UNREACHABLE,
    errno.ENETUNREACH: Outcome.UNREACHABLE,
    errno.EHOSTDOWN: Outcome.UNREACHABLE,
    errno.ENONET: Outcome.UNREACHABLE,
    errno.ENOPROTOOPT: Outcome.UNREACHABLE,  # ICMP protocol unreachable
    errno.EPROTO: Outcome.UNREACHABLE,  # the same of ICMPv6: a parameter problem
    errno.ECONNRESET: Outcome.FAILED,
    errno.ECONNABORTED: Outcome.FAILED,
    errno.EPIPE: Outcome.FAILED,
}

_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
    errno.ECONNRESET: "connection reset by the server",
    errno.EPIPE: "connection closed by the server",
}


class WireError(Exception):
    """The connection failed, and that decides the probe. Nobody must act: the probe turns it into its result."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail

    @property
    def result(self) -> ProbeResult:
        """The verdict as every probe returns it."""
        return ProbeResult(outcome=self.outcome, detail=self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The moments (seconds of the event loop's clock) that keep a probe within its time-out.

    The last tenth of the time-out is kept for an orderly goodbye, so that a server that answers too late is still taken
    leave of properly and the probe as a whole never overruns.
    """

    started_at: float
    answer_by: float
    release_by: float
    closed_by: float

    @classmethod
    def starting(cls, *, now: float, timeout_s: float) -> Self:
        """The schedule of a probe that starts now."""
        return cls(
            started_at=now,
            answer_by=now + 0.9 * timeout_s,
            release_by=now + 0.95 * timeout_s,
            closed_by=now + timeout_s,
        )


class Wire:
    """A connected TCP socket. Leave its ``async with`` block and it is closed, in order unless cancelled."""

    def __init__(self, sock: socket.socket, *, schedule: Schedule, connected_at: float) -> None:
        self._socket = sock
        self.schedule = schedule
        self.connect_s = connected_at - schedule.started_at
        self._received_bytes = 0

    async def send(self, data: bytes, *, step: str, by: float) -> None:
        """Send all of it. Raises `WireError`."""
        try:
            async with asyncio.timeout_at(by):
                await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except OSError as error:
            raise self._failed(error, step=step, by=by) from None

    async def receive(self, *, step: str, by: float) -> bytes:
        """The next bytes, at most `CHUNK_BYTES`; empty at the server's FIN. ``step`` names, for people, what the server
        is answering. Raises `WireError`."""
        try:
            async with asyncio.timeout_at(by):
                data = await self._read()
        except OSError as error:
            raise self._failed(error, step=step, by=by) from None
        if self._is_enough:
            raise WireError(Outcome.FAILED, f"more than {MOST_BYTES >> 10} KiB from the server after the {step}")
        return data

    def send_last(self, data: bytes) -> None:
        """Hand the kernel a few parting bytes without waiting; whether they arrive no longer matters."""
        with suppress(OSError):
            self._socket.send(data)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            if kind is None or issubclass(kind, WireError):
                await self._finish()
        finally:
            self._socket.close()

    async def _finish(self) -> None:
        """Send FIN and read until the server's: a socket closed with unread data would send RST instead."""
        by = min(asyncio.get_running_loop().time() + LINGER_S, self.schedule.closed_by)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout_at(by):
                while not self._is_enough and await self._read():
                    pass

    async def _read(self) -> bytes:
        # Waiting bytes are returned without a turn of the event loop: a server that never stops sending would keep
        # every other task, and the time-out, from running.
        await asyncio.sleep(0)
        _acknowledge_at_once(self._socket)
        data = await asyncio.get_running_loop().sock_recv(self._socket, CHUNK_BYTES)
        self._received_bytes += len(data)
        return data

    @property
    def _is_enough(self) -> bool:
        return self._received_bytes > MOST_BYTES

    def _failed(self, error: OSError, *, step: str, by: float) -> WireError:
        if isinstance(error, TimeoutError):
            waited_s = by - self.schedule.started_at
            return WireError(Outcome.TIMEOUT, f"{step} unanswered, {waited_s:.3g} s after the probe's start")
        return WireError(_OUTCOMES.get(error.errno or 0, Outcome.FAILED), f"{_words(error)} after the {step}")


_IP_BIND_ADDRESS_NO_PORT = 24
"""``linux/in.h``; not in Python's module before 3.12."""


async def dial(target: Target) -> Wire:
    """Connect to the target. Raises `WireError` if that fails, `LbctlError` if the director itself is at fault."""
    now = asyncio.get_running_loop().time
    schedule = Schedule.starting(now=now(), timeout_s=target.timeout_s)
    sock = _open_socket(target)
    try:
        await _connect(sock, target, by=schedule.answer_by)
    except BaseException:  # cancellation too: no path leaves the socket open
        sock.close()
        raise
    return Wire(sock, schedule=schedule, connected_at=now())


async def _connect(sock: socket.socket, target: Target, *, by: float) -> None:
    try:
        _set_off(sock, target)
        async with asyncio.timeout_at(by):
            await asyncio.get_running_loop().sock_connect(sock, (str(target.address), target.port))
    except TimeoutError:
        raise WireError(Outcome.TIMEOUT, f"TCP handshake unanswered on port {target.port}") from None
    except OSError as error:
        outcome = _outcome(error, target)
        if outcome is None:
            raise _local_fault(error, target) from error
        raise WireError(outcome, f"{_words(error)} on port {target.port}") from None


def _set_off(sock: socket.socket, target: Target) -> None:
    """Send the SYN. That there is no way for a marked one is told before anything is sent, and says nothing of the server:
    somebody deleted the rules or routes of the probes. (A router's word to the same effect comes later.)"""
    try:
        sock.connect((str(target.address), target.port))
    except BlockingIOError:
        return
    except OSError as error:
        if target.mark and error.errno == errno.ENETUNREACH:
            raise NetworkError(
                f"no probe is sent to {endpoint(target.address, target.port)}: its policy rule or route is missing",
                hint="see who deletes rules with protocol 108: ip rule; lbctl puts them back",
            ) from error
        raise


def _outcome(error: OSError, target: Target) -> Outcome | None:
    """What a failure to connect says of the server; ``None``: of the director itself. Of IPv6 the kernel tells in the same
    words (EACCES) that a firewall on the way prohibits it and that a rule here does: for IPv4 the former is unreachable."""
    if error.errno == errno.EACCES and target.address.version == 6:
        return Outcome.UNREACHABLE
    return _OUTCOMES.get(error.errno or 0)


def _open_socket(target: Target) -> socket.socket:
    try:
        family = socket.AF_INET if target.address.version == 4 else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise SystemRequirementError(
            f"cannot open a socket for a probe: {error.strerror}", hint="raise the daemon's limit of open files"
        ) from error
    try:
        _configure(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


def _configure(sock: socket.socket, target: Target) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if target.mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, target.mark)
    except PermissionError as error:
        raise SystemRequirementError(
            "may not mark a probe's socket (SO_MARK)", hint="run the daemon as root or with CAP_NET_ADMIN"
        ) from error
    try:
        if target.source is not None:
            # The port is chosen with the peer known: else each probe under way would take one from all the others.
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((str(target.source), 0))
    except OSError as error:
        raise NetworkError(
            f"cannot probe from {target.source}: {error.strerror}",
            hint="give the interface in the configuration an address that this machine has",
        ) from error


def _acknowledge_at_once(sock: socket.socket) -> None:
    """Archives write a PDU in two pieces; with Nagle at their end the second waits for our delayed ACK, 40 ms.

    TCP_QUICKACK is not sticky (tcp(7)): every send may fall back to delayed ACKs, so it is set before each read.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _local_fault(error: OSError, target: Target) -> LbctlError:
    return NetworkError(
        f"cannot send a probe to {endpoint(target.address, target.port)}: {error.strerror}",
        hint="look for a firewall rule, a prohibiting route or exhausted local ports on the director itself",
    )


def _words(error: OSError) -> str:
    return _WORDS.get(error.errno or 0) or (error.strerror or "connection failed").lower()
