"""All that is observed of the world, and how much of it the kernel's tables hold: what desired tables depend on besides the
declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbctl.core.model import Address
from lbctl.core.standing import Standing
from lbctl.core.tables import Lan


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the kernel's tables hold. Ids are below these, and 0 is never used. ``sources`` are the prefixes of all lists of
    a family together."""

    backends: int
    services: int
    pools: int
    slots: int
    interfaces: int
    members: int
    sources: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NicFacts:
    """An interface as it is now: the segment that it is on, and its MAC (6 bytes)."""

    lan: Lan
    mac: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that is observed. ``nics`` by interface name; ``macs`` by backend address (the last confirmed one); ``standings``
    by backend label; ``refused_vips`` are answered for by somebody else.

    ``busy_backends`` (ids) and ``busy_vips`` still have flows: they stay although the declaration no longer has them; the ids
    in ``busy_services`` are not given to another service. ``settling_pools`` wait for the first word of an agent since the
    daemon's start: their slots stay as they were found. ``former_receivers`` (identities) were removed from a pool of which
    only one may receive at a time."""

    nics: Mapping[str, NicFacts]
    macs: Mapping[Address, bytes]
    standings: Mapping[str, Standing]
    refused_vips: frozenset[Address] = frozenset()
    busy_backends: frozenset[int] = frozenset()
    busy_services: frozenset[int] = frozenset()
    busy_vips: frozenset[Address] = frozenset()
    settling_pools: frozenset[str] = frozenset()
    former_receivers: frozenset[int] = frozenset()
