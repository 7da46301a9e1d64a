"""What an operator says of backends against the file and the probes: drained, halted, enabled, or of another weight.

A command may be about several backends. It is one change all the same: saved once, carried out once, or not at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from lbctl.core.failover import has_one
from lbctl.core.model import Backend, Pool, Storage
from lbctl.core.shares import own_weights
from lbctl.core.standing import Condition, Override, Standing
from lbctl.core.takers import takers
from lbctl.core.targets import Target, backends_of
from lbctl.daemon import verbs, words
from lbctl.daemon.assigning import Assigner
from lbctl.daemon.reconcile import Reconciler
from lbctl.daemon.state.overrides import Overrides, OverrideStore, with_override, with_slow_start, with_weights
from lbctl.daemon.verbs import PoolEffect
from lbctl.errors import ConflictError

Revise = Callable[[Overrides, tuple[Backend, ...]], Overrides]


@dataclass(frozen=True, slots=True)
class _Look:
    """What all backends are, and who is active, at one moment."""

    standings: Mapping[str, Standing]
    actives: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """``pools`` before and after; ``is_new`` unless all was so already, ``is_done`` unless the kernel refused."""

    backends: tuple[Backend, ...]
    pools: tuple[PoolEffect, ...]
    is_new: bool
    is_done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Overriding:
    """``changing`` is held while facts change; ``apply`` carries out what follows, and tells whether the kernel took it."""

    reconciler: Reconciler
    assigner: Assigner
    store: OverrideStore
    changing: asyncio.Lock
    apply: Callable[[], Awaitable[bool]]

    async def drain(self, target: Target, *, spare_last: bool = False) -> str:
        """No new connections; live ones go on. With ``spare_last``, `ConflictError` if nobody of a pool would take any more."""
        outcome = await self._override(target, Override.DRAINED, spare_last=spare_last)
        return self._told(target, outcome, *_words("drained")) or verbs.drained(target, outcome.backends, outcome.pools)

    async def halt(self, target: Target) -> str:
        """No new connections, and an end to those there are."""
        outcome = await self._override(target, Override.HALTED)
        return self._told(target, outcome, *_words("halted")) or verbs.halted(target, outcome.backends, outcome.pools)

    async def enable(self, target: Target, *, slow_start_s: float | None = None) -> str:
        """End a drain or a halt, or only a slow start; ``slow_start_s``: the share grows for so long."""

        def revise(said: Overrides, backends: tuple[Backend, ...]) -> Overrides:
            after = with_override(said, *(backend.label for backend in backends), to=None)
            slow = [backend.label for backend in backends if not self._is_of_one(backend)]
            return with_slow_start(after, *slow, span_s=slow_start_s) if slow_start_s else after

        outcome = await self._change(target, revise)
        return self._told(target, outcome, *_words("enabled")) or verbs.enabled(
            target, outcome.backends, outcome.pools, slow_start_s=slow_start_s
        )

    async def weigh(self, target: Target, weight: int | None) -> str:
        """Another weight than the declared one, or that one again. Nothing else of an operator's word is changed."""

        def revise(said: Overrides, backends: tuple[Backend, ...]) -> Overrides:
            return with_weights(said, {backend.label: backend.weight for backend in backends}, weight=weight)

        outcome = await self._change(target, revise)
        words = f"has {verbs.weight_words(weight)} already", f"will have {verbs.weight_words(weight)}"
        return self._told(target, outcome, *words) or verbs.weighed(
            target, outcome.backends, outcome.pools, weight=weight
        )

    async def _override(self, target: Target, wanted: Override, *, spare_last: bool = False) -> _Outcome:
        def revise(said: Overrides, backends: tuple[Backend, ...]) -> Overrides:
            if spare_last:
                self._require_others(target, backends)
            return with_override(said, *(backend.label for backend in backends), to=wanted)

        return await self._change(target, revise)

    async def _change(self, target: Target, revise: Revise) -> _Outcome:
        """On disk first, then in the kernel, then said. What was said before may not be in the kernel yet: it is tried anew."""
        async with self.changing:
            declaration, labels = self.reconciler.declaration, self.reconciler.labels.values()
            words.require_target(target, declaration, known=labels)
            backends = backends_of(target, declaration)
            said, before = self.reconciler.overrides, self._look()
            after = revise(said, backends)
            if after == said:
                return _Outcome(backends, (), is_new=False, is_done=await self.apply())
            await asyncio.to_thread(self.store.save, after)
            self.reconciler.overrides = after
            self.reconciler.ramps = after.ramps(time.monotonic())
            is_done = await self.apply()
            return _Outcome(backends, tuple(self._effects(backends, before)), is_new=True, is_done=is_done)

    def _told(self, target: Target, outcome: _Outcome, already: str, later: str) -> str:
        """What there is to say if there was nothing to do, or if it is not all done."""
        who = verbs.subject(target, outcome.backends)
        if not outcome.is_done:
            return f"{who} {later}: it is saved, but the kernel refused for now; lbctl goes on trying"
        return "" if outcome.is_new else f"{who} {already}"

    def _require_others(self, target: Target, backends: tuple[Backend, ...]) -> None:
        """Who would take over in a pool with failover counts, and a fallback does not: it is for need."""
        standings = self.reconciler.standings()
        going = {backend.label for backend in backends}
        for pool in dict.fromkeys(backend.pool for backend in backends):
            able = {
                backend.label
                for backend in self.reconciler.declaration.pool(pool).backends
                if standings[backend.label].takes_new or standings[backend.label].condition is Condition.STANDBY
            }
            if able and able <= going:
                raise ConflictError(
                    f"nobody else in pool {pool} takes new connections, so {target} was not drained",
                    hint="bring another one up first (`lbctl status` says why each is as it is), or insist with --force",
                )

    def _is_of_one(self, backend: Backend) -> bool:
        return has_one(self.reconciler.declaration.pool(backend.pool))

    def _look(self) -> _Look:
        return _Look(self.reconciler.standings(), self.reconciler.actives)

    def _effects(self, backends: tuple[Backend, ...], before: _Look) -> Iterator[PoolEffect]:
        """In each pool that these are of."""
        after = self._look()
        for pool in dict.fromkeys(backend.pool for backend in backends):
            yield self._effect(pool, frozenset(each.name for each in backends if each.pool == pool), before, after)

    def _effect(self, name: str, ours: frozenset[str], before: _Look, after: _Look) -> PoolEffect:
        declaration = self.reconciler.declaration
        pool = declaration.pool(name)
        return PoolEffect(
            pool=name,
            names=ours,
            was_active=before.actives.get(name),
            active=after.actives.get(name) if has_one(pool) else None,
            is_whole=len(ours) == len(pool.backends),
            has_takers=bool(takers(declaration, pool, after.standings)),
            sources=sum(backend in ours for backend in self.assigner.books.get(name, {}).values()),
            is_private=pool.storage is Storage.PRIVATE,
            share_before=_share(ours, pool, before.standings),
            share=_share(ours, pool, after.standings),
        )


def _words(done: str) -> tuple[str, str]:
    return f"was {done} already", f"will be {done}"


def _share(names: frozenset[str], pool: Pool, standings: Mapping[str, Standing]) -> float:
    """Of the pool's new connections, by the weights of the moment."""
    weights = own_weights(pool, standings)
    total = sum(weights.values())
    return sum(weights[f"{pool.name}/{name}"] for name in names) / total if total else 0.0
