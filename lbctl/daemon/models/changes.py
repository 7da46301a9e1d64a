"""What a proposed file would change, and what that means: the answer to ``lbctl plan``."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from lbctl.core.changes import ChangeKind
from lbctl.core.effects.effect import EffectKind
from lbctl.daemon.models.base import Model

MAX_TEXT = 1 << 20
"""Characters of a file, at most; what it takes as UTF-8 is bounded by the same number when it is read."""
MAX_SOURCE = 4096
"""Characters of a path, at most (``PATH_MAX``)."""


class Proposal(Model):
    """A configuration that somebody has in mind."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=MAX_TEXT)
    """The whole file."""
    source: str = Field(min_length=1, max_length=MAX_SOURCE)
    """What messages call it, such as its path."""


class Change(Model):
    """One key of the declaration that differs: presets, defaults and overrides taken together."""

    key: str
    """Where it is, by the names of the file: ``pools.archives.backends.pacs1.weight``. What is added or removed as a whole
    (a pool, a backend) is one change."""
    kind: ChangeKind
    before: str | None = None
    """The value in force, as one would write it; of something removed, a summary. ``null`` if it was not there."""
    after: str | None = None
    """The value proposed; of something added, a summary. ``null`` if it is no more."""


class Move(Model):
    """A part of a pool's new connections that goes to somebody else."""

    giver: str | None
    """A backend's name within its pool, ``pool/name`` if it is of another, or ``null``: nobody took them."""
    taker: str | None
    """The same; ``null``: nobody takes them."""
    percent: float
    """Of the new connections of the pool (or class), by the slots of its hash table."""


class Effect(Model):
    """What a change does, in words and in figures."""

    text: str
    """One sentence."""
    kind: EffectKind
    pool: str | None = None
    """The pool that it is about, if it is about one."""
    traffic_class: str | None = None
    """The class of connections that it is about, if the pool shares that class in its own way."""
    moves: tuple[Move, ...] = ()
    """Who gives how much to whom, the largest parts first, at most a hundred."""
    sessions: int | None = None
    """How many live connections are touched, as of the latest count; ``null`` if that cannot be told."""


class StepPrice(Model):
    """What has to be done, and what it costs."""

    text: str
    """One line."""
    writes: int = 0
    """Rows and slots of the kernel's tables that are written, each atomically."""
    takes_s: float | None = None
    """About how long, if it takes long; what is at work goes on meanwhile."""


class Drift(Model):
    """A declared part of the kernel's tables that is not as lbctl wrote it: somebody else did."""

    text: str
    """What differs, and how."""


class PlanReport(Model):
    """What a proposed file would change, compared with what is in force."""

    base: str
    """SHA-256 of the text in force, in hexadecimal: it says what the plan was compared with."""
    proposed: str
    """SHA-256 of the text proposed."""
    source: str
    """What the proposal is called."""
    generation: int
    """How many complete writes the kernel's tables have had."""
    changes: tuple[Change, ...] = ()
    """Key by key, in the order of the file."""
    effects: tuple[Effect, ...] = ()
    """What touches live sessions first."""
    steps: tuple[StepPrice, ...] = ()
    """In the order in which they are done. New backends are taken to be up, as they are once their probes succeed."""
    drift: tuple[Drift, ...] = ()
    """What is in the kernel's tables is not what lbctl wrote; writing the configuration mends it."""
    warnings: tuple[str, ...] = ()
    """Consequences of the proposed file that its author may not have in mind, as ``lbctl check`` tells them."""
    is_empty: bool
    """There is nothing to do: neither a change of the declaration nor drift. (The text may differ, in its comments.)"""
