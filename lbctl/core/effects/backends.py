"""What becomes of backends, and of the connections that they have. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from lbctl.core.effects.effect import Effect, EffectKind
from lbctl.core.effects.outlook import Outlook
from lbctl.core.effects.wording import are_reset, counted, go_on, named
from lbctl.core.failover import has_one
from lbctl.core.model import Backend, Pool, Reassign, Storage
from lbctl.core.tables import BackendRow, BackendState

ByPool = Mapping[str, list[Backend]]


def backends(outlook: Outlook) -> Iterator[Effect]:
    """Who is cut, who takes no more, who comes, and who has too many."""
    removed = outlook.removed.items()
    changed = list(_changed(outlook))
    yield from _cut(outlook, (backend for number, backend in removed if _is_halted(outlook, number)), "removed")
    yield from _cut(outlook, (backend for backend, state, _ in changed if state is BackendState.HALTED), "passive")
    yield from _cut(outlook, (backend for backend, state, _ in changed if state is BackendState.DEAD), "dead")
    yield from _leaving(outlook, (backend for number, backend in removed if not _is_halted(outlook, number)))
    yield from _weightless(outlook, (backend for backend, state, was in changed if _stops(state, was)))
    yield from _orphaned_sources(outlook)
    yield from _coming(outlook)
    yield from _overfull(outlook)


def _changed(outlook: Outlook) -> Iterator[tuple[Backend, BackendState, BackendState]]:
    """Backends that stay: what the tables will have of them, and what they have."""
    for number, backend in outlook.servers_after.items():
        was, will_be = outlook.rows_before.get(number), outlook.rows_after.get(number)
        if was and will_be and was.state is not will_be.state and number in outlook.servers_before:
            yield backend, will_be.state, was.state


def _stops(state: BackendState, was: BackendState) -> bool:
    return state is BackendState.DRAINING and was is BackendState.UP


def _is_halted(outlook: Outlook, number: int) -> bool:
    """Whether a removed server is cut off at once: where two must not receive."""
    return _state(outlook.rows_after, number) is BackendState.HALTED and (
        _state(outlook.rows_before, number) is not BackendState.HALTED
    )


def _state(rows: Mapping[int, BackendRow], number: int) -> BackendState:
    return rows[number].state if number in rows else BackendState.ABSENT


def _by_pool(found: Iterable[Backend]) -> ByPool:
    pools: dict[str, list[Backend]] = defaultdict(list)
    for backend in found:
        pools[backend.pool].append(backend)
    return pools


def _connections(outlook: Outlook, found: Iterable[Backend]) -> int | None:
    """Of these together; they are counted by what they are called now."""
    counts = [outlook.live.of_backend(backend.label) for backend in found]
    return None if None in counts else sum(count or 0 for count in counts)


def _called(outlook: Outlook, found: list[Backend]) -> str:
    """A name that means another server before than after comes with its address."""
    return named([f"{b.name} ({b.address})" if outlook.is_two(b.label) else b.name for b in found])


_WHY_CUT: Mapping[str, Callable[[int], str]] = {
    "removed": lambda count: f"{_is_are(count)} removed, and no two may receive at a time",
    "passive": lambda count: f"{'does' if count == 1 else 'do'} not receive any more, for only the active one may",
    "dead": lambda count: f"{_is_are(count)} down, and by `reset_on_down` the clients of such a one are told",
}


def _cut(outlook: Outlook, found: Iterable[Backend], why: str) -> Iterator[Effect]:
    for pool, cut in _by_pool(found).items():
        count = _connections(outlook, cut)
        text = f"{pool}: {_called(outlook, cut)} {_WHY_CUT[why](len(cut))}: {are_reset(count, owners=len(cut))}"
        yield Effect(text=text, kind=EffectKind.LIVE_SESSIONS, pool=pool, sessions=count)


def _leaving(outlook: Outlook, found: Iterable[Backend]) -> Iterator[Effect]:
    for pool, leaving in _by_pool(found).items():
        rest = go_on(_connections(outlook, leaving), owners=len(leaving))
        text = f"{pool}: {_called(outlook, leaving)} {_is_are(len(leaving))} removed: no new connections, {rest}"
        yield Effect(text=text, kind=EffectKind.NEW_CONNECTIONS, pool=pool)


def _weightless(outlook: Outlook, found: Iterable[Backend]) -> Iterator[Effect]:
    for pool, idle in _by_pool(found).items():
        rest = go_on(_connections(outlook, idle), owners=len(idle))
        takes = "takes" if len(idle) == 1 else "take"
        text = f"{pool}: {_called(outlook, idle)} {takes} no new connections any more; {rest}"
        yield Effect(text=text, kind=EffectKind.NEW_CONNECTIONS, pool=pool)


def _orphaned_sources(outlook: Outlook) -> Iterator[Effect]:
    """Private storage: what a source stored is on the archive that it was assigned."""
    for name, leaving in _by_pool(outlook.removed.values()).items():
        pool = next((pool for pool in outlook.after.pools if pool.name == name), None)
        gone = [backend for backend in leaving if not outlook.is_two(backend.label)]
        count = sum((outlook.live.sources_of(backend.label) or 0 for backend in gone), 0)
        if pool is not None and pool.storage is Storage.PRIVATE and count:
            text = f"{name}: {counted(count, 'source')} assigned to {_called(outlook, gone)}: {_fate(pool)}"
            yield Effect(text=text, kind=EffectKind.NEW_CONNECTIONS, pool=name)


def _fate(pool: Pool) -> str:
    if pool.reassign is Reassign.NEVER:
        return "turned away until an operator assigns another archive (lbctl assign set)"
    return "given another archive at the next connection, which does not have the studies stored before"


def _coming(outlook: Outlook) -> Iterator[Effect]:
    """Into pools that there were: of a new one everybody is new."""
    pools = {pool.name for pool in outlook.before.pools}
    added = [(backend, _is_held(outlook, n)) for n, backend in outlook.added.items() if backend.pool in pools]
    for is_held in (False, True):
        for name, coming in _by_pool(backend for backend, held in added if held is is_held).items():
            fate = _HELD if is_held else _first_steps(coming)
            text = f"{name}: {_called(outlook, coming)} {_is_are(len(coming))} new: {fate}"
            yield Effect(text=text, kind=EffectKind.DIRECTOR, pool=name)


_HELD = "probed, but without new connections, for what an operator said of that name before still holds (lbctl enable, weight)"


def _is_held(outlook: Outlook, number: int) -> bool:
    """Whether a newcomer, though it is taken to be up, is kept from new connections, and not by the file."""
    backend, state = outlook.added[number], _state(outlook.rows_after, number)
    is_kept = state in (BackendState.DRAINING, BackendState.HALTED)
    return is_kept and backend.weight > 0 and not has_one(outlook.after.pool(backend.pool))


def _first_steps(coming: list[Backend]) -> str:
    if not any(backend.weight for backend in coming):
        return f"probed, but without new connections, for {'its' if len(coming) == 1 else 'their'} weight is 0"
    return f"probed first, and {'takes' if len(coming) == 1 else 'each takes'} part once a check has succeeded"


def _overfull(outlook: Outlook) -> Iterator[Effect]:
    """A limit cuts nobody: it only keeps new ones away."""
    for label, backend in outlook.backends_after.items():
        count, was = outlook.live.of_backend(label), outlook.backends_before.get(label)
        if was and count and 0 < backend.connection_limit <= count and was.connection_limit != backend.connection_limit:
            has = f"{backend.name} has {counted(count, 'connection')} and may have {backend.connection_limit:,} at most"
            text = (
                f"{backend.pool}: {has}: no new ones until it has come down to {backend.resume_at:,}; live ones go on"
            )
            yield Effect(text=text, kind=EffectKind.NEW_CONNECTIONS, pool=backend.pool)


def _is_are(count: int) -> str:
    return "is" if count == 1 else "are"
