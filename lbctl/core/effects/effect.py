"""What a change of the declaration does, as one statement. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EffectKind(StrEnum):
    """Whom an effect concerns."""

    LIVE_SESSIONS = "live sessions"
    """Connections that live are cut, or may end sooner than they would have."""
    NEW_CONNECTIONS = "new connections"
    """Where new connections go, or whether they are taken; live ones are not touched."""
    DIRECTOR = "director"
    """Neither: how the director looks after its servers, and itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A part (0 to 1) of a pool's new connections that goes from one backend to another, by name; ``None`` is nobody."""

    giver: str | None
    taker: str | None
    part: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One sentence, and the figures in it. ``sessions`` are live connections that are touched; ``None``: who knows how many."""

    text: str
    kind: EffectKind
    pool: str | None = None
    traffic_class: str | None = None
    moves: tuple[Move, ...] = ()
    sessions: int | None = 0
