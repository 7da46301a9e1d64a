"""Which new connections go to another backend than before, pool by pool and class by class. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from lbctl.core.effects.effect import Effect, EffectKind, Move
from lbctl.core.effects.moves import Moved, moved
from lbctl.core.effects.outlook import Outlook
from lbctl.core.effects.wording import CRUMB, counted, listed, percent
from lbctl.core.ids import identity
from lbctl.core.model import Declaration, OnEmpty, Pool, Storage
from lbctl.core.shares import Share, shares_of
from lbctl.core.tables import NOBODY, Slots

_TOLD = 4
_UNTOUCHED = "; no live session is touched"
_STAY = "; live sessions stay where they are"


def moves(outlook: Outlook, *, cut: Collection[str], touched: Collection[str]) -> Iterator[Effect]:
    """Of every way of sharing that changes and that a service leads to. Of the pools in ``cut`` live sessions are cut because
    of backends, of those in ``touched`` something else touches some."""
    used = used_pools(outlook.after)
    for share, was, will_be in _compared(outlook):
        if share.pool.name in used and not np.array_equal(was, will_be):
            name = share.pool.name
            live = "" if name in cut else _STAY if name in touched else _UNTOUCHED
            yield _effect(share, moved(was, will_be), outlook, live=live)


def used_pools(declaration: Declaration) -> frozenset[str]:
    """Those that a service leads to, by itself or as a fallback."""
    own = {service.pool for service in declaration.services}
    return frozenset(own | {pool.fallback for pool in declaration.pools if pool.fallback and pool.name in own})


def _compared(outlook: Outlook) -> Iterator[tuple[Share, Slots, Slots]]:
    """Each with the slots that its connections go by now, and will. A class that a pool did not share in its own way, or does
    not any more, goes by the pool's."""
    will_be = {share.name: share for share in shares_of(outlook.after)}
    were = {share.name: share for share in shares_of(outlook.before) if share.pool.name in will_be}
    for name, share in {**were, **will_be}.items():
        before = outlook.pools_before.get(identity(name)) or outlook.pools_before.get(identity(share.pool.name))
        after = outlook.pools_after.get(identity(name)) or outlook.pools_after.get(identity(share.pool.name))
        if before and after:
            yield will_be.get(name, share), outlook.was.slots[before], outlook.will_be.slots[after]


def _effect(share: Share, found: Moved, outlook: Outlook, *, live: str) -> Effect:
    pool = share.pool
    told = tuple(
        Move(giver=outlook.name(giver, pool=pool.name), taker=outlook.name(taker, pool=pool.name), part=part)
        for (giver, taker), part in found.items()
    )
    newcomers = {outlook.name(taker, pool=pool.name): None for _, taker in found if outlook.is_new(taker)}
    subject = f"{pool.name}, class {share.traffic_class.name}" if share.traffic_class else pool.name
    once = f" (once {'it is' if len(newcomers) == 1 else 'they are'} up)" if newcomers else ""
    return Effect(
        text=f"{subject}: {_sentence(pool, told, is_nobody=_nobody(found))}{once}{live}",
        kind=EffectKind.NEW_CONNECTIONS,
        pool=pool.name,
        traffic_class=share.traffic_class.name if share.traffic_class else None,
        moves=told,
    )


def _nobody(found: Moved) -> tuple[bool, bool]:
    """Whether nobody took new connections, and whether nobody does."""
    return all(giver == NOBODY for giver, _ in found), all(taker == NOBODY for _, taker in found)


def _sentence(pool: Pool, told: Sequence[Move], *, is_nobody: tuple[bool, bool]) -> str:
    """Whoever gives all of it, or takes it, is named once."""
    who = "sources without an archive" if pool.storage is Storage.PRIVATE else "new connections"
    givers, takers = {move.giver for move in told}, {move.taker for move in told}
    if is_nobody[0]:
        return f"{who}, which nobody took, are taken: {_each([(f'to {move.taker}', move.part) for move in told])}"
    if is_nobody[1]:
        fate = "are refused" if pool.on_empty is OnEmpty.RESET else "are dropped"
        return f"{who} {fate}, for nobody takes them any more"
    whole = sum(move.part for move in told)
    moving = f"all {who} move" if whole >= 0.9995 else f"{percent(whole)} of {who} move"
    if len(told) == 1:
        return f"{moving} from {told[0].giver} to {told[0].taker}"
    if len(givers) == 1:
        return f"{moving} from {told[0].giver}: {_each([(f'to {move.taker}', move.part) for move in told])}"
    if len(takers) == 1:
        return f"{moving} to {told[0].taker}: {_each([(f'from {move.giver}', move.part) for move in told])}"
    if len(told) <= _TOLD:
        return f"{moving}: {_each([(f'from {move.giver} to {move.taker}', move.part) for move in told])}"
    return f"{moving}: {_each(_sums('from', told))}; {_each(_sums('to', told))}"


def _sums(way: str, told: Sequence[Move]) -> list[tuple[str, float]]:
    """How much each gives in all, or takes."""
    sums: dict[str | None, float] = defaultdict(float)
    for move in told:
        sums[move.giver if way == "from" else move.taker] += move.part
    return [(f"{way} {name}", part) for name, part in sorted(sums.items(), key=lambda each: -each[1])]


def _each(parts: Sequence[tuple[str, float]]) -> str:
    """The largest ones, and what the others are together; crumbs are always others."""
    shown = [each for each in parts if each[1] >= CRUMB][: _TOLD + 1 if len(parts) == _TOLD + 1 else _TOLD]
    rest = [part for _, part in parts[len(shown) :]]
    way = parts[0][0].partition(" ")[0]
    others = f"{percent(sum(rest))} {way} {counted(len(rest), 'other' if shown else 'backend')}"
    return listed([*(f"{percent(part)} {words}" for words, part in shown), *([others] if rest else [])])
