"""Small stable numbers for backends and services, each with a generation, so that a number in a flow cannot be mistaken.

The kernel's tables know an object by ``(id, generation)``. An id is given to one key at a time; when it goes to another
key the generation rises, so a flow that still carries the old pair finds nothing. The kernel's row of an id keeps the
identity of its key (a hash) and the generation, also while it is free: a daemon that restarts goes on from there.

An id has three states: held by a live key; *retired*, its key gone but flows still using it; free. The caller moves it
on: `Ids.without` retires, `Ids.release` frees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, Self

from lbctl.errors import LbctlError

MAX_GENERATION = 0xFFFF
"""Generations are 16 bits wide in the kernel's tables; 0 means that the id was never used."""

FREE = 0
"""The identity in the row of an id that no key holds."""


@lru_cache(maxsize=1 << 16)
def identity(key: str) -> int:
    """64 bits that stand for a stable key, never `FREE`: the first 8 bytes of its BLAKE2b (RFC 7693), little-endian."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, person=b"lbctl ids").digest(), "little") or 1


class Ref(NamedTuple):
    """What flows and slots carry: an id (from 1) and its generation (from 1 to 65,535)."""

    id: int
    generation: int


class Row(NamedTuple):
    """What the kernel keeps for an id: the latest generation, and the holder's identity or `FREE`."""

    generation: int
    identity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """Who holds which id of 1 … ``limit``. A value: every method returns a new one.

    ``rows`` has one row for each id that was ever used; ``retired`` are the ids whose key is gone, but not yet released.
    """

    limit: int
    rows: Mapping[int, Row] = field(default_factory=lambda: MappingProxyType({}))
    retired: frozenset[int] = frozenset()

    @classmethod
    def adopt(cls, existing: Mapping[int, tuple[int, int]], *, limit: int) -> Self:
        """The ids as the kernel holds them: ``{id: (generation, identity)}``, identity `FREE` for a free one.

        Leaving out a row that was used forgets its generation; rows of generation 0 were never used and may be left out.
        Whatever is held counts as live: the caller retires what the declaration no longer has.
        """
        rows = {number: Row._make(row) for number, row in existing.items() if row[0]}
        return cls(limit=limit, rows=MappingProxyType(rows))

    def with_keys(self, keys: Iterable[str]) -> tuple[Self, Mapping[str, Ref]]:
        """Make sure that each key holds an id. A retired key that comes back in time gets its own id back, flows and all.

        Raises `LbctlError` if every id is taken.
        """
        holders = {row.identity: Ref(number, row.generation) for number, row in self.rows.items()}
        free = (number for number in range(1, self.limit + 1) if self._is_free(number))
        refs: dict[str, Ref] = {}
        new: dict[int, Row] = {}
        for key in keys:
            holder = identity(key)
            if holder not in holders:
                holders[holder] = ref = self._next(free, key)
                new[ref.id] = Row(ref.generation, holder)
            refs[key] = holders[holder]
        return self._with_rows(new, no_longer_retired=[ref.id for ref in refs.values()]), refs

    def without(self, *numbers: int) -> Self:
        """Retire ids: their keys are gone, but flows may still carry them. `KeyError` if nobody holds one."""
        for number in numbers:
            self._held(number)
        return replace(self, retired=self.retired.union(numbers))

    def release(self, *numbers: int) -> Self:
        """Free retired ids, nothing carries them any more. `KeyError` if nobody holds one, `ValueError` if it is live."""
        rows = {number: self._held(number)._replace(identity=FREE) for number in numbers}
        for number in numbers:
            if number not in self.retired:
                raise ValueError(f"id {number} is live: retire it first")
        return self._with_rows(rows, no_longer_retired=numbers)

    def _held(self, number: int) -> Row:
        row = self.rows.get(number)
        if row is None or row.identity == FREE:
            raise KeyError(f"nobody holds id {number}")
        return row

    def _is_free(self, number: int) -> bool:
        row = self.rows.get(number)
        return row is None or row.identity == FREE

    def _next(self, free: Iterator[int], key: str) -> Ref:
        """A free id, in the generation after its last."""
        number = next(free, 0)
        if number:
            last = self.rows[number].generation if number in self.rows else 0
            return Ref(number, last % MAX_GENERATION + 1)
        raise LbctlError(
            f"no id is left for {key!r}: all {self.limit} are taken, {len(self.retired)} of them by removed entries "
            "that connections still use",
            hint="remove entries that are no longer needed, or wait until the connections of removed ones have ended",
        )

    def _with_rows(self, rows: Mapping[int, Row], *, no_longer_retired: Iterable[int]) -> Self:
        """With these rows in place of theirs."""
        all_rows = MappingProxyType({**self.rows, **rows}) if rows else self.rows
        return replace(self, rows=all_rows, retired=self.retired and self.retired.difference(no_longer_retired))
