"""What a daemon starts from: its file; or, if that is of no use, what was in force before. Reads only.

* Nobody confirmed the file's text, and the time for it is over: what was in force before it; the file's, if nothing from before
  can be read any more.
* The time is not over: the text that waits, wherever it came from.
* The file cannot be read, or is wrong: the last text that was in force. So it is if the file is right in itself, but another
  one than was in force, and a daemon cannot start with it: an interface is not as it says, the tables have no room for it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
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
    history, (pending, fault) = History(state), _pending(state)
    try:
        return _start_of(config, history, pending, fault)
    except ConfigError as error:
        good = _known_good(history, pending)
        if good is None:
            raise
        return replace(good, config_error=str(error))


def other_start(refused: Start, state: Path, *, why: LbctlError) -> Start | None:
    """What was in force before, for a daemon that could not start with this. ``None`` if there is nothing, or if this was in
    force once: then it is not the text's fault, and what is missing may only be late."""
    history, (pending, fault) = History(state), _pending(state)
    if digest(refused.text) in {entry.sha256 for entry in history.known_good()}:
        return None
    good = _known_good(history, pending)
    return replace(good, config_error=str(why), fault=fault) if good else None


def _pending(state: Path) -> tuple[Pending | None, str | None]:
    """What waits for its confirmation, and what there is to say if that cannot be read."""
    try:
        return PendingStore(state).load(), None
    except SystemRequirementError as error:
        return None, error.message


def _start_of(config: Path, history: History, pending: Pending | None, fault: str | None) -> Start:
    if pending is None:
        return _start(read_regular(config), str(config), fault=fault)
    refused = _entry(history, pending.number)
    if refused is not None and refused.outcome is Outcome.UNCONFIRMED and pending.left_s() > 0:
        text = _text(history, pending.number)
        if text is not None:
            return _start(text, refused.source, waits=pending)
    text = read_regular(config)
    if refused is None or digest(text) != refused.sha256:
        return _start(text, str(config), expired=pending)
    before = _known_good(history, pending)
    if before is None:
        why = f"nobody confirmed entry {refused.number}, but nothing from before it can be read: it stays in force"
        return _start(text, str(config), config_error=why, expired=pending)
    return before


def _start(
    text: str,
    source: str,
    *,
    config_error: str | None = None,
    waits: Pending | None = None,
    expired: Pending | None = None,
    fault: str | None = None,
) -> Start:
    return Start(
        text=text,
        declaration=parse(text, source=source),
        source=source,
        config_error=config_error,
        waits=waits,
        expired=expired,
        fault=fault,
    )


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


def _known_good(history: History, pending: Pending | None) -> Start | None:
    """The latest text that was in force and is understood; what waits or waited (``pending``) is not asked for, but what was in
    force before it is asked for first."""
    numbers = [pending.before] if pending else []
    numbers += [
        entry.number for entry in islice(history.known_good(), _TRIED) if not pending or entry.number != pending.number
    ]
    for number in numbers:
        with suppress(LbctlError):
            return _start(history.text(number), history.entry(number).source, expired=pending)
    return None
