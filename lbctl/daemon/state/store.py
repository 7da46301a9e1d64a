"""What must outlast a restart: small JSON files in the state directory, each replaced atomically.

| file               | holds                                                                       |
| ------------------ | --------------------------------------------------------------------------- |
| `overrides.json`   | the backends that an operator drained or halted, the weights that one gave  |
|                    | them, and how far those have come that start slowly                         |
| `failover.json`    | the active backend of each pool with failover                              |
| `assignments.json` | each source's backend, in the pools with private storage                    |
| `health.json`      | which backends were up, and their capacity: where a reboot begins           |
| `history/`         | the texts that were in force, see `history`                                 |
| `pending.json`     | the change that waits for its confirmation, see `pending`                   |
| `seed.json`        | the secret of the flow hash: after a reboot, connections that are picked up |
|                    | again find the slot, and so mostly the server, that they had                |
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from pydantic import Field

from lbctl.daemon.state.jsonfile import Content, JsonStore
from lbctl.errors import SystemRequirementError

_log = logging.getLogger(__name__)


class Actives(Content):
    """The active backend of each pool with failover, by their names."""

    active: dict[str, str] = Field(default={})


class Assigned(Content):
    """The name of each source's backend, by pool and source."""

    pools: dict[str, dict[IPv4Address | IPv6Address, str]] = Field(default={})


class Remembered(Content):
    """What is remembered of one backend: whether its probes said that it is up, and its capacity in percent."""

    is_up: bool
    percent: int = Field(ge=0, le=100)


class Remembrance(Content):
    """What is remembered of each backend, by the key that it is recognised by (``pool/backend@address``)."""

    backends: dict[str, Remembered] = Field(default={})


class Seed(Content):
    """The seed of the flow hash; 0: none was made yet."""

    seed: int = Field(default=0, ge=0, lt=1 << 63)


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


class HealthStore(JsonStore[Remembrance]):
    """``health.json``."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory / "health.json",
            Remembrance,
            forgotten="after a reboot no backend takes connections before its first probe",
            unsaved="free space; until then a reboot begins with what was saved last",
        )

    def recall(self) -> Mapping[str, Remembered]:
        """What was saved last; nothing if that cannot be read, for traffic does not wait for it."""
        try:
            return self.load().backends
        except SystemRequirementError as error:
            _log.error("%s", error)
            return {}


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
