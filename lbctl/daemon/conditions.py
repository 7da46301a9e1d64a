"""Since when each backend is in the condition that it is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lbctl.core.standing import Condition, Standing


@dataclass(slots=True)
class Conditions:
    """By label: the latest condition, and when it was first seen. Times are monotonic seconds."""

    _since: Mapping[str, tuple[Condition, float]] = field(default_factory=dict)

    def note(self, standings: Mapping[str, Standing], *, now: float) -> None:
        """These are the conditions now, and of no other backend."""
        before = self._since
        self._since = {
            label: before[label]
            if label in before and before[label][0] is stands.condition
            else (stands.condition, now)
            for label, stands in standings.items()
        }

    def copied(self) -> Conditions:
        """One that goes its own way from here."""
        return Conditions(self._since)  # never changed in place

    def since(self, label: str, *, otherwise: float) -> float:
        """When a backend's condition was first seen."""
        return self._since[label][1] if label in self._since else otherwise
