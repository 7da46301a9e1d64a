"""The operator's overrides on disk: what was drained by hand stays drained through restarts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lbctl.errors import SystemRequirementError

_NAME = "overrides.json"


class Overrides(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    drained: frozenset[str] = frozenset()
    """Labels (``pool/backend``) that an operator drained."""


class OverrideStore:
    """``overrides.json`` in the state directory, replaced atomically."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _NAME

    def load(self) -> Overrides:
        """What was saved last. A file that cannot be understood is an error: a drain must not be forgotten silently."""
        try:
            return Overrides.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Overrides()
        except (ValidationError, OSError) as error:
            raise SystemRequirementError(
                f"{self._path} cannot be read: {_reason(error)}",
                hint="repair it, or move it away: then nothing is drained by hand any more",
            ) from error

    def save(self, overrides: Overrides) -> None:
        """Write through to the disk before it replaces the old file."""
        fresh = self._path.with_suffix(".next")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w") as file:
                json.dump({"drained": sorted(overrides.drained)}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            raise SystemRequirementError(
                f"{self._path} cannot be written: {error.strerror}",
                hint="nothing was changed; free space, then try again",
            ) from error


def _reason(error: ValidationError | OSError) -> str:
    """On one line."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    fault = error.errors()[0]
    return ": ".join([*map(str, fault["loc"]), fault["msg"]])


def with_drained(overrides: Overrides, labels: Iterable[str], *, drained: bool) -> Overrides:
    """The overrides with some backends drained, or no longer."""
    changed = overrides.drained | set(labels) if drained else overrides.drained - set(labels)
    return Overrides(drained=frozenset(changed))
