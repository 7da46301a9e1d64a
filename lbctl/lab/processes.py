"""Processes that a lab started: every one is remembered, and ended by its own process group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lbctl.errors import LabError
from lbctl.lab.wait import wait_until

_GRACE_S = 3.0
"""How long a process may take to end on SIGTERM before it is killed."""
_LADDER = ((signal.SIGINT, 0.5), (signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S))
"""What a process of unknown kind is told, one after the other. On SIGINT PostgreSQL ends at once, while on SIGTERM it waits
for its clients; but what a shell runs in the background does not hear SIGINT."""


class Processes:
    """Starts processes, each in a session of its own, and ends them all."""

    def __init__(self) -> None:
        self._started: dict[subprocess.Popen[Any], signal.Signals] = {}

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        output: Path | int | IO[Any] | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        split_output: bool = False,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> subprocess.Popen[Any]:
        """Start ``argv``. ``output`` takes stdout and stderr: a file to append to, ``PIPE``, or ``None`` (nowhere).

        With ``split_output`` stderr has a pipe of its own. ``stop_signal`` asks this process to end.
        """
        with contextlib.ExitStack() as files:
            target = files.enter_context(output.open("ab")) if isinstance(output, Path) else output
            process = subprocess.Popen(
                [str(word) for word in argv],
                stdin=stdin,
                stdout=subprocess.DEVNULL if target is None else target,
                stderr=subprocess.PIPE if split_output else subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                text=True,
                start_new_session=True,
            )
        self._started[process] = stop_signal
        return process

    def end(self, process: subprocess.Popen[Any]) -> None:
        """End one process and its group: its stop signal first, SIGKILL when it does not listen."""
        self._end([process])

    def end_all(self) -> None:
        """End whatever is still alive, all at the same time."""
        self._end(list(self._started))

    def _end(self, processes: Iterable[subprocess.Popen[Any]]) -> None:
        stopping = {process: self._started.pop(process, signal.SIGTERM) for process in processes}
        for process, stop_signal in stopping.items():
            signal_group(process, stop_signal)
        deadline = time.monotonic() + _GRACE_S
        for process in stopping:
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                signal_group(process, signal.SIGKILL)
                process.wait()


def signal_group(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    """Signal a process that `Processes` started, with its children. One that has ended already is left alone."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def end_ids(ids: Iterable[int]) -> None:
    """Ask processes by id to end, kill those that stay, and wait until they are gone."""
    remaining = frozenset(ids)
    for number, grace_s in _LADDER:
        remaining = frozenset(pid for pid in remaining if _is_running(pid))
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(LabError):
            _wait_gone(remaining, grace_s)


def _wait_gone(ids: frozenset[int], grace_s: float) -> None:
    wait_until(lambda: not any(map(_is_running, ids)), deadline_s=grace_s, what="processes to end")


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
