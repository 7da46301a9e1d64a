"""A host that vanishes, with the moment of its declaration taken from the program's own table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from lbctl.core.tables import BackendState
from lbctl.lab import vanishing
from lbctl.lab.lines import Line
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab
from lbctl.lab.vanishing import PATIENCE_S, Timeline, cut_off, moment_of, talk
from lbctl.lab.wait import wait_until
from tests.netns.pinned import PinnedBackends

__all__ = ["PATIENCE_S", "Timeline", "cut_off", "moment_of", "talk"]  # with `vanished`, all that a test needs


def moment_declared(lab: Lab, node: Node) -> float:
    """When the program learns that a backend is dead."""
    pinned = PinnedBackends(lab.pins)
    wait_until(
        lambda: pinned.state_of(node) is BackendState.DEAD,
        deadline_s=20.0,
        pause_s=0.001,
        what=f"{node.name} to be declared dead",
    )
    return time.monotonic()


@contextmanager
def vanished(lab: Lab, node: Node, *, waiting: Line, sending: Line) -> Iterator[Timeline]:
    """The node's host is gone; what its two clients learnt of that, one that only waits and one that goes on sending."""
    ends = {"waiting": waiting, "sending": sending}
    with vanishing.vanished(lab, node, **ends, declared=lambda: moment_declared(lab, node)) as timeline:
        yield timeline
