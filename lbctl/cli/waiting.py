"""Waiting for backends, shown as it goes on: lines that change on a terminal, and elsewhere one whenever something does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from rich.live import Live
from rich.text import Text

from lbctl.cli.client import get, post, target_resource
from lbctl.cli.render import console, duration
from lbctl.core.targets import Target, typed
from lbctl.daemon.models import Done, TargetBackend, TargetStatus
from lbctl.errors import DaemonUnreachableError, LbctlError

POLL_S = 0.5
REMOVED = "removed"
"""The state of a backend that the file no longer has, while it may have connections."""
_MANY = 10
_EMPTY = "nobody is connected"
_SILENT = "the daemon does not answer; the wait goes on"
_COUNTING_S = 1.0
"""A sweep takes a moment: what it counted is of that moment at least."""

Said = Callable[[TargetStatus], Sequence[str]]
"""A line for each thing that one looks at."""


class Waiter:
    """Asks again and again for the backends of a target, until something holds."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._lines: tuple[str, ...] = ()

    def wait(
        self, target: Target, is_over: Callable[[TargetStatus], bool], said: Said, *, timeout_s: float | None
    ) -> TargetStatus | None:
        """What held at last; `None` when the time was over before. A daemon that is being restarted is waited for."""
        began, self._lines = time.monotonic(), ()
        with _board() as show:
            while True:
                found = self._look(target)
                waited_s = time.monotonic() - began
                self._show(show, [_SILENT] if found is None else said(found), waited_s)
                if found is not None and is_over(found):
                    return found
                if timeout_s is not None and waited_s >= timeout_s:
                    return None
                time.sleep(POLL_S)

    def _look(self, target: Target) -> TargetStatus | None:
        try:
            return get(self._socket, target_resource(target), TargetStatus)
        except DaemonUnreachableError:
            return None

    def _show(self, board: Live | None, lines: Sequence[str], waited_s: float) -> None:
        if board is not None:
            board.update(Text("\n".join([*lines, f"waiting for {duration(waited_s)}"])), refresh=True)
        else:
            for line in lines:
                if line not in self._lines:
                    click.echo(line)
        self._lines = tuple(lines)


@contextmanager
def _board() -> Iterator[Live | None]:
    """The part of a terminal that is written again and again; nothing where there is no terminal."""
    if not sys.stdout.isatty():
        yield None
        return
    with Live(console=console(), auto_refresh=False, transient=True) as live:
        yield live


class Emptying:
    """Whether the backends of a target are empty, from a moment on: UDP flows count when they were counted after it."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.latest: Sequence[str] = ()
        """What there was to wait for at the latest look, as by `rest`."""

    def is_over(self, found: TargetStatus) -> bool:
        """Nobody is connected, and nobody can be any more; also when somebody ended the drain, for then it will not be."""
        self.latest = self.rest(found)
        return undrained(found) != () or not self.latest

    def said(self, found: TargetStatus) -> Sequence[str]:
        """A line a backend; of many, only for those that are not empty."""
        empty = [each for each in found.backends if not self._rest_of(each, found)]
        has_many = len(found.backends) > _MANY
        shown = [each for each in found.backends if not (has_many and each in empty)]
        lines = [f"{_label(each)}: {self._rest_of(each, found) or _EMPTY}{_state(each)}" for each in shown]
        return [*lines, *([f"{len(empty)} of {len(found.backends)} backends are empty"] if has_many else [])]

    def rest(self, found: TargetStatus) -> Sequence[str]:
        """What there is to wait for yet, in words."""
        return [f"{_label(each)}: {rest}" for each in found.backends if (rest := self._rest_of(each, found))]

    def _rest_of(self, backend: TargetBackend, found: TargetStatus) -> str:
        if backend.takes_new:
            return "it takes new connections" + (", for the kernel refused so far" if backend.override else "")
        if left(backend):
            return f"{_amount(backend)} left"
        if backend.half_open:
            return f"no connection left, but {_plural(backend.half_open, 'handshake')} may still be completed"
        return "" if self._is_counted(backend, found) else "no connection left; UDP flows are being counted"

    def _is_counted(self, backend: TargetBackend, found: TargetStatus) -> bool:
        if backend.udp_flows is None:
            return True
        return found.swept_s is not None and found.swept_s < time.monotonic() - self._began - _COUNTING_S


def drain_and_wait(socket: Path, target: Target, *, timeout_s: float | None) -> None:
    """Drain, and wait until it is empty. `LbctlError` when it is not in time, or is drained no more."""
    click.echo(post(socket, f"{target_resource(target)}/drain", Done).message)
    emptying = Emptying()
    try:
        found = Waiter(socket).wait(target, emptying.is_over, emptying.said, timeout_s=timeout_s)
    except KeyboardInterrupt:
        told = f" ({_listed(emptying.latest)})" if emptying.latest else ""
        raise LbctlError(
            f"no longer waiting{told}; the drain stays", hint=f"to end it: lbctl enable {typed(target)}"
        ) from None
    if found is None:
        raise too_late(socket, target, emptying, timeout_s=timeout_s or 0.0)
    if undrained(found):
        raise no_longer_drained(found)
    click.echo(f"{target}: nobody is connected any more")


def too_late(socket: Path, target: Target, emptying: Emptying, *, timeout_s: float) -> LbctlError:
    """What to say when the time is over."""
    word = typed(target)
    hint = f"lbctl drain --wait {word} waits on, lbctl halt {word} cuts them off, lbctl enable {word} ends the drain"
    try:
        rest = emptying.rest(get(socket, target_resource(target), TargetStatus))
    except DaemonUnreachableError:
        return LbctlError(f"the daemon did not answer for long, and {target} is still drained", hint=hint)
    told = _listed(rest) or "the last one ended just now"
    return LbctlError(f"not empty after {duration(timeout_s)} ({told}); the drain stays", hint=hint)


def _listed(rest: Sequence[str]) -> str:
    more = [f"and {len(rest) - _MANY} more"] if len(rest) > _MANY else []
    return "; ".join([*rest[:_MANY], *more])


def no_longer_drained(found: TargetStatus) -> LbctlError:
    """What to say when somebody enabled it meanwhile."""
    return LbctlError(
        f"{', '.join(undrained(found))} takes new connections: somebody ended the drain, or changed the file, meanwhile",
        hint="who it was: audit.jsonl in the state directory, or journalctl -u lbctl",
    )


def undrained(found: TargetStatus) -> tuple[str, ...]:
    """The backends that are neither drained, nor halted, nor removed from the file, by label."""
    return tuple(_label(each) for each in found.backends if each.override is None and each.state != REMOVED)


def left(backend: TargetBackend) -> int:
    """Connections, and UDP flows where there can be any."""
    return backend.connections + (backend.udp_flows or 0)


def _label(backend: TargetBackend) -> str:
    return f"{backend.pool}/{backend.name}"


def _state(backend: TargetBackend) -> str:
    return "" if backend.state in ("draining", "halted", "standby") else f" ({backend.state}: {backend.reason})"


def _amount(backend: TargetBackend) -> str:
    amounts = [_plural(backend.connections, "connection")] if backend.connections or not backend.udp_flows else []
    if backend.udp_flows:
        amounts.append(_plural(backend.udp_flows, "UDP flow"))
    return " and ".join(amounts)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
