"""Waiting for a condition with a deadline, never for a duration."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from lbctl.errors import LabError

_T = TypeVar("_T")

_PAUSE_S = 0.01


def wait_until(
    condition: Callable[[], _T], *, deadline_s: float, what: str | Callable[[], str], pause_s: float = _PAUSE_S
) -> _T:
    """Call ``condition`` until it returns something true, and return that.

    ``what``, or what it returns at that moment, completes the sentence "gave up waiting for …" of the `LabError` that
    is raised after ``deadline_s``.
    """
    end = time.monotonic() + deadline_s
    while not (result := condition()):
        if time.monotonic() >= end:
            subject = what if isinstance(what, str) else what()
            raise LabError(f"gave up waiting for {subject} after {deadline_s:g} s")
        time.sleep(pause_s)
    return result
