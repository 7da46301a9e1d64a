"""Whose silence is not believed: where nobody is heard, the fault may be at the director's own cable or switch, and a reset of
everybody's connections would cut what is alive."""

from __future__ import annotations

from collections.abc import Set

from lbctl.network.port import Neighbour

_HEARD = ("reachable", "stale", "delay")
"""States of a neighbour entry that is not in question: not while it is probed, and one made by hand proves nothing."""


def is_heard(neighbour: Neighbour) -> bool:
    """Whether a neighbour answers, as far as the kernel knows."""
    return neighbour.state in _HEARD


class Doubts:
    """``labels`` are the backends that fell silent while nobody else was heard. Each is doubted until it answers itself; also
    while it is in no file, for that file may only be tried."""

    def __init__(self) -> None:
        self.labels: Set[str] = frozenset()

    def note(self, *, silent: Set[str], unheard: Set[str], declared: Set[str]) -> None:
        """Who is silent now, by label, of those ``declared``; ``unheard`` are those of them on whose interface nobody
        answers."""
        still = {label for label in self.labels if label in silent or label not in declared}
        self.labels = still | unheard
