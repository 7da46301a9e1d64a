"""What an operator's commands are answered with."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv6Address

from lbctl.core.addresses import by_number
from lbctl.core.failover import has_one
from lbctl.core.model import Address, Declaration, Failback, Pool
from lbctl.core.standing import Standing
from lbctl.core.targets import Host, OneBackend, Target, WholePool
from lbctl.errors import UsageError


def require(label: str, *, declared: Sequence[str], known: Collection[str]) -> None:
    """`UsageError` naming the nearest ones if no backend of that label is declared; ``known`` were so once."""
    if label in declared:
        return
    if label in known:
        raise UsageError(f"{label} was removed from the file", hint=_REMOVED)
    close = difflib.get_close_matches(label, declared, n=3, cutoff=0.8)
    hint = f"did you mean {' or '.join(close)}?" if close else f"the backends are: {listed(declared)}"
    raise UsageError(f"there is no backend {label}", hint=hint)


_REMOVED = "it takes no new connections any more; `lbctl status` shows how many it has left"


def require_target(target: Target, declaration: Declaration, *, known: Collection[str]) -> None:
    """`UsageError` naming the nearest ones if nothing of that name is declared."""
    match target:
        case OneBackend():
            require(str(target), declared=[backend.label for backend in declaration.backends()], known=known)
        case WholePool():
            _require_pool(target.pool, declaration)
        case Host():
            _require_host(target.address, [backend.address for backend in declaration.backends()])


def _require_pool(name: str, declaration: Declaration) -> None:
    """What has the name of a backend is taken for one whose pool was left out."""
    declared = [pool.name for pool in declaration.pools]
    if name not in declared:
        backends = [backend.label for backend in declaration.backends() if backend.name == name]
        if backends:
            raise UsageError(f"there is no pool {name}", hint=f"did you mean {' or '.join(backends[:_NEAREST])}?")
        close = difflib.get_close_matches(name, declared, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else f"the pools are: {listed(declared)}"
        raise UsageError(f"there is no pool {name}", hint=hint)


def _require_host(address: Address, declared: Sequence[Address]) -> None:
    if address in declared:
        return
    near = sorted(set(declared), key=lambda other: (other.version != address.version, abs(int(other) - int(address))))
    in_order = sorted(near[:_NEAREST], key=by_number)
    raise UsageError(
        f"no backend has the address {address}", hint=f"the nearest are: {listed(list(map(str, in_order)))}"
    )


_NEAREST = 5
_MANY = 20


def listed(names: Sequence[str]) -> str:
    """Names in a row, not more than one reads."""
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(names[:_MANY]) + more


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


def activated(label: str, former: str | None) -> str:
    """A backend is the active one."""
    ended = f"; connections to {former} are reset" if former else ""
    return f"{label} is active now{ended}"
