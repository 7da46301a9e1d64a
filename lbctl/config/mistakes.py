"""What is wrong with a configuration file: one `Mistake` a finding, rendered together as one `ConfigError`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from lbctl.errors import ConfigError

MAX_SHOWN = 100
"""More mistakes than this are counted, not listed: nobody reads the hundred-and-first before mending the first."""

_MAX_SHOWN_CHARACTERS = 70


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file. Both count from 1, as editors do."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One finding: where it is, which object it is about, what is wrong, and what to do next."""

    position: Position | None
    """``None`` when the file as a whole is meant (missing, unreadable)."""
    subject: str
    message: str
    hint: str

    def render(self, source: str) -> str:
        """``FILE:LINE:COLUMN: object: message`` and the hint on a line of its own."""
        place = f"{source}:{self.position.line}:{self.position.column}" if self.position else source
        about = f"{self.subject}: " if self.subject else ""
        return f"{place}: {about}{self.message}\n  hint: {self.hint}"


class InvalidValueError(ValueError):
    """A value that a field cannot take: what is wrong, and what to write instead."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidConfigError(ConfigError):
    """The author of the configuration file must act: all mistakes found, in the order of the file."""

    def __init__(self, mistakes: Iterable[Mistake], *, source: str) -> None:
        unique = sorted(set(mistakes), key=_reading_order)
        super().__init__(_render_all(unique, _on_one_line(source)))
        self.mistakes = tuple(unique)


def _reading_order(mistake: Mistake) -> tuple[Position, str, str]:
    return mistake.position or Position(0, 0), mistake.subject, mistake.message


def _render_all(mistakes: list[Mistake], source: str) -> str:
    lines = [mistake.render(source) for mistake in mistakes[:MAX_SHOWN]]
    if len(mistakes) > MAX_SHOWN:
        lines.append(f"{source}: and {len(mistakes) - MAX_SHOWN} more mistakes")
    return "\n".join(lines)


def shown(value: object) -> str:
    """A value of the file as a message may carry it: on one line, without control characters, not too long."""
    text = _on_one_line(str(value))
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}…"


def quoted(value: object) -> str:
    """`shown` between quotes."""
    return f"'{shown(value)}'"


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, letter case aside."""
    by_folded = {name.casefold(): name for name in known}
    # Cut short: the similarity of a megabyte-long key to anything is nobody's question.
    found = get_close_matches(word[:64].casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """A hint: the nearest known word, or what ``otherwise`` says."""
    found = nearest(word, known)
    return f"did you mean {quoted(found)}?" if found else otherwise
