"""What the clients of a host that vanishes live through: when it was declared dead, and when each of them learnt of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from lbctl.errors import LabError
from lbctl.lab.lines import Line
from lbctl.lab.node import Node
from lbctl.lab.topology import Lab

PATIENCE_S = 60.0
"""The clients' own time-out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Moments in seconds after the link was cut: the declaration, and each client's error."""

    declared_s: float
    told_s: Mapping[str, float]

    def after_declaration_s(self, who: str) -> float:
        """How long a client still believed in its server."""
        return self.told_s[who] - self.declared_s

    def __str__(self) -> str:
        told = [
            f"{1000 * at:8.1f} ms  {who} client: connection reset, "
            f"{1000 * self.after_declaration_s(who):+.1f} ms after the declaration"
            for who, at in sorted(self.told_s.items(), key=lambda row: row[1])
        ]
        return "\n".join(["     0.0 ms  link cut", f"{1000 * self.declared_s:8.1f} ms  declared dead", *told])


def moment_of(reset: Callable[[], object]) -> Future[float]:
    """When a reset ended what a thread of its own does; `LabError` if it ended otherwise."""
    found: Future[float] = Future()

    def work() -> None:
        try:
            reset()
        except ConnectionResetError:
            found.set_result(time.monotonic())
        except BaseException as error:
            found.set_exception(error)
        else:
            found.set_exception(LabError("it ended without a reset"))

    threading.Thread(target=work, daemon=True).start()
    return found


def talk(line: Line, *, for_s: float) -> None:
    """Send small lines and read nothing, as a client that stores images."""
    deadline, pause = time.monotonic() + for_s, threading.Event()
    while time.monotonic() < deadline:
        line.send()
        pause.wait(0.02)


@contextmanager
def cut_off(lab: Lab, node: Node) -> Iterator[None]:
    """The node's cable is out of the switch."""
    lab.cut(node)
    try:
        yield
    finally:
        lab.mend(node)


@contextmanager
def vanished(
    lab: Lab, node: Node, *, waiting: Line, sending: Line, declared: Callable[[], float]
) -> Iterator[Timeline]:
    """The node's host is gone; what its two clients learnt of that, one that only waits and one that goes on sending.

    ``declared`` waits until the node is declared dead, and returns that moment (monotonic seconds)."""
    began = time.monotonic()
    with cut_off(lab, node):
        moments = {
            "waiting": moment_of(lambda: waiting.wait(timeout_s=PATIENCE_S)),
            "sending": moment_of(lambda: talk(sending, for_s=PATIENCE_S)),
        }
        declared_s = declared() - began
        told_s = {who: moment.result(timeout=PATIENCE_S / 2) - began for who, moment in moments.items()}
        yield Timeline(declared_s=declared_s, told_s=told_s)
