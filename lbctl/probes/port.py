"""The interface of every probe: an async function of a target that returns a `ProbeResult`.

A probe is one file in this package. It takes what the check declares, addresses exactly the `Target`, finishes within
``timeout_s``, leaves no connection behind, and never raises for an unhealthy target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lbctl.core.model import Address
from lbctl.core.verdict import ProbeResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a probe goes.

    ``address`` is the IP destination (a VIP, or a backend's real address). ``mark`` is the socket mark (SO_MARK) that
    policy routing maps to one backend, 0 for ordinary routing. ``source`` is the local address to bind, if any, of the
    same family.
    """

    address: Address
    port: int
    timeout_s: float
    mark: int = 0
    source: Address | None = None


class Probe(Protocol):
    """One configured probe, ready to be aimed at a target."""

    async def __call__(self, target: Target) -> ProbeResult:
        """Probe the target once."""
        ...
