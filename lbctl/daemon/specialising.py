"""Keeps the program made for what is declared: the parts that nobody uses are compiled out."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import fields

from lbctl.core.features import Features, features_in, features_of
from lbctl.core.model import Declaration
from lbctl.core.tables import Tables
from lbctl.dataplane.port import Dataplane

_log = logging.getLogger(__name__)


class Specialiser:
    """``features`` are those of the program that is loaded. ``exchanging`` is held while it is exchanged: for seconds."""

    def __init__(self, dataplane: Dataplane, features: Features, *, exchanging: asyncio.Lock) -> None:
        self._dataplane = dataplane
        self._exchanging = exchanging
        self.features = features

    async def extend(self, declaration: Declaration, *, current: Tables) -> None:
        """Have a program that suits this declaration, too, and what lives on in the tables without being declared. Raises
        `LbctlError`; then the one before goes on."""
        async with self._exchanging:
            await self._have(self.features | features_of(declaration) | features_in(current))

    async def reduce(self, declaration: Declaration, *, current: Tables) -> None:
        """Have one that suits nothing else."""
        async with self._exchanging:
            await self._have(features_of(declaration) | features_in(current))

    async def _have(self, wanted: Features) -> None:
        if wanted != self.features:
            await asyncio.to_thread(self._dataplane.specialise, wanted)
            _log.info("program compiled anew: %s", _words(wanted, self.features))
            self.features = wanted


def _words(after: Features, before: Features) -> str:
    changed = [field.name for field in fields(after) if getattr(after, field.name) != getattr(before, field.name)]
    return ", ".join(f"{name} {'in' if getattr(after, name) else 'out'}" for name in changed)
