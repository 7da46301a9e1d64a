"""What a change of the declaration does to those who are served, in words and figures. Pure.

It is told from the tables: those that the declaration in force leads to, and those that the one proposed leads to under the
same circumstances. What touches live sessions comes first, then what concerns new connections.
"""

from __future__ import annotations

from collections.abc import Iterable

from lbctl.core.effects.backends import backends
from lbctl.core.effects.director import director, interfaces_given_up
from lbctl.core.effects.effect import Effect, EffectKind, Move
from lbctl.core.effects.outlook import Live, Outlook
from lbctl.core.effects.services import services
from lbctl.core.effects.shifts import moves

__all__ = ["Effect", "EffectKind", "Live", "Move", "Outlook", "effects"]

_ORDER = list(EffectKind)


def effects(outlook: Outlook) -> tuple[Effect, ...]:
    """All of them."""
    of_backends = list(backends(outlook))
    others = [*services(outlook), *interfaces_given_up(outlook), *director(outlook)]
    moving = moves(outlook, cut=_touched(of_backends), touched=_touched(others))
    return tuple(sorted([*moving, *of_backends, *others], key=lambda effect: _ORDER.index(effect.kind)))


def _touched(found: Iterable[Effect]) -> frozenset[str]:
    """Pools whose live sessions are touched."""
    return frozenset(effect.pool for effect in found if effect.kind is EffectKind.LIVE_SESSIONS if effect.pool)
