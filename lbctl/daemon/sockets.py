"""The control socket: made by lbctl itself, open to the group ``lbctl``, and every request with its peer's credentials."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from lbctl.errors import SystemRequirementError

GROUP = "lbctl"
MODE = 0o660
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
            hint="stop it first, or give this one another --socket and --pins",
        )
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.unlink(missing_ok=True)
        before = os.umask(0o777)  # nobody connects before the owner and the mode are right
        try:
            opened.bind(str(path))
        finally:
            os.umask(before)
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
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemRequirementError(
            f"cannot make the control socket's directory {directory}: {error.strerror}",
            hint="name a --socket elsewhere, or make the directory",
        ) from error


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
    """Uvicorn's HTTP protocol with the peer of the Unix socket in each request's ``scope["extensions"]["lbctl.peer"]``."""

    def connection_made(self, transport: Any) -> None:
        """Learn the peer before the first request."""
        super().connection_made(transport)
        peer = peer_of(transport.get_extra_info("socket"))
        inner = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})["lbctl.peer"] = peer
            await inner(scope, receive, send)

        self.app = app
