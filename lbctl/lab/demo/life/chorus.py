"""Many connections that talk all the time, and notice when one breaks or is answered by another server."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from lbctl.lab.lines import Line
from lbctl.lab.node import Node

_PAUSE_S = 0.005
_PATIENCE_S = 5.0


class Chorus:
    """Opens its connections at the beginning; one after the other says something until the end. ``faults`` counts those that
    broke or were moved."""

    def __init__(self, client: Node, *, port: int, count: int) -> None:
        self._lines = [Line(client, port=port, timeout_s=_PATIENCE_S) for _ in range(count)]
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self.messages = 0
        self.faults = 0

    def progress(self) -> str:
        """How much was said."""
        return f"{self.messages:,} messages on {len(self._lines)} connections, {self.faults} broken"

    def _talk(self) -> None:
        lines = list(self._lines)
        while lines and not self._is_over.is_set():
            for line in tuple(lines):
                if not self._say(line):
                    lines.remove(line)
            self._is_over.wait(_PAUSE_S)

    def _say(self, line: Line) -> bool:
        try:
            is_well = line.is_alive
        except OSError:
            is_well = False
        self.messages += is_well
        self.faults += not is_well
        return is_well

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
        for line in self._lines:
            line.close()
