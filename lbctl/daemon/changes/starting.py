"""What a daemon starts from: its file; or, if that is of no use, what was in force before. Reads only.

* Nobody confirmed the file's text, and the time for it is over: what was in force before it.
* The time is not over: the text that waits, wherever it came from.
* The file cannot be read, or is wrong: the last text that was in force.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lbctl.config.loader import parse
from lbctl.config.reading import read_regular
from lbctl.core.model import Declaration
from lbctl.daemon.changes.history import Entry, History, Outcome, digest
from lbctl.daemon.changes.pending import Pending, PendingStore
from lbctl.errors import ConfigError, LbctlError, SystemRequirementError

_TRIED = 5
"""So many texts that were in force; after an upgrade, some may not be understood any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A text and what it declares. ``config_error`` says why it is not the file's; ``waits`` for its confirmation, or
    ``expired``: that change is to be rolled back. ``fault`` is of the state directory."""

    text: str
    declaration: Declaration
    source: str
    config_error: str | None = None
    waits: Pending | None = None
    expired: Pending | None = None
    fault: str | None = None


def choose_start(config: Path, state: Path) -> Start:
    """Raises `ConfigError` if the file is of no use and nothing was in force before."""
    history = History(state)
    try:
        pending, fault = PendingStore(state).load(), None
    except SystemRequirementError as error:
        pending, fault = None, error.message
    try:
        return _start_of(config, history, pending, fault)
    except ConfigError as error:
        return _last_known_good(history, pending, error)


def _start_of(config: Path, history: History, pending: Pending | None, fault: str | None) -> Start:
    if pending is None:
        return _start(read_regular(config), str(config), fault=fault)
    refused = _entry(history, pending.number)
    if refused is not None and refused.outcome is Outcome.UNCONFIRMED and pending.left_s() > 0:
        text = _text(history, pending.number)
        if text is not None:
            return _start(text, refused.source, waits=pending)
    text = read_regular(config)
    before = _text(history, pending.before) if refused is not None and digest(text) == refused.sha256 else None
    if before is not None:
        return _start(before, history.entry(pending.before).source, expired=pending)
    return _start(text, str(config), expired=pending)


def _start(
    text: str,
    source: str,
    *,
    waits: Pending | None = None,
    expired: Pending | None = None,
    fault: str | None = None,
) -> Start:
    declaration = parse(text, source=source)
    return Start(text=text, declaration=declaration, source=source, waits=waits, expired=expired, fault=fault)


def _entry(history: History, number: int) -> Entry | None:
    try:
        return history.entry(number)
    except LbctlError:
        return None


def _text(history: History, number: int) -> str | None:
    try:
        return history.text(number)
    except LbctlError:
        return None


def _last_known_good(history: History, pending: Pending | None, error: ConfigError) -> Start:
    """With the file's error told, or raised if there is none."""
    waiting = pending.number if pending else None
    good = (entry for entry in history.known_good() if entry.number != waiting)
    for entry in islice(good, _TRIED):
        try:
            text = history.text(entry.number)
            declaration = parse(text, source=entry.source)
        except LbctlError:
            continue
        return Start(text=text, declaration=declaration, source=entry.source, config_error=str(error), expired=pending)
    raise error
