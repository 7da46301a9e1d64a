"""One fuzzer for so many inputs: each of them within bounds of time, all of them within bounds of memory.

Every input is a function of the seed and its own number alone, so that any one can be had again.
"""

from __future__ import annotations

import gc
import resource
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

from tests.fuzz.fuzzer import Feed, Fuzzer

LIMIT_S = 10.0
"""For one input. The slowest takes a hundredth of it; a machine that is busy may be slow."""
ROOM_BYTES = 1 << 30
"""What a run may take beyond what the process has; a parser that wants more is told that there is none."""
MOST_GROWTH_BYTES = 48 << 20
"""From after the warm-up to the end: an allocator's disorder, no leak of a million inputs."""
_WARM_UP = 0.1
_MINIMISING_S = 20.0
_SHOWN = 2000


class HangError(Exception):
    """An input took longer than `LIMIT_S`."""


class FoundError(Exception):
    """A parser broke its promise; the message says with which input, and how to have it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of a run; times are of the processor."""

    name: str
    inputs: int
    accepted: int
    rate_hz: float
    slowest_s: float
    slowest_at: int
    growth_bytes: int

    @property
    def refused(self) -> int:
        """How many inputs were."""
        return self.inputs - self.accepted


class _Pace:
    """Where a run is, and how slow it was."""

    def __init__(self) -> None:
        self.at = -1
        self.slowest_ns = 0
        self.slowest_at = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """`HangError` is raised within, should an input take too long: two looks at the clock find the same one."""
        seen = -1

        def look(_number: int, _frame: FrameType | None) -> None:
            nonlocal seen
            if seen == self.at:
                raise HangError(f"not done after {LIMIT_S:.0f} s")
            seen = self.at

        before = signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S, LIMIT_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def run(self, feed: Feed, make: Callable[[int], bytes], numbers: range) -> int:
        """How many of these inputs were accepted."""
        accepted, clock = 0, time.thread_time_ns
        for number in numbers:
            self.at = number
            data = make(number)
            begun = clock()
            accepted += feed(data)
            took = clock() - begun
            if took > self.slowest_ns:
                self.slowest_ns, self.slowest_at = took, number
        return accepted


def input_of(fuzzer: Fuzzer, *, seed: int, number: int) -> bytes:
    """The one with that number."""
    return fuzzer.make(Random(seed << 40 | number))


def run(fuzzer: Fuzzer, *, inputs: int, seed: int) -> Row:
    """Feed so many inputs. `FoundError` at the first that the parser stumbles over, `AssertionError` if memory grew."""
    dice = Random()

    def make(number: int) -> bytes:
        dice.seed(seed << 40 | number)
        return fuzzer.make(dice)

    warm_up = max(1, int(inputs * _WARM_UP))
    pace, begun = _Pace(), time.process_time()
    with fuzzer.opened() as feed, _bounded_memory(), warnings.catch_warnings():
        warnings.simplefilter("error")  # they are for developers, and what they tell of is remembered for ever
        try:
            with pace.watched():
                accepted = pace.run(feed, make, range(warm_up))
                before = _resident_bytes()
                accepted += pace.run(feed, make, range(warm_up, inputs))
        except Exception as error:
            raise FoundError(_told(fuzzer, feed, error, seed=seed, number=pace.at)) from error
        growth = max(0, _resident_bytes() - before)
    assert growth <= MOST_GROWTH_BYTES, f"{fuzzer.name}: {growth >> 20} MiB more after {inputs} inputs"
    return Row(
        name=fuzzer.name,
        inputs=inputs,
        accepted=accepted,
        rate_hz=inputs / (time.process_time() - begun),
        slowest_s=pace.slowest_ns / 1e9,
        slowest_at=pace.slowest_at,
        growth_bytes=growth,
    )


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@contextmanager
def _bounded_memory() -> Iterator[None]:
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM_BYTES, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


# What was found ------------------------------------------------------------------------------------------------------


def _told(fuzzer: Fuzzer, feed: Feed, error: Exception, *, seed: int, number: int) -> str:
    data = input_of(fuzzer, seed=seed, number=number)
    lines = [
        f"{fuzzer.name}: {error!r}",
        f"  again: python -m tests.fuzz --only {fuzzer.name} --seed {seed} --at {number}",
        f"  input: {data!r:.{_SHOWN}}",
    ]
    if not isinstance(error, HangError):
        smaller = minimised(data, lambda candidate: _stumbles(feed, candidate, type(error)))
        lines += [f"  minimised: {smaller!r:.{_SHOWN}}"] if smaller != data else []
    return "\n".join(lines)


def _stumbles(feed: Feed, data: bytes, kind: type[Exception]) -> bool:
    with suppress(Exception):
        try:
            feed(data)
        except kind:
            return True
    return False


def minimised(data: bytes, is_still: Callable[[bytes], bool]) -> bytes:
    """Passages taken out, shorter and shorter ones, as long as ``is_still`` holds of what is left."""
    size, until = max(1, len(data) // 2), time.monotonic() + _MINIMISING_S
    while size:
        at = 0
        while at < len(data) and time.monotonic() < until:
            candidate = data[:at] + data[at + size :]
            if is_still(candidate):
                data = candidate
            else:
                at += size
        size //= 2
    return data
