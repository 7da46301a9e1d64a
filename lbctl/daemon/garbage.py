"""When Python looks for garbage. By itself it looks through all there is now and then, in the midst of whatever is being done:
with thousands of backends that is some tenths of a second for which everything halts, several times in every change.

So it looks at what is young only, as ever; at the rest when it is told to. What is no part of a cycle is freed at once anyway.
"""

from __future__ import annotations

import asyncio
import gc

INTERVAL_S = 600.0
_YOUNG, _MIDDLE_AGED, _NEVER = 10_000, 10, 1_000_000


def tidy_up() -> None:
    """Free what is garbage now. What is left is not looked at again before the next call."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def look_at_the_young_only() -> None:
    """From now on, unless told to `tidy_up`."""
    gc.set_threshold(_YOUNG, _MIDDLE_AGED, _NEVER)


async def tidy_up_forever() -> None:
    """At once, then every few minutes."""
    while True:
        tidy_up()
        await asyncio.sleep(INTERVAL_S)
