"""What an operator's word on backends is answered with: what becomes of connections, and what to look out for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lbctl.core.model import Backend
from lbctl.core.targets import OneBackend, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolEffect:
    """What a change did in one pool, of whose backends it concerned ``names``.

    ``was_active`` and ``active`` if only one backend of the pool may receive: who that was, and is. ``is_whole``: it concerned
    all of them. ``has_takers``: whether anybody takes its new connections. ``sources`` are assigned to these backends.
    ``share`` is these backends' part of its new connections, 0 to 1."""

    pool: str
    names: frozenset[str]
    was_active: str | None
    active: str | None
    is_whole: bool
    has_takers: bool
    sources: int
    is_private: bool
    share_before: float
    share: float


def subject(target: Target, backends: Sequence[Backend]) -> str:
    """Who it is about, for a person: ``pool archives (3 backends)``, ``host 192.0.2.11 (archives/pacs1, web/front1)``."""
    if isinstance(target, OneBackend):
        return str(target)
    if len(backends) > 4:
        return f"{target} ({len(backends)} backends)"
    return f"{target} ({', '.join(backend.label for backend in backends)})"


def drained(target: Target, backends: Sequence[Backend], pools: Sequence[PoolEffect]) -> str:
    """A drain took effect."""
    if isinstance(target, OneBackend):
        return _one_drained(target, pools[0])
    switches = [f"in pool {effect.pool} {text}" for effect in pools for text in _switched(effect, has_many=True)]
    return _sentence(
        f"{subject(target, backends)} drained: no new connections, live ones go on", *switches, *_remarks(pools)
    )


def _one_drained(target: OneBackend, effect: PoolEffect) -> str:
    for text in _switched(effect):
        return f"{target} drained: {text}"
    return _sentence(f"{target} drained: no new connections, live ones go on", *_remarks((effect,)))


def _switched(effect: PoolEffect, *, has_many: bool = False) -> Iterator[str]:
    """Where only one may receive, and that is none of these."""
    if effect.active is None or effect.active in effect.names:
        return
    if effect.was_active in effect.names:
        yield f"{effect.active} took over, connections to {effect.was_active} are reset"
    elif not has_many:
        yield f"{effect.active} is the active one of its pool"


def halted(target: Target, backends: Sequence[Backend], pools: Sequence[PoolEffect]) -> str:
    """A halt took effect."""
    who = subject(target, backends)
    return _sentence(f"{who} halted: no new connections, live ones are reset", *_remarks(pools))


def enabled(
    target: Target, backends: Sequence[Backend], pools: Sequence[PoolEffect], *, slow_start_s: float | None
) -> str:
    """A drain or a halt was ended."""
    told = [f"{subject(target, backends)} enabled"]
    if slow_start_s:
        told += _slowly(pools, slow_start_s)
    for effect in pools:
        if effect.active is not None and effect.active not in effect.names:
            label = f"{effect.pool}/{min(effect.names)}"
            told.append(f"{effect.active} stays the active one (lbctl activate {label})")
    return _sentence(*told)


def _slowly(pools: Sequence[PoolEffect], span_s: float) -> Iterator[str]:
    if any(effect.active is None for effect in pools):
        yield f"its share grows for {span_s:g} s from when it takes connections"
    for effect in pools:
        if effect.active is not None:
            yield f"no slow start in pool {effect.pool}, where one backend has all connections"


def weighed(target: Target, backends: Sequence[Backend], pools: Sequence[PoolEffect], *, weight: int | None) -> str:
    """Another weight took effect, or the declared ones did again (``weight`` is ``None``)."""
    declared = ", ".join(map(str, sorted({backend.weight for backend in backends})))
    return _sentence(
        f"{subject(target, backends)} has {weight_words(weight)}"
        + (f" ({declared} in the file)" if weight is not None else ""),
        *(text for effect in pools for text in _share_words(effect)),
        "live connections stay where they are",
        *_remarks(pools, has_sources=False),
    )


def weight_words(weight: int | None) -> str:
    """``None``: as declared."""
    return "the weight of the file" if weight is None else f"weight {weight}"


def _share_words(effect: PoolEffect) -> Iterator[str]:
    """Where weights matter, and where not all backends of a pool were given one: then their share is all of it."""
    if effect.active is not None:
        yield f"in pool {effect.pool} one backend has all connections, and only weight 0 matters"
    elif not effect.is_whole:
        whose = "sources without a backend" if effect.is_private else "new connections"
        yield f"{effect.share:.1%} of the {whose} of pool {effect.pool}, {effect.share_before:.1%} before"


def _remarks(pools: Sequence[PoolEffect], *, has_sources: bool = True) -> Iterator[str]:
    """What to look out for."""
    for effect in pools:
        if not effect.has_takers:
            whose = "its pool" if len(pools) == 1 else f"pool {effect.pool}"
            yield f"warning: nobody in {whose} takes new connections now"
    sources = sum(effect.sources for effect in pools)
    if sources and has_sources:
        yield f"assigned sources are turned away meanwhile: {sources}"


def _sentence(*parts: str) -> str:
    return "; ".join(parts)
