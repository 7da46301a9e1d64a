"""The plain part of YAML, in which nearly every file is written, read quickly: sixty times as fast as all of YAML.

Understood are block mappings, one key a line, whose values are scalars of safe characters, simple quotes, lists of scalars, and
mappings in brackets that end on their line. Whatever else YAML has is declined, never guessed at: `lbctl.config.document` reads
that. What is read here means the same there, and is bounded alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lbctl.config.document import MAX_VALUES
from lbctl.config.scalars import plain_value

_KEY = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
_WORD = r"[A-Za-z0-9_.][A-Za-z0-9_./%+-]*(?::+[A-Za-z0-9_./%+-]+)*"  # colons stand within addresses; one at the end is YAML's
_SCALAR = rf"""(?:{_WORD}|"[^"\\]*"|'[^']*')"""
_LIST = rf"\[ *{_SCALAR}(?: *, *{_SCALAR})* *\]"


def _mapping_of(value: str) -> str:
    return rf"\{{ *{_KEY}: +{value}(?: *, *{_KEY}: +{value})* *\}}"


_FLAT = rf"(?:{_SCALAR}|{_LIST}|{_mapping_of(rf'(?:{_SCALAR}|{_LIST})')})"
_NESTED = rf"(?:{_SCALAR}|{_LIST}|{_mapping_of(_FLAT)})"
_END = r" *(?: #.*)?"
_PAIR_LINE = re.compile(rf"( *)({_KEY}):(?: +({_NESTED}))?{_END}")
_ITEM_LINE = re.compile(rf"( *)- +({_SCALAR}){_END}")
_EMPTY_LINE = re.compile(r" *(?:#.*)?")
_PAIRS = re.compile(rf"({_KEY}): +({_FLAT})")
_SCALARS = re.compile(_SCALAR)
_BEGIN = "---\n"
_MAX_DEPTH = 8
"""Of indentation: more than any sensible file has, and with brackets on top less than `document.MAX_DEPTH`."""

_Line = tuple[int, str | None, str | None]
"""Indentation, key (``None`` for an item of a list), value as written (``None`` if it is to follow, indented)."""
_NO_MORE: _Line = (-1, None, None)


class NotPlainError(ValueError):
    """The text is not written in the plain style, whether or not it is YAML."""


def read_plain(text: str) -> dict[str, Any]:
    """The mapping that a file is, without the places of its values. `NotPlainError` if it is anything but a plain one."""
    if not text.replace("\n", "").isprintable():
        raise NotPlainError  # tabs, and what else YAML takes for the end of a line
    lines = _Lines(text.removeprefix(_BEGIN))
    found = lines.mapping(lines.indent, depth=0)
    if lines.indent >= 0 or _values_in(found) > MAX_VALUES:
        raise NotPlainError
    return found


class _Lines:
    """The lines of a text, from first to last. ``indent`` is that of the one looked at, -1 after the last."""

    def __init__(self, text: str) -> None:
        self._rest = _lines(text)
        self._step()

    def _step(self) -> None:
        self.indent, self._key, self._value = next(self._rest, _NO_MORE)

    def mapping(self, indent: int, *, depth: int) -> dict[str, Any]:
        """That of the lines with this indentation, and of what stands beneath them."""
        found: dict[str, Any] = {}
        while self.indent == indent:
            key, value = self._key, self._value
            if key is None or key in found or depth == _MAX_DEPTH:
                raise NotPlainError
            self._step()
            found[key] = self._beneath(indent, depth=depth) if value is None else _value(value)
        if self.indent > indent:
            raise NotPlainError
        return found

    def _beneath(self, indent: int, *, depth: int) -> Any:
        """The value of a key that has none on its line. A list may be indented as its key is."""
        if self._key is None and self.indent >= indent:
            return self._items(self.indent)
        if self.indent <= indent:
            raise NotPlainError
        return self.mapping(self.indent, depth=depth + 1)

    def _items(self, indent: int) -> list[Any]:
        found = []
        while self.indent == indent and self._key is None and self._value is not None:
            found.append(_value(self._value))
            self._step()
        return found


def _lines(text: str) -> Iterator[_Line]:
    for line in text.split("\n"):
        if pair := _PAIR_LINE.fullmatch(line):
            yield len(pair[1]), pair[2], pair[3]
        elif item := _ITEM_LINE.fullmatch(line):
            yield len(item[1]), None, item[2]
        elif not _EMPTY_LINE.fullmatch(line):
            raise NotPlainError


def _value(written: str) -> Any:
    """Of what the pattern of a line let through."""
    first = written[0]
    if first == "{":
        pairs = _PAIRS.findall(written, 1)
        found = {key: _value(value) for key, value in pairs}
        if len(found) < len(pairs):
            raise NotPlainError
        return found
    if first == "[":
        return [_value(item) for item in _SCALARS.findall(written, 1)]
    return written[1:-1] if first in "\"'" else plain_value(written)


def _values_in(value: Any) -> int:
    """How many there are, keys and the value itself included."""
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(_values_in, value.values()))
    return 1 + len(value) if isinstance(value, list) else 1
