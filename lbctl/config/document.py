"""YAML text becomes plain values, and every value keeps its place in the file.

Only YAML's composer is used: it gives a tree of nodes with exact marks; `lbctl.config.scalars` tells what the leaves mean.
Everything is bounded: depth, number of values, and what aliases may expand to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import Event
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from lbctl.config.mistakes import InvalidConfigError, Mistake, Position, quoted, shown
from lbctl.config.scalars import plain_value

Path = tuple[str | int, ...]
Value = Any
"""``dict`` with text keys, ``list``, ``str``, ``int``, ``float``, ``bool`` or ``None``."""

MAX_DEPTH = 16
MAX_VALUES = 100_000

_HALF = re.compile("[\ud800-\udfff]")
_OTHER_VERSION = re.compile(r"^%YAML[ \t]+(?!1\.2\b)(\S*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, and where its key does (the same for the items of a list)."""

    key: Position
    value: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file as plain values, the place of each, and the mistakes that did not hinder reading on."""

    value: Value
    places: Mapping[Path, Place]
    mistakes: tuple[Mistake, ...]

    def place(self, path: Path) -> Place:
        """Where ``path`` stands, or the nearest thing around it that is written in the file."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


class _RefusedError(Exception):
    """The file is deeper or larger than any sensible one, or has what no text has."""

    def __init__(self, message: str, hint: str, place: Position | None = None) -> None:
        super().__init__(message)
        self.mistake = Mistake(place, "", f"the file {message}", hint)


_TOO_DEEP = (f"is nested deeper than {MAX_DEPTH} levels", "the deepest sensible value has seven; look for a stray '['")
_TOO_MANY = (
    f"has more than {MAX_VALUES} values",
    "aliases count as often as they are used; split the file by director",
)


