"""When Python looks for garbage."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from lbctl.daemon.garbage import look_at_the_young_only, tidy_up


class Knot:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The other tests' garbage is collected as ever."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_garbage_is_freed_although_it_was_kept_when_it_was_none() -> None:
    knot = Knot()
    seen = weakref.ref(knot)
    tidy_up()
    assert gc.get_freeze_count() > 0
    del knot
    gc.collect()
    assert seen() is not None, "what is kept for good is looked at although nobody asked for it"
    tidy_up()
    assert seen() is None


def test_everything_is_looked_through_only_when_told_to() -> None:
    full: list[int] = []

    def note(phase: str, about: dict[str, int]) -> None:
        if phase == "start" and about["generation"] == 2:
            full.append(about["collected"])

    look_at_the_young_only()
    gc.callbacks.append(note)
    kept = [[number] for number in range(1_500_000)]
    gc.callbacks.remove(note)
    assert kept and not full
    tidy_up()
