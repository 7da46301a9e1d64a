"""Who changed what, when, and what came of it: a JSON object a line in the state directory, and a line of the journal."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lbctl.errors import LbctlError

_log = logging.getLogger("lbctl.audit")

FILE = "audit.jsonl"
MAX_BYTES = 4 << 20
"""Then the file is set aside as ``audit.jsonl.1``, in place of the one that was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asked for a change, as the kernel told of the socket's other end; ``uid`` and ``pid`` are ``None`` for a signal, and
    for what the daemon did by itself."""

    name: str
    uid: int | None = None
    pid: int | None = None

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})" if self.pid else self.name


SIGNAL = Actor(name="SIGHUP")
ITSELF = Actor(name="lbctl")


class AuditLog:
    """``audit.jsonl`` in the state directory. It never hinders a change: what cannot be written is in the journal."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE

    def record(self, actor: Actor, action: str, target: str, *, outcome: str, is_done: bool = True) -> None:
        """Note one change, or (``is_done`` false) one that was refused or failed, with the reason as its ``outcome``."""
        if is_done:
            _log.info("%s, by %s", _on_one_line(outcome), actor)
        else:
            _log.warning("%s %s was refused, to %s: %s", action, _on_one_line(target), actor, _on_one_line(outcome))
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "user": actor.name,
            "uid": actor.uid,
            "pid": actor.pid,
            "action": action,
            "target": target,
            "done": is_done,
            "outcome": outcome,
        }
        try:
            self._append(json.dumps(line, ensure_ascii=False))
        except OSError as error:
            _log.error("%s cannot be written, this is in the journal only: %s", self._path, error.strerror or error)

    def _append(self, line: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
            self._path.replace(self._path.with_name(f"{FILE}.1"))
        with open(self._path, "a", encoding="utf-8", opener=_for_root_only) as file:
            file.write(f"{line}\n")


def outcome_of(error: BaseException) -> str:
    """What there is to say of a change that was not made, or not all of it."""
    if isinstance(error, asyncio.CancelledError):
        return "the daemon ended meanwhile"
    return error.message if isinstance(error, LbctlError) else f"it failed: {error!r}"


def _on_one_line(text: str) -> str:
    """Whoever names a file is not to write lines of the journal that another seems to have caused."""
    return "; ".join(line.strip() if line.isprintable() else ascii(line)[1:-1] for line in text.split("\n"))


def _for_root_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
