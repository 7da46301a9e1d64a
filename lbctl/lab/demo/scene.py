"""What the stage of every demonstration has: a lab, a daemon, a counter of frames, and phases that are measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbctl.errors import LbctlError
from lbctl.lab.capture import FROM_CLIENTS, Direction, FrameCounter, Traffic
from lbctl.lab.daemon import Daemon
from lbctl.lab.demo.ledger import Ledger, Phase
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab
from lbctl.lab.wait import wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that is needed to play an act on it and to watch. A stage adds what its own acts use."""

    lab: Lab
    daemon: Daemon
    counter: FrameCounter
    ledger: Ledger
    directory: Path

    @property
    def clients(self) -> tuple[Node, ...]:
        """The clients' nodes."""
        return self.lab.clients

    def look(self) -> list[dict[str, Any]]:
        """The backends of the pools that are shown, as ``lbctl status`` tells them, for the display as well."""
        pools = {row["name"]: row["backends"] for row in self.daemon.status()["pools"]}
        self.ledger.backends = [backend for name in self.ledger.pools for backend in pools.get(name, ())]
        return self.ledger.backends

    @contextmanager
    def phase(self, name: str, *, title: str, why: str) -> Iterator[Phase]:
        """Measure what happens inside. What goes wrong there is an expectation not met, and the next act goes on."""
        with suppress(LbctlError):  # an act may have ended with the daemon stopped; this one will tell
            self.look()
        traffic = self.counter.read()
        phase = Phase(name=name, title=title, why=why, so_far=lambda: self.counter.read() - traffic)
        conclude = self.begin(phase)
        self.ledger.phases.append(phase)
        with _noting_failure(phase):
            yield phase
        with _noting_failure(phase):
            phase.traffic = self._settled() - traffic
            conclude()
        phase.elapsed_s = round(time.monotonic() - phase.began_s, 2)

    def begin(self, _phase: Phase) -> Callable[[], None]:
        """A phase begins; what is to be done when it is over."""
        return lambda: None

    def _settled(self) -> Traffic:
        """What has passed, once the clients are silent: two looks that show the same; at the latest after a second."""
        give_up_s = time.monotonic() + 1.0
        looks = [self.counter.read()]

        def is_silent() -> bool:
            looks.append(self.counter.read())
            passed = looks[-1] - looks[-2]
            frames = sum(passed.of(direction, *FROM_CLIENTS).frames for direction in Direction)
            return not frames or time.monotonic() > give_up_s

        wait_until(is_silent, deadline_s=5.0, what="the clients to be silent")
        return looks[-1]


@contextmanager
def undone_by(undo: Callable[[], None]) -> Iterator[None]:
    """For the acts to come, also after an act that failed; but not on Ctrl-C, when there are none."""
    try:
        yield
    except (LbctlError, OSError):
        undo()
        raise
    undo()


@contextmanager
def _noting_failure(phase: Phase) -> Iterator[None]:
    try:
        yield
    except (LbctlError, OSError) as error:  # the latter from a client whose connection broke
        seen = error.message if isinstance(error, LbctlError) else repr(error)
        phase.expect(False, "the act runs to its end", expected="no error", seen=seen)
