"""What an operator may ask for, and what that is answered with."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from lbctl.daemon.models.base import MAX_NAME, Address, Model


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

    backend: str = Field(min_length=1, max_length=MAX_NAME)
    """The backend's name within the pool."""


class Done(Model):
    """A command's effect in words."""

    message: str


class Problem(Model):
    """An error: what is wrong, and what to do."""

    message: str
    hint: str
