"""Pools of which one backend is active at a time: which one, and what that makes of the others. Pure.

Where messages are ordered (HL7 over MLLP), two active receivers would split the feed. So a backend that is not the active one
is kept halted in the data plane: if it was active before, what its clients send on old connections is answered by a reset.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from lbctl.core.health import Health
from lbctl.core.model import Backend, Declaration, Failback, Policy, Pool
from lbctl.core.standing import Condition, Standing
from lbctl.core.tables import BackendState


def active_of(
    pool: Pool, standings: Mapping[str, Standing], *, before: str | None, unheard: Collection[str] = ()
) -> str | None:
    """The name of the backend that is to be active, given the one that was (of this pool, or ``None``).

    As long as nobody can take connections the former one stays: there is nothing to switch to, and its own connections may
    be alive. So it does while nobody at all is heard where it is (``unheard``, labels): it may be the director that is cut
    off, and whoever is to take over is no better. And so it does until its first probe has ended, as after a reboot."""
    known = [backend.name for backend in pool.backends]
    if before in known and _is_in_question(f"{pool.name}/{before}", standings, unheard):
        return before
    able = [backend.name for backend in pool.backends if standings[backend.label].weight]
    stays = before in able and (pool.failback is Failback.MANUAL or before == able[0])
    if stays or not able:
        return before if before in known else None
    return able[0]


def _is_in_question(label: str, standings: Mapping[str, Standing], unheard: Collection[str]) -> bool:
    return label in unheard or standings[label].condition is Condition.UNKNOWN


def actives_of(
    declaration: Declaration,
    standings: Mapping[str, Standing],
    *,
    before: Mapping[str, str],
    unheard: Collection[str] = (),
) -> Mapping[str, str]:
    """The active backend of each pool with failover that has one."""
    found = {
        pool.name: active_of(pool, standings, before=before.get(pool.name), unheard=unheard)
        for pool in declaration.pools
        if has_one(pool)
    }
    return {pool: name for pool, name in found.items() if name is not None}


def unproved(
    declaration: Declaration,
    standings: Mapping[str, Standing],
    *,
    actives: Mapping[str, str],
    health_of: Callable[[str], Health],
) -> frozenset[str]:
    """The active backends, by label, whose probes were not answered while nobody else's on their interface were: it may be the
    director that hears nobody (a firewall's rule, or ARP switched off), and their connections may be alive. Probes of others
    end before or after theirs: to know, somebody else must have been heard since the first that failed and before the last."""
    active = (backend for backend in receivers(declaration) if actives.get(backend.pool) == backend.name)
    down = (backend for backend in active if standings[backend.label].condition is Condition.DOWN)
    silent = [backend for backend in down if health_of(backend.label).is_silently_down]
    return frozenset(each.label for each in silent if not _is_proved(each, declaration, health_of))


def _is_proved(silent: Backend, declaration: Declaration, health_of: Callable[[str], Health]) -> bool:
    """Whether somebody else on its interface was alive meanwhile."""
    others = (backend for backend in declaration.backends() if backend.interface == silent.interface)
    return any(health_of(other.label).was_alive_while(health_of(silent.label)) for other in others)


def has_one(pool: Pool) -> bool:
    """Whether only one backend of the pool is active at a time."""
    return pool.policy is Policy.FAILOVER


def receivers(declaration: Declaration) -> tuple[Backend, ...]:
    """The backends of which no two may receive at once."""
    return tuple(backend for pool in declaration.pools if has_one(pool) for backend in pool.backends)


def still_declared(
    actives: Mapping[str, str],
    before: Declaration,
    after: Declaration,
    *,
    once: Mapping[str, str] = MappingProxyType({}),
) -> Mapping[str, str]:
    """The active backends that another file has, too. One under another address is another server. Pools without one have
    the one again that they had ``once``."""
    there = {backend.key for pool in after.pools if pool.name in actives for backend in pool.backends}
    gone = {
        backend.label
        for pool in before.pools
        if pool.name in actives
        for backend in pool.backends
        if backend.key not in there
    }
    receiving = {backend.label for backend in receivers(after)}
    again = {pool: name for pool, name in once.items() if f"{pool}/{name}" in receiving}
    return again | {pool: name for pool, name in actives.items() if f"{pool}/{name}" not in gone}


def turned_receivers(before: Declaration, after: Declaration) -> tuple[Backend, ...]:
    """Those of a pool whose backends all received before, and of which only one may now."""
    turned = {pool.name for pool in after.pools if has_one(pool)}
    return tuple(backend for backend in before.backends() if backend.pool in turned)


def standings_with(
    declaration: Declaration, standings: Mapping[str, Standing], actives: Mapping[str, str]
) -> Mapping[str, Standing]:
    """What becomes of the standings when only these backends are active."""
    idle = {
        backend.label: actives.get(pool.name)
        for pool in declaration.pools
        if has_one(pool)
        for backend in pool.backends
        if backend.name != actives.get(pool.name)
    }
    return {**standings, **{label: _standby(standings[label], active) for label, active in idle.items()}}


def _standby(stands: Standing, active: str | None) -> Standing:
    """One that is down, drained or the like is told as such: it would not take over."""
    if not stands.weight:
        return replace(stands, state=BackendState.HALTED)
    return replace(
        stands,
        condition=Condition.STANDBY,
        reason=f"takes over if {active} fails" if active else stands.reason,
        state=BackendState.HALTED,
        weight=0,
    )
