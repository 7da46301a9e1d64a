"""What an operator may ask for, and what that is answered with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from lbctl.daemon.models.base import MAX_NAME, MAX_WEIGHT, NAME, Address, Model


class Assignment(Model):
    """The one backend of a pool with private storage that a source's new connections go to."""

    pool: str
    source: Address
    backend: str
    """Its name within the pool. It may be one that the file no longer has."""


class Assignments(Model):
    """Assignments, by pool and source."""

    assignments: tuple[Assignment, ...]


class Assignee(Model):
    """What an operator assigns to a source."""

    model_config = ConfigDict(extra="forbid")

    backend: str = Field(min_length=1, max_length=MAX_NAME, pattern=NAME)
    """The backend's name within the pool."""


def _whole(number: object) -> object:
    """JSON has one kind of numbers: 7.0 is a whole one."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


class Weighting(Model):
    """The weight that an operator gives backends."""

    model_config = ConfigDict(extra="forbid")

    weight: Annotated[int, Field(ge=0, le=MAX_WEIGHT, strict=True), BeforeValidator(_whole)] | None
    """Null: as declared."""


class TargetBackend(Model):
    """A backend, as far as one waits for it."""

    pool: str
    name: str
    address: Address
    state: str
    """As in `BackendStatus`."""
    reason: str
    override: Literal["drained", "halted"] | None
    """What an operator said of it."""
    slow_start_percent: int | None
    """How much of its weight it has so far, while its share grows; null otherwise."""
    takes_new: bool
    """Whether the kernel's tables give it new connections; while the kernel refuses a drain, they go on to do so."""
    connections: int
    """Open TCP connections now."""
    half_open: int
    """TCP connections whose SYN went there and whose handshake may still be completed; they do not count as open yet."""
    udp_flows: int | None
    """Live UDP flows at the latest sweep; null if no service of its pool is one of UDP."""


class TargetStatus(Model):
    """What a command would be about: a backend, those of a pool, or those of a host; and those of them that the file no longer
    has, as long as they may have connections (their state is ``removed``)."""

    backends: tuple[TargetBackend, ...]
    swept_s: float | None
    """Seconds since the latest sweep, or null before the first."""


class Done(Model):
    """A command's effect in words."""

    message: str


class Problem(Model):
    """An error: what is wrong, and what to do."""

    message: str
    hint: str
