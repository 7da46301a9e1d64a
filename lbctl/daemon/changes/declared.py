"""What follows from a file, beside the file itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbctl.core.model import Address, Declaration
from lbctl.daemon.conditions import Conditions
from lbctl.daemon.observed import Member


@dataclass(frozen=True, slots=True)
class DeclaredFacts:
    """What a reload changes, to be able to go back."""

    declaration: Declaration
    members: dict[str, Member]
    actives: Mapping[str, str]
    former_receivers: frozenset[int]
    refused_vips: Mapping[Address, bytes]
    unchecked_vips: frozenset[Address]
    conditions: Conditions
