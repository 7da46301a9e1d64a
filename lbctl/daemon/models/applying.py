"""Changes that are carried out, and the history of them."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from lbctl.daemon.models.base import Model
from lbctl.daemon.models.changes import MAX_SOURCE, MAX_TEXT

SHA256 = r"^[0-9a-f]{64}$"
MIN_CONFIRM_S, MAX_CONFIRM_S = 1.0, 86_400.0
EntryOutcome = Literal["in force", "unconfirmed", "applied", "rolled back", "failed", "begun"]


class Application(Model):
    """A text that is to be in force."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=MAX_TEXT)
    """The whole file."""
    source: str = Field(min_length=1, max_length=MAX_SOURCE)
    """Its path, from the root on. If that is not the daemon's own file, the text replaces that one's."""
    base: str = Field(pattern=SHA256)
    """SHA-256 of the text that it was planned against; if another one is in force by now, nothing is done."""
    confirm_s: float | None = Field(default=None, ge=MIN_CONFIRM_S, le=MAX_CONFIRM_S)
    """It is rolled back after so many seconds unless it is confirmed; ``null``: it stays."""


class Rollback(Model):
    """What is to be in force again."""

    model_config = ConfigDict(extra="forbid")

    number: int | None = Field(default=None, ge=1)
    """Of the entry; ``null``: the one that was in force before the present one."""
    base: str = Field(pattern=SHA256)
    """As in `Application`."""


class HistoryEntry(Model):
    """A text that was put in force, or was to be."""

    number: int
    time: str
    """When it began, ISO 8601, UTC."""
    user: str
    """Who; ``SIGHUP`` for a reload, ``lbctl`` for what the daemon did by itself."""
    uid: int | None
    how: Literal["start", "reload", "apply", "rollback"]
    source: str
    """Where the text was from."""
    sha256: str
    what: str
    """What it changed, in one line."""
    outcome: EntryOutcome
    """``unconfirmed``: in force, but rolled back unless it is confirmed. ``applied``: it was in force until the next one.
    ``rolled back``: it was in force, and nobody confirmed it. ``failed``: it was taken back at once, or never written.
    ``begun``: it is being written."""
    why: str
    """What went wrong; empty if nothing did."""


class History(Model):
    """The latest entries, oldest first."""

    entries: tuple[HistoryEntry, ...]
    before: int | None
    """The entry that `lbctl rollback` would put in force again."""


class HistoryText(Model):
    """The text of an entry."""

    number: int
    text: str


class UnconfirmedStatus(Model):
    """A change that waits for its confirmation."""

    number: int
    """Of its entry in the history."""
    user: str
    left_s: float
    """Seconds until it is rolled back."""
