"""Proposed texts become declarations, in a thread. The latest is remembered, for what was planned is what is applied next."""

from __future__ import annotations

import asyncio

from lbctl.config.loader import parse
from lbctl.core.model import Declaration


class Reader:
    """What was read last, and from what."""

    def __init__(self) -> None:
        self._latest: tuple[str, Declaration] | None = None

    async def declaration(self, text: str, *, source: str) -> Declaration:
        """As `lbctl.config.loader.parse`, which says what it raises; at once if it is the text of the time before."""
        latest = self._latest
        if latest is not None and latest[0] == text:
            return latest[1]
        found = await asyncio.to_thread(parse, text, source=source)
        self._latest = text, found
        return found
