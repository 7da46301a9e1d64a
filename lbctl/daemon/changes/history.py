"""Which configurations were in force, and who put them there.

In the state directory ``history/NNNNNN.yaml`` is a text, and ``NNNNNN.json`` says who put it in force, how and when, and what
became of it. An entry is there once the latter is.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lbctl.daemon.audit import Actor
from lbctl.daemon.state.durable import replace_durably
from lbctl.errors import SystemRequirementError, UsageError

_log = logging.getLogger(__name__)

DIRECTORY = "history"
KEPT = 100
"""Entries; older ones go."""


class How(StrEnum):
    """What put a text in force."""

    START = "start"
    RELOAD = "reload"
    APPLY = "apply"
    ROLLBACK = "rollback"


class Outcome(StrEnum):
    """What became of a change."""

    BEGUN = "begun"
    """It is being carried out, or the daemon was killed while it was."""
    UNCONFIRMED = "unconfirmed"
    """In force as long as ``pending.json`` says so; if there is no such file any more, it was confirmed."""
    DONE = "done"
    FAILED = "failed"
    """Nothing of it is in force: it was taken back at once."""
    ROLLED_BACK = "rolled back"
    """It was in force, but nobody confirmed it."""


class Entry(BaseModel):
    """A text, and who put it in force, or tried to. ``why`` tells what went wrong, if anything did."""

    model_config = ConfigDict(frozen=True)

    number: int
    time: str
    user: str
    uid: int | None = None
    pid: int | None = None
    how: How
    source: str
    sha256: str
    what: str
    """What it changed, in one line."""
    outcome: Outcome = Outcome.BEGUN
    why: str = ""

    @property
    def was_in_force(self) -> bool:
        """And nothing was found wrong with it, as far as this file tells."""
        return self.outcome in (Outcome.DONE, Outcome.UNCONFIRMED)

    @property
    def words(self) -> str:
        """Who did it, as messages name it: ``root (apply, entry 4)``."""
        return f"{self.user} ({self.how}, entry {self.number} of the history)"


def digest(text: str) -> str:
    """What a text is known by: the SHA-256 of its UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


class History:
    """The entries on the disk. Each method touches it, so call them from a thread where that matters."""

    def __init__(self, state: Path) -> None:
        self._directory = state / DIRECTORY
        self._unwritten: dict[int, Entry] = {}

    def entries(self) -> tuple[Entry, ...]:
        """Oldest first. One that cannot be read is left out."""
        return tuple(entry for number in self._numbers() if (entry := self._read(number)) is not None)

    def _numbers(self) -> list[int]:
        return sorted({int(path.stem) for path in self._directory.glob("*.json") if path.stem.isdecimal()})

    def _read(self, number: int) -> Entry | None:
        path, unwritten = self._path(number, "json"), self._unwritten.get(number)
        if unwritten is not None:
            return unwritten
        try:
            return Entry.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            _log.warning("%s cannot be read: %s", path, error)
            return None

    def entry(self, number: int) -> Entry:
        """`UsageError` if there is none of that number."""
        found = self._read(number) if self._path(number, "json").exists() else None
        if found is None:
            raise UsageError(f"there is no entry {number} in the history", hint="`lbctl history` lists what there is")
        return found

    def text(self, number: int) -> str:
        """`UsageError` if there is none of that number."""
        sha256 = self.entry(number).sha256
        try:
            text = self._path(number, "yaml").read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the text of entry {number} cannot be read: {error}", hint="choose another one") from None
        if digest(text) != sha256:
            raise UsageError(f"the text of entry {number} is not the one that was in force", hint="choose another one")
        return text

    def in_force(self) -> Entry | None:
        """The latest that was."""
        return next(self.known_good(), None)

    def known_good(self) -> Iterator[Entry]:
        """What was in force, the latest first; read one by one."""
        for number in reversed(self._numbers()):
            entry = self._read(number)
            if entry is not None and entry.was_in_force:
                yield entry

    def add(self, text: str, *, actor: Actor, how: How, source: str, what: str) -> Entry:
        """A new entry, its text first. `SystemRequirementError` if the disk refuses; then there is none."""
        entry = Entry(
            number=max(self._numbers(), default=0) + 1,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            user=actor.name,
            uid=actor.uid,
            pid=actor.pid,
            how=how,
            source=source,
            sha256=digest(text),
            what=what,
        )
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_durably(self._path(entry.number, "yaml"), text)
            self._write(entry)
        except OSError as error:
            with suppress(OSError):
                self._path(entry.number, "yaml").unlink(missing_ok=True)
            raise _unwritable(self._directory, error) from error
        return entry

    def settle(self, entry: Entry, outcome: Outcome, *, why: str = "") -> Entry:
        """What became of it. `SystemRequirementError` if the disk refuses; then only this object knows."""
        settled = entry.model_copy(update={"outcome": outcome, "why": why})
        self._unwritten[entry.number] = settled
        self.catch_up()
        return settled

    def catch_up(self) -> None:
        """Write the outcomes that the disk has refused until now. `SystemRequirementError` if it still does."""
        for number, entry in sorted(self._unwritten.items()):
            try:
                self._write(entry)
            except OSError as error:
                raise _unwritable(self._directory, error) from error
            del self._unwritten[number]

    def _write(self, entry: Entry) -> None:
        replace_durably(self._path(entry.number, "json"), entry.model_dump_json(indent=1) + "\n")

    def prune(self, *, keep: frozenset[int]) -> None:
        """Let old ones go, but not these."""
        for number in self._numbers()[:-KEPT]:
            if number not in keep:
                for suffix in ("json", "yaml"):
                    self._path(number, suffix).unlink(missing_ok=True)

    def _path(self, number: int, suffix: str) -> Path:
        return self._directory / f"{number:06}.{suffix}"


def _unwritable(directory: Path, error: OSError) -> SystemRequirementError:
    return SystemRequirementError(
        f"{directory} cannot be written: {error.strerror or error}",
        hint="free space, then try again; what cannot be remembered cannot be rolled back",
    )
