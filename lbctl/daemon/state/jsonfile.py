"""A model in a JSON file of its own, replaced atomically."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lbctl.core.addresses import by_number
from lbctl.core.model import Address
from lbctl.daemon.state.durable import replace_durably
from lbctl.errors import SystemRequirementError

MAX_BYTES = 64 << 20
"""Of one of the files: ten times what all assignments that the tables can hold take."""
_MOST_SAID = 300


class Content(BaseModel):
    """What one of the files holds. All fields have defaults: those of a file that does not exist."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_Model = TypeVar("_Model", bound=Content)


class JsonStore(Generic[_Model]):
    """A model in a file of its own. ``forgotten`` says what follows when the file is moved away, ``unsaved`` what follows
    from a failure to write: both are parts of hints. Not for two threads at once."""

    def __init__(self, path: Path, model: type[_Model], *, forgotten: str, unsaved: str) -> None:
        self._path = path
        self._model = model
        self._forgotten = forgotten
        self._unsaved = unsaved

    def load(self) -> _Model:
        """What was saved last, or the model's defaults. A file that cannot be understood is an error: an operator's word
        must not be forgotten silently."""
        try:
            return self._model.model_validate_json(self._content())
        except FileNotFoundError:
            return self._model()
        except (ValidationError, OSError) as error:
            raise SystemRequirementError(
                f"{self._path} cannot be read: {_reason(error)}",
                hint=f"repair it, or move it away: then {self._forgotten}",
            ) from error

    def _content(self) -> bytes:
        with self._path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {MAX_BYTES >> 20} MiB")
        return content

    def save(self, content: _Model) -> None:
        """Write through to the disk before it replaces the old file, and the replacement, too."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_durably(self._path, json.dumps(_plain(content.model_dump()), indent=1) + "\n")
        except OSError as error:
            raise SystemRequirementError(
                f"{self._path} cannot be written: {error.strerror or error}", hint=self._unsaved
            ) from error


def _plain(content: Any) -> Any:
    """For JSON, in an order that depends on the content alone; addresses in that of their numbers."""
    if isinstance(content, Mapping):
        return {str(key): _plain(content[key]) for key in sorted(content, key=_place)}
    return sorted(content) if isinstance(content, Set) else content


def _place(key: str | Address) -> tuple[int, int] | str:
    return key if isinstance(key, str) else by_number(key)


def _reason(error: ValidationError | OSError) -> str:
    """On one line, and not a long one."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    fault = error.errors()[0]
    said = ": ".join([*map(str, fault["loc"]), fault["msg"]])[:_MOST_SAID]
    return said if said.isprintable() else ascii(said)[1:-1]