class _BoundedComposer(Composer):
    """Composes a bounded tree, and refuses tags: a tag would override the schema's own types."""

    nesting = 0
    count = 0

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # the later one counts (YAML 1.2.2, section 3.2.2.2)

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.nesting += 1
        self.count += 1
        event = self.parser.peek_event()
        if self.nesting > MAX_DEPTH:
            raise _RefusedError(*_TOO_DEEP, _position(event))
        if self.count > MAX_VALUES:
            raise _RefusedError(*_TOO_MANY)
        if getattr(event, "tag", None) is not None:
            raise MarkedYAMLError(problem=f"tag {_tag(event)} is not allowed", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.nesting -= 1
        return node


def read_document(text: str, *, source: str) -> Document:
    """Parse YAML. `InvalidConfigError` with one mistake if the text is empty or is not YAML at all."""
    _refuse_other_version(text, source)
    node = _compose(text, source)
    if node is None:
        hint = "declare interfaces, services and pools; deploy/examples has files to start from"
        raise InvalidConfigError([Mistake(None, "", "the file is empty", hint)], source=source)
    reader = _Reader()
    try:
        value = reader.read(node, ())
    except _RefusedError as exc:
        raise InvalidConfigError([exc.mistake], source=source) from None
    return Document(value=value, places=reader.places, mistakes=tuple(reader.mistakes))


def _refuse_other_version(text: str, source: str) -> None:
    if found := _OTHER_VERSION.search(text):
        message = f"the file says that it is YAML {shown(found[1])}"
        hint = "lbctl reads YAML 1.2, in which on, off, yes and no are text; remove the %YAML line"
        raise InvalidConfigError([Mistake(_offset(text, found.start()), "", message, hint)], source=source)


def _compose(text: str, source: str) -> Node | None:
    yaml = YAML(typ="safe", pure=True)  # the C parser gives no columns
    yaml.Composer = _BoundedComposer
    try:
        node: Node | None = yaml.compose(text)
    except _RefusedError as exc:
        mistake = exc.mistake
    except (YAMLError, ValueError) as exc:  # ValueError: an escape such as "\UFFFFFFFF" names no character
        mistake = _syntax_mistake(exc, text)
    else:
        return node
    raise InvalidConfigError([mistake], source=source)


def _syntax_mistake(exc: Exception, text: str) -> Mistake:
    if isinstance(exc, ReaderError):
        hint = "save the file as plain UTF-8 text"
        return Mistake(_offset(text, exc.position), "", f"control character U+{ord(text[exc.position]):04X}", hint)
    if not isinstance(exc, MarkedYAMLError):
        return Mistake(None, "", f"is not YAML: {shown(exc)}", _hint_for(""))
    mark = exc.problem_mark or exc.context_mark
    place = Position(mark.line + 1, mark.column + 1) if mark else None
    problem = shown(exc.problem or exc.context or "syntax error").removeprefix("but ")
    return Mistake(place, "", f"is not YAML: {problem}", _hint_for(problem))


def _hint_for(problem: str) -> str:
    """YAML's own words name the symptom; these name the usual cause."""
    for words, hint in (
        ("'\\t'", "indent with spaces; YAML does not allow tabs"),
        ("tab", "indent with spaces; YAML does not allow tabs"),
        (
            "mapping values are not allowed",
            "check the indentation of this line; quote a value that contains ': ' or ends with ':', as addresses may",
        ),
        ("could not find expected ':'", "a key is written 'key: value', with a space after the colon"),
        ("tag", "remove the '!' word; values need no type here"),
        ("undefined alias", "define it above with '&name', or quote a value that begins with '*'"),
        ("another document", "one file holds one document; remove the second '---'"),
        ("unexpected end of stream", "a quote that was opened is never closed"),
        ("cannot start any token", "quote a value that begins with this character"),
        ("found ':'", "quote a value that begins with ':'"),
        ("expected", "check brackets and commas, and that all keys of a block are indented alike"),
    ):
        if words in problem:
            return hint
    return "check indentation, colons, brackets and quotes up to this line"


def _require_whole_characters(node: ScalarNode) -> None:
    """An escape can name one half of a pair (UTF-16's surrogates), which nothing can be called that is ever told to anybody."""
    if found := _HALF.search(str(node.value)):
        raise _RefusedError(
            f"has half a character, U+{ord(found[0]):04X}",
            "write the character itself, or its code as \\U and eight digits",
            _position(node),
        )


class _Reader:
    """Turns nodes into values, noting places and duplicate keys on the way."""

    def __init__(self) -> None:
        self.places: dict[Path, Place] = {}
        self.mistakes: list[Mistake] = []

    def read(self, node: Node, path: Path) -> Value:
        """The value of a node. Aliases are read once for each use, so the bounds hold for what they expand to."""
        if len(path) > MAX_DEPTH:
            raise _RefusedError(*_TOO_DEEP, _position(node))
        if len(self.places) > MAX_VALUES:
            raise _RefusedError(*_TOO_MANY)
        self.places.setdefault(path, Place(_position(node), _position(node)))
        if isinstance(node, MappingNode):
            return self._read_mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode), "YAML has three kinds of nodes"
        _require_whole_characters(node)
        return _scalar(node)

    def _read_mapping(self, node: MappingNode, path: Path) -> dict[str, Value]:
        result: dict[str, Value] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key is None:
                continue
            if key in result:
                self._note_duplicate(key_node, (*path, key))
                continue
            self.places[(*path, key)] = Place(_position(key_node), _position(value_node))
            result[key] = self.read(value_node, (*path, key))
        return result

    def _key(self, node: Node) -> str | None:
        """Keys are names, so they are taken as written: ``1`` and ``on`` are the text "1" and "on"."""
        if isinstance(node, ScalarNode):
            _require_whole_characters(node)
        if isinstance(node, ScalarNode) and (node.value != "<<" or node.style):
            return str(node.value)
        if isinstance(node, ScalarNode):
            message, hint = (
                "merge keys ('<<') are not YAML 1.2",
                "write the keys out, or use an alias for the whole value",
            )
        else:
            message, hint = "a key must be a word", "quote a key that begins with '{' or '['"
        self.mistakes.append(Mistake(_position(node), "", message, hint))
        return None

    def _note_duplicate(self, node: Node, path: Path) -> None:
        message = f"key {quoted(path[-1])} is already on line {self.places[path].key.line}"
        subject = ".".join(shown(step) for step in path[:-1])
        self.mistakes.append(Mistake(_position(node), subject, message, "rename or remove one of the two"))


def _scalar(node: ScalarNode) -> str | int | float | bool | None:
    """Quoted or block: text, whatever it looks like."""
    text = str(node.value)
    return plain_value(text) if node.style is None else text


def _position(node: Node | Event) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


def _tag(event: Any) -> str:
    return shown(str(event.tag).replace("tag:yaml.org,2002:", "!!"))


def _offset(text: str, index: int) -> Position:
    before = text[:index]
    return Position(before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)
