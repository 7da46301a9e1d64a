"""The part of a file that passed the schema, so that one mistake does not hide the others."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from lbctl.config.document import Document, Path, Place
from lbctl.config.memo import Memo
from lbctl.config.mistakes import Mistake, Position
from lbctl.config.schema import SECTIONS, FileSpec
from lbctl.config.translate import is_name, path_of, split_subject, translate


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What the rules look at. ``unsound`` are the entries that the schema refused, ``unknown`` the keys; ``spec`` lacks
    both. A rule that concludes something from the absence of an entry asks `is_whole` first, of a key `is_spelt`."""

    spec: FileSpec
    document: Document
    unsound: frozenset[Path]
    unknown: frozenset[Path]

    def is_whole(self, *path: str) -> bool:
        """Whether nothing at or beneath ``path`` was left out."""
        return not any(entry[: len(path)] == path for entry in self.unsound)

    def is_spelt(self, *path: str) -> bool:
        """Whether every key beneath ``path`` is known: else the one that a rule misses may be there, misspelt."""
        return not any(key[: len(path)] == path for key in self.unknown)

    def written_names(self, section: str) -> list[str]:
        """The names in a section as the file has them, sound or not."""
        entries = self.document.value.get(section)
        return list(entries) if isinstance(entries, dict) else []

    def line(self, *path: str) -> int:
        """The line of a key."""
        return self.document.place(path).key.line

    def mistake(self, path: Path, message: str, *, hint: str) -> Mistake:
        """A mistake about the value at ``path``, or about the entry around it if the file does not have that value."""
        place = self.document.place(path)
        is_block = path not in self.document.places or is_name(path) or place.value.line > place.key.line
        position: Position = place.key if is_block else place.value
        subject, _ = split_subject(path)
        return Mistake(position, subject, message, hint)


def draft(document: Document) -> tuple[Draft | None, list[Mistake]]:
    """Validate against the schema. The draft is ``None`` if the file is not even a mapping."""
    nothing: frozenset[Path] = frozenset()
    try:
        spec = FileSpec.model_validate(document.value)
        return Draft(spec=spec, document=document, unsound=nothing, unknown=nothing), []
    except ValidationError as exc:
        # The inputs would be the whole file once more for each error.
        errors: list[Any] = exc.errors(include_url=False, include_input=False)
    mistakes = translate(errors, document)
    if not isinstance(document.value, dict):
        return None, mistakes
    rest = deepcopy(document.value)
    unknown = frozenset(error["loc"] for error in errors if error["type"] == "extra_forbidden")
    unsound = frozenset(_entry_of(path_of(error["loc"], document)) for error in errors if error["loc"] not in unknown)
    for path in unknown | unsound:
        _cut(rest, path)
    spec = FileSpec.model_validate(_EMPTY | rest)
    return Draft(spec=spec, document=document, unsound=unsound, unknown=unknown), mistakes


def sound_draft(value: dict[str, Any]) -> Draft:
    """Of a file of which only the value is known, no places. Raises pydantic's `ValidationError`."""
    document = Document(value=value, places={(): _SOMEWHERE}, mistakes=())
    nothing: frozenset[Path] = frozenset()
    _SPECS.begin()
    known = {section: _specs(section, value[section]) for section in ("services", "pools") if section in value}
    return Draft(spec=FileSpec.model_validate(value | known), document=document, unsound=nothing, unknown=nothing)


def _specs(section: str, entries: Any) -> Any:
    """Those of a section's entries that stand in the file as they did before are the same objects. (By what they look like, for
    1, 1.0 and true are equal.)"""
    model = SECTIONS[section, "*"]
    if not isinstance(entries, dict):
        return entries
    return {
        name: _SPECS.of((section, repr(entry)), partial(model.model_validate, entry)) for name, entry in entries.items()
    }


_SPECS: Memo[BaseModel] = Memo()
_SOMEWHERE = Place(Position(1, 1), Position(1, 1))
_EMPTY: dict[str, Any] = {"interfaces": {}, "services": {}, "pools": {}}


def _cut(rest: dict[str, Any], path: Path) -> None:
    *parents, last = path
    holder: Any = rest
    for step in parents:
        holder = holder.get(step, {}) if isinstance(holder, dict) else {}
    if isinstance(holder, dict):
        holder.pop(last, None)


def _entry_of(path: Path) -> Path:
    """The smallest named entry around a place: a backend, a pool, a service, an interface, a class, or a whole section."""
    if path[0] == "pools" and path[2:3] == ("backends",):
        return path[:4] if len(path) > 3 else path[:2]
    return path[:2]
