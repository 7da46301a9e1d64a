"""What a fuzzer is: a maker of inputs, and the parser that they are fed to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from random import Random

Feed = Callable[[bytes], bool]
"""Gives a parser one input, and holds what comes of it against the parser's promises: `AssertionError` if they are broken, and
whatever else the parser should not have raised. True: it took the input; false: it refused it in the way that it documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuzzer:
    """``make`` is a pure function of the dice; ``opened`` sets up what the parser needs, such as a file."""

    name: str
    make: Callable[[Random], bytes]
    opened: Callable[[], AbstractContextManager[Feed]]


def pure(feed: Feed) -> Callable[[], AbstractContextManager[Feed]]:
    """Of a parser that needs nothing."""

    @contextmanager
    def opened() -> Iterator[Feed]:
        yield feed

    return opened
