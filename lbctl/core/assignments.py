"""Which source of a pool with private storage keeps to which backend, and when it no longer does. Pure.

The program makes an assignment when a source's first connection is made, and the daemon keeps it on disk. Weights never move
one. What becomes of it when its backend is gone is the pool's ``reassign``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lbctl.core.model import Address, Declaration, Pool, Reassign, Storage
from lbctl.core.standing import Condition, Standing
from lbctl.core.tables import NOBODY_ELSE

Book = Mapping[Address, str]
"""The name of each source's backend, in one pool."""

_GONE = (Condition.DOWN, Condition.UNRESOLVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """``book`` is what holds; ``writes`` are the references that the program must be given for it to hold, and ``None`` for
    sources that it must forget."""

    book: Book
    writes: Mapping[Address, int | None]


def private_pools(declaration: Declaration) -> tuple[Pool, ...]:
    """The pools that have assignments."""
    return tuple(pool for pool in declaration.pools if pool.storage is Storage.PRIVATE)


def settle(
    pool: Pool,
    *,
    book: Book,
    found: Mapping[Address, int],
    refs: Mapping[str, int],
    standings: Mapping[str, Standing],
    names: Mapping[int, str] = MappingProxyType({}),
) -> Settled:
    """Bring what was written down and what the program ``found`` (references by source) together.

    ``refs`` are the references of the pool's backends by name, ``names`` what other references mean: backends that the file
    has no more, or under another address. (The program goes on assigning while no daemon runs.) What the program wrote of a
    source that has no entry in the book is news; where both have one, the book is right, for only an operator or a restart
    makes them differ."""
    names = {**names, **{ref: name for name, ref in refs.items()}}
    news = {source: names[ref] for source, ref in found.items() if source not in book and ref in names}
    kept = {source: name for source, name in {**news, **book}.items() if not _is_free(pool, name, refs, standings)}
    wanted = {source: refs.get(name, NOBODY_ELSE) for source, name in kept.items()}
    changed = {source: ref for source, ref in wanted.items() if found.get(source) != ref}
    forgotten = dict.fromkeys(source for source in found if source not in wanted)
    return Settled(book=kept, writes={**changed, **forgotten})


def _is_free(pool: Pool, name: str, refs: Mapping[str, int], standings: Mapping[str, Standing]) -> bool:
    """Whether the sources of a backend may be given another. While nobody else could take them, letting go of them is in
    vain; and where all are silent, the fault may be at the director's own cable."""
    is_declared = any(backend.name == name for backend in pool.backends)
    if pool.reassign is Reassign.NEVER:
        return False
    if not is_declared or name not in refs:
        return not is_declared
    is_gone = standings[f"{pool.name}/{name}"].condition in _GONE
    return pool.reassign is Reassign.DOWN and is_gone and any(standings[b.label].weight for b in pool.backends)
