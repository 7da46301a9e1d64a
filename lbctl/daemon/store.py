"""What must outlast a restart: small JSON files in the state directory, each replaced atomically.

| file               | holds                                                                       |
| ------------------ | --------------------------------------------------------------------------- |
| `overrides.json`   | the backends that an operator drained or halted                             |
| `failover.json`    | the active backend of each pool with failover                              |
| `assignments.json` | each source's backend, in the pools with private storage                    |
| `seed.json`        | the secret of the flow hash: after a reboot, connections that are picked up |
|                    | again find the slot, and so mostly the server, that they had                |
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Mapping, Set
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from lbctl.core.addresses import by_number
from lbctl.core.model import Address
from lbctl.core.standing import Override
from lbctl.errors import SystemRequirementError

_log = logging.getLogger(__name__)


class _Content(BaseModel):
    """What one of the files holds. All fields have defaults: those of a file that does not exist."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Overrides(_Content):
    """What an operator said of backends, by their labels (``pool/backend``); at most one thing of each."""

    drained: frozenset[str] = frozenset()
    halted: frozenset[str] = frozenset()

    @model_validator(mode="after")
    def _contradict_nothing(self) -> Overrides:
        both = self.drained & self.halted
        if both:
            raise ValueError(f"{', '.join(sorted(both))} cannot be drained and halted at once")
        return self

    def of(self, label: str) -> Override | None:
        """What was said of this backend, if anything."""
        if label in self.drained:
            return Override.DRAINED
        return Override.HALTED if label in self.halted else None


class Actives(_Content):
    """The active backend of each pool with failover, by their names."""

    active: dict[str, str] = {}


class Assigned(_Content):
    """The name of each source's backend, by pool and source."""

    pools: dict[str, dict[IPv4Address | IPv6Address, str]] = {}


class Seed(_Content):
    """The seed of the flow hash; 0: none was made yet."""

    seed: int = 0


_Model = TypeVar("_Model", bound=_Content)


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
            return self._model.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return self._model()
        except (ValidationError, OSError) as error:
            raise SystemRequirementError(
                f"{self._path} cannot be read: {_reason(error)}",
                hint=f"repair it, or move it away: then {self._forgotten}",
            ) from error

    def save(self, content: _Model) -> None:
        """Write through to the disk before it replaces the old file, and the replacement, too."""
        fresh = self._path.with_suffix(".next")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(fresh, "w", opener=_for_root_only) as file:
                json.dump(_plain(content.model_dump()), file, indent=1)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            _sync_directory(self._path.parent)
        except OSError as error:
            raise SystemRequirementError(
                f"{self._path} cannot be written: {error.strerror or error}", hint=self._unsaved
            ) from error


class OverrideStore(JsonStore[Overrides]):
    """``overrides.json``."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory / "overrides.json",
            Overrides,
            forgotten="nothing is drained or halted by hand any more",
            unsaved="nothing was changed; free space, then try again",
        )


class ActiveStore(JsonStore[Actives]):
    """``failover.json``."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory / "failover.json",
            Actives,
            forgotten="the first backend in order that is up becomes the active one of its pool",
            unsaved="free space; until then a restart may make another backend the active one",
        )


class AssignmentStore(JsonStore[Assigned]):
    """``assignments.json``."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory / "assignments.json",
            Assigned,
            forgotten="sources may be given other backends than those that hold their studies",
            unsaved="free space; until then a reboot forgets the latest assignments",
        )


class SeedStore(JsonStore[Seed]):
    """``seed.json``."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory / "seed.json",
            Seed,
            forgotten="connections that outlive a reboot of the director may find another server after it",
            unsaved="free space; until then a reboot makes another seed",
        )


def kept_seed(state: Path) -> int:
    """The seed of this director: 63 bits, made once. One that cannot be kept is used all the same."""
    store, fresh = SeedStore(state), Seed(seed=secrets.randbits(62) + 1)
    try:
        found = store.load()
        if not found.seed:
            store.save(fresh)
    except SystemRequirementError as error:
        _log.error("%s", error)
        return fresh.seed
    return found.seed or fresh.seed


def _for_root_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_directory(directory: Path) -> None:
    """A rename is on the disk once its directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain(content: Any) -> Any:
    """For JSON, in an order that depends on the content alone; addresses in that of their numbers."""
    if isinstance(content, Mapping):
        return {str(key): _plain(content[key]) for key in sorted(content, key=_place)}
    return sorted(content) if isinstance(content, Set) else content


def _place(key: str | Address) -> tuple[int, int] | str:
    return key if isinstance(key, str) else by_number(key)


def _reason(error: ValidationError | OSError) -> str:
    """On one line."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    fault = error.errors()[0]
    return ": ".join([*map(str, fault["loc"]), fault["msg"]])


def with_override(overrides: Overrides, label: str, *, to: Override | None) -> Overrides:
    """The overrides with this one said of a backend, or nothing any more."""
    others = {"drained": overrides.drained - {label}, "halted": overrides.halted - {label}}
    if to:
        others[to] |= {label}
    return Overrides(**others)
