"""An outlook as the API tells it. Apart from the models, for it needs all that effects are computed with."""

from __future__ import annotations

from collections.abc import Iterable

from lbctl.core.changes import changes
from lbctl.core.effects.effects import Effect as CoreEffect
from lbctl.core.effects.effects import Outlook, effects
from lbctl.core.effects.prices import prices
from lbctl.core.features import Features
from lbctl.daemon.models.changes import Change, Drift, Effect, Move, PlanReport, StepPrice

_MOVES = 100
"""The largest ones of an effect; between a hundred backends there may be ten thousand."""
_DIGITS = 4
"""Of a percentage, behind the point: a slot of the largest table is 0.0001 %."""


def nothing_changes(*, base: str, proposed: str, source: str, generation: int, drift: Iterable[str] = ()) -> PlanReport:
    """The report on what declares the same as what is in force."""
    return PlanReport(
        base=base, proposed=proposed, source=source, generation=generation, drift=_drift(drift), is_empty=not drift
    )


def planned(
    outlook: Outlook,
    *,
    base: str,
    proposed: str,
    source: str,
    generation: int,
    features: Features,
    drift: Iterable[str] = (),
    warnings: tuple[str, ...] = (),
) -> PlanReport:
    """The report on another declaration; ``features`` are those of the program at work."""
    found = changes(outlook.before, outlook.after)
    if not found:
        return nothing_changes(base=base, proposed=proposed, source=source, generation=generation, drift=drift)
    return PlanReport(
        base=base,
        proposed=proposed,
        source=source,
        generation=generation,
        changes=tuple(Change(key=each.key, kind=each.kind, before=each.before, after=each.after) for each in found),
        effects=tuple(map(_effect, effects(outlook))),
        steps=tuple(
            StepPrice(text=each.text, writes=each.writes, takes_s=each.takes_s)
            for each in prices(outlook, features=features)
        ),
        drift=_drift(drift),
        warnings=warnings,
        is_empty=False,
    )


def _effect(effect: CoreEffect) -> Effect:
    return Effect(
        text=effect.text,
        kind=effect.kind,
        pool=effect.pool,
        traffic_class=effect.traffic_class,
        moves=tuple(
            Move(giver=move.giver, taker=move.taker, percent=round(100 * move.part, _DIGITS))
            for move in effect.moves[:_MOVES]
        ),
        sessions=effect.sessions,
    )


def _drift(drift: Iterable[str]) -> tuple[Drift, ...]:
    return tuple(Drift(text=text) for text in drift)
