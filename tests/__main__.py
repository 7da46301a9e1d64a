"""``python -m tests [OPTION...]``: the whole suite, as ``make test`` runs it. The options go to pytest.

Tests with a director wait for most of their time. Those that compute run beside them, with less of a claim to the processor.
Whole scenes, most of them by the clock, and what is loud itself, have the machine to themselves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

ROOT = Path(__file__).parents[1]
SUMMARY = b"short test summary info"
"""What pytest writes above its list of failures."""
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one process of pytest plays: paths below the project's root, with wildcards; ``niceness`` is the process's."""

    name: str
    paths: tuple[str, ...]
    except_for: tuple[str, ...] = ()
    niceness: int = 0

    @property
    def found(self) -> list[str]:
        """The paths that there are."""
        return [path for path in _found(self.paths) if path not in _found(self.except_for)]


def _found(patterns: Sequence[str]) -> list[str]:
    return [str(path.relative_to(ROOT)) for pattern in patterns for path in sorted(ROOT.glob(pattern))]


Stages = Sequence[Sequence[Part]]
"""One after the other; the parts of each side by side."""

TIMED = (
    "tests/netns/test_director_datagrams.py",
    *(f"tests/acceptance/test_{name}.py" for name in ("bulk", "chaos", "demo", "demo_life", "established")),
)
"""Where the figures are the point, and what would spoil those of others."""
COMPUTING = Part(
    name="rules, packets, networks",
    paths=(
        *("tests/lint", "tests/otherkernel", "tests/packets", "tests/fuzz", "tests/unit"),
        *("tests/netns/test_lab*.py", "tests/netns/test_network*.py"),
    ),
    niceness=5,
)
DIRECTORS = Part(
    name="directors, a to q", paths=("tests/netns/test_co*.py", "tests/netns/test_director_[a-q]*.py"), except_for=TIMED
)
PEERS = Part(
    name="directors, the rest; real peers",
    paths=("tests/netns/test_director.py", "tests/netns/test_director_[r-z]*.py", "tests/acceptance/test_*.py"),
    except_for=TIMED,
)
STAGES: Stages = ((DIRECTORS, PEERS, COMPUTING), (Part(name="whole scenes, by the clock", paths=TIMED),))


class Run:
    """A process of pytest. It is at work from the beginning; what it says is seen when it is followed."""

    def __init__(self, part: Part, options: Sequence[str]) -> None:
        self.part = part
        self._output = os.memfd_create("output")
        colours = ["--color=yes"] if sys.stdout.isatty() else []
        pytest_ = [sys.executable, "-m", "pytest", *part.found, *colours, *options]
        self._process = subprocess.Popen(
            ["nice", "-n", str(part.niceness), *pytest_],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C is ours to pass on, once
        )

    def follow(self) -> None:
        """Show what it said so far, and what it goes on to say until it ends."""
        shown, is_over = 0, False
        while not is_over:
            is_over = self._process.poll() is not None  # asked first: its last words are there to be read then
            while said := os.pread(self._output, 1 << 16, shown):
                sys.stdout.buffer.write(said)
                sys.stdout.buffer.flush()
                shown += len(said)
            if not is_over:
                time.sleep(_PAUSE_S)

    def signal(self, number: int) -> None:
        """Signal the process and what it runs, as a terminal does; one that has ended is left alone."""
        with suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)

    def end(self) -> int:
        """Interrupt it if it is still at work; its exit code."""
        self.signal(signal.SIGINT)
        return self._process.wait()

    @property
    def summary(self) -> str:
        """Its list of failures, if there is one, and its last line."""
        size = os.fstat(self._output).st_size
        lines = os.pread(self._output, size, 0).splitlines(keepends=True)
        starts = [number for number, line in enumerate(lines) if SUMMARY in line]
        return b"".join(lines[max(starts, default=-1) :]).decode(errors="replace")


class Suite:
    """All runs so far, and the signal that ended them, if one did."""

    def __init__(self, options: Sequence[str]) -> None:
        self._options = options
        self._runs: list[Run] = []
        self._ended_by = 0

    def play(self, stages: Stages) -> int:
        """Run them, show what they say, and sum up; the exit code."""
        for number in _ENDING:
            signal.signal(number, self._pass_on)
        try:
            for parts in stages:
                self._play_side_by_side(parts)
        finally:  # should nobody listen to us any more
            codes = [run.end() for run in self._runs]
        self._sum_up()
        return 128 + self._ended_by if self._ended_by else _code(codes)

    def _play_side_by_side(self, parts: Sequence[Part]) -> None:
        begun = [self._begun(part) for part in parts if not self._ended_by]
        for run in begun:
            _head(run.part)
            run.follow()

    def _begun(self, part: Part) -> Run:
        run = Run(part, self._options)
        self._runs.append(run)
        if self._ended_by:  # just before it could be told
            run.signal(self._ended_by)
        return run

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._ended_by = number
        for run in self._runs:
            run.signal(number)

    def _sum_up(self) -> None:
        for run in self._runs:
            _head(run.part)
            print(run.summary, end="", flush=True)


def _head(part: Part) -> None:
    print(f"\n{part.name}:", flush=True)


def _code(codes: Sequence[int]) -> int:
    """The first failure's. That one part has none of the tests asked for is no failure."""
    told = [code for code in codes if code != pytest.ExitCode.NO_TESTS_COLLECTED]
    return next(filter(None, told), 0) if told else pytest.ExitCode.NO_TESTS_COLLECTED


if __name__ == "__main__":
    sys.exit(Suite(sys.argv[1:]).play(STAGES))
