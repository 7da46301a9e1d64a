"""What an operator's commands are answered with."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv6Address

from lbctl.core.failover import has_one
from lbctl.core.model import Address, Failback, Pool
from lbctl.core.standing import Standing
from lbctl.errors import UsageError


def require(label: str, *, declared: Sequence[str], known: Collection[str]) -> None:
    """`UsageError` naming the nearest ones if no backend of that label is declared; ``known`` were so once."""
    if label in declared:
        return
    if label in known:
        raise UsageError(f"{label} was removed from the file", hint="it takes no new connections any more")
    close = difflib.get_close_matches(label, declared, n=3, cutoff=0.8)
    hint = f"did you mean {' or '.join(close)}?" if close else "the backends are: " + ", ".join(declared)
    raise UsageError(f"there is no backend {label}", hint=hint)


def require_activatable(pool: Pool, name: str, stands: Standing) -> None:
    """`UsageError` if this backend cannot be made the active one of its pool."""
    if not has_one(pool):
        raise UsageError(
            f"all backends of pool {pool.name} are active", hint="only in a pool with `policy: failover` one is"
        )
    if not stands.weight:
        raise UsageError(
            f"{pool.name}/{name} takes no connections: it is {stands.condition} ({stands.reason})",
            hint="bring it up first, or choose another",
        )
    if pool.failback is Failback.AUTOMATIC:
        raise UsageError(
            f"pool {pool.name} fails back by itself to the first backend that is up",
            hint="drain the backends before this one, or set `failback: manual`",
        )


def require_private(name: str, pools: Mapping[str, bool]) -> None:
    """`UsageError` if there is no pool of that name with private storage; ``pools`` tells of each whether it has."""
    private = [pool for pool, is_private in pools.items() if is_private]
    hint = f"such a pool: {', '.join(private)}" if private else "the file declares no pool with `storage: private`"
    if name not in pools:
        raise UsageError(f"there is no pool {name}", hint=hint)
    if not pools[name]:
        raise UsageError(f"pool {name} assigns no sources, for its storage is not private", hint=hint)


def require_source(source: Address, pool: Pool) -> None:
    """`UsageError` if a source's connections cannot come to a pool: its VIPs are all of one family, and no link-local ones."""
    if isinstance(source, IPv6Address) and source.scope_id is not None:
        raise UsageError(f"{source} is known on one link only", hint="name the client's global address, without a zone")
    if source.version != pool.version:
        raise UsageError(
            f"{source} cannot be a source of pool {pool.name}, whose services have IPv{pool.version} addresses",
            hint="name the address that the client uses towards this pool's VIPs",
        )


def drained(label: str, *, takers: Collection[str], before: str | None, active: str | None, sources: int) -> str:
    """A drain took effect; ``before`` and ``active`` if only one backend of the pool may receive: who that was, and is.
    ``sources`` are assigned to the backend."""
    name = label.partition("/")[2]
    if active not in (None, name):
        was_active = before == name
        then = (
            f"{active} took over, connections to {name} are reset"
            if was_active
            else f"{active} is the active one of its pool"
        )
        return f"{label} drained: {then}"
    return f"{label} drained: no new connections, live ones go on{_warning(takers)}{_refused(sources)}"


def halted(label: str, *, takers: Collection[str], sources: int) -> str:
    """A halt took effect; ``sources`` are assigned to the backend."""
    return f"{label} halted: no new connections, live ones are reset{_warning(takers)}{_refused(sources)}"


def enabled(label: str, *, active: str | None) -> str:
    """A drain or a halt was ended; ``active`` if only one backend of the pool is."""
    stands_by = active not in (None, label.partition("/")[2])
    return (
        f"{label} enabled; {active} stays the active one (lbctl activate {label})" if stands_by else f"{label} enabled"
    )


def activated(label: str, former: str | None) -> str:
    """A backend is the active one."""
    ended = f"; connections to {former} are reset" if former else ""
    return f"{label} is active now{ended}"


def _refused(sources: int) -> str:
    return f"; assigned sources are turned away meanwhile: {sources}" if sources else ""


def _warning(takers: Collection[str]) -> str:
    return "" if takers else "; warning: nobody in its pool takes new connections now"
