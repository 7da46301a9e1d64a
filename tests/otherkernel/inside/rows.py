"""What is brought along: the program, compiled, and the table of packets in a form that needs nothing but the rig.

An emulated processor would take half a minute to compile the one and to build the other, and they are the same there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lbctl.core.tables import Tables
from lbctl.dataplane.objectfile import ObjectFile
from lbctl.dataplane.port import Assigned


class Flow(NamedTuple):
    """An entry of a flow map, as far as rows speak of it; ``key`` as it lies in memory."""

    table: str
    key: bytes
    reference: int
    state: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A case of the table: a packet, what is held before it comes, and what becomes of it."""

    name: str
    tables: int
    """Which ones, of the luggage."""
    tokens: int
    handshakes: int
    flow: Flow | None
    assigned: Mapping[Assigned, int]
    """Backends of sources, by reference."""
    earlier: Sequence[bytes]
    frame: bytes
    ifindex: int
    verdict: int
    reason: str
    out: bytes
    after: Flow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Luggage:
    """All of it. Pickled."""

    program: ObjectFile
    tables: Sequence[Tables]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the other kernel says."""

    release: str
    verified: Mapping[str, int]
    """Instructions that its verifier walked through, by program."""
    rows: int
    """How many were tried."""
    differences: Mapping[str, str]
    """What became of a packet instead, by the name of the row."""
