"""Whose silence is not believed: where nobody is heard, the fault may be at the director's own cable or switch, and a reset of
everybody's connections would cut what is alive."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from lbctl.core.model import Backend
from lbctl.network.port import Neighbour

_HEARD = ("reachable", "stale", "delay")
"""States of a neighbour entry that is not in question: not while it is probed, and one made by hand proves nothing."""


def is_heard(neighbour: Neighbour) -> bool:
    """Whether a neighbour answers, as far as the kernel knows."""
    return neighbour.state in _HEARD


class Doubts:
    """``labels`` are the backends that fell silent while nobody else was heard. Each is doubted until it answers itself."""

    def __init__(self) -> None:
        self.labels: set[str] = set()

    def note(self, backends: Iterable[Backend], *, silent: Collection[str], heard: Collection[str]) -> None:
        """``silent`` are labels; ``heard`` are the interfaces on which at least one backend answers now."""
        for backend in backends:
            if backend.label not in silent:
                self.labels.discard(backend.label)
            elif backend.interface not in heard:
                self.labels.add(backend.label)
