"""Acting on news: at once, and not again and again where that takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from lbctl.errors import LbctlError

RETRY_S = 1.0
REST, REST_AT_MOST_S = 4, 0.5
"""So many times as long as acting took, for news to become one. With a few backends that is a few milliseconds."""


async def whenever(
    there_is_news: asyncio.Event,
    act: Callable[[], Awaitable[None]],
    *,
    changing: asyncio.Lock,
    failed: Callable[[LbctlError], None],
) -> None:
    """Act as soon as there is news, with ``changing`` held, which is free in the rest after it. After a failure, which is told,
    again until it succeeds."""
    loop = asyncio.get_running_loop()
    while True:
        await there_is_news.wait()
        there_is_news.clear()
        try:
            async with changing:
                began = loop.time()
                await act()
            await asyncio.sleep(min(REST * (loop.time() - began), REST_AT_MOST_S))
        except LbctlError as error:
            failed(error)
            await asyncio.sleep(RETRY_S)
            there_is_news.set()
