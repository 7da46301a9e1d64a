"""The control socket: made by lbctl itself, open to the group ``lbctl``, and every request with its peer's credentials."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from lbctl.errors import SystemRequirementError

GROUP = "lbctl"
MODE = 0o660
PATIENCE_S = 10.0
"""A connection without a whole request is ended after that, whatever comes of it, and so is one whose client has not read the
answer or asked again by then: there are only so many connections."""
_UCRED = struct.Struct("3i")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end (SO_PEERCRED)."""

    pid: int
    uid: int

    @property
    def name(self) -> str:
        """The user's name, or the number if there is no such user here."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


def open_control_socket(path: Path) -> socket.socket:
    """Bind and listen; a socket left over by a dead daemon is replaced. Refuses while another daemon answers there."""
    _make_directory(path.parent)
    if path.exists() and not path.is_socket():
        raise SystemRequirementError(
            f"{path} exists and is not a socket", hint="name another --socket, or move the file away"
        )
    if _is_answered(path):
        raise SystemRequirementError(
            f"another lbctl daemon answers on {path}",
            hint="stop it first: systemctl stop lbctl; a network namespace has room for one",
        )
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.unlink(missing_ok=True)
        with _umask(0o777):  # nobody connects before the owner and the mode are right
            opened.bind(str(path))
        with contextlib.suppress(KeyError):
            os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
        path.chmod(MODE)
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise SystemRequirementError(
            f"cannot make the control socket {path}: {error.strerror or error}",
            hint="name a --socket in a directory that this user may write; a path may have 107 bytes",
        ) from error
    return opened


def _make_directory(directory: Path) -> None:
    try:
        with _umask(0o022):  # whoever may write there could put a socket of his own in the place of ours
            directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemRequirementError(
            f"cannot make the control socket's directory {directory}: {error.strerror}",
            hint="name a --socket elsewhere, or make the directory",
        ) from error


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True  # somebody is there, too busy to answer
        except OSError:
            return False
        return True


def peer_of(connection: socket.socket) -> Peer:
    """The credentials that the kernel took when the peer connected."""
    pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid=pid, uid=uid)


class PeerProtocol(H11Protocol):
    """Uvicorn's HTTP protocol with the peer of the Unix socket in each request's ``scope["extensions"]["lbctl.peer"]``, and
    with an end to waiting for the client."""

    _end_of_patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Learn the peer before the first request."""
        super().connection_made(transport)
        self._be_patient()
        peer = peer_of(transport.get_extra_info("socket"))
        inner = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})["lbctl.peer"] = peer
            await inner(scope, receive, send)

        self.app = app

    def data_received(self, data: bytes) -> None:
        """More of a request, perhaps the rest."""
        super().data_received(data)
        if not self._is_client_s_turn:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """The client is to take the answer, and may ask again; it may have done so already."""
        super().on_response_complete()
        self._stop_waiting()
        if self._is_client_s_turn:
            self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def _is_client_s_turn(self) -> bool:
        return self.cycle is None or self.cycle.more_body or self.cycle.response_complete

    def _be_patient(self) -> None:
        self._end_of_patience = self.loop.call_later(PATIENCE_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._end_of_patience is not None:
            self._end_of_patience.cancel()
            self._end_of_patience = None
