"""Asks the silent clients of a backend that is full whether they are still there.

A server that resets a connection, or dies and is back at once, does so past the director: the program never sees the end of it,
and it would take one of the backend's places until its idle limit. A keep-alive in the server's name is answered by the
client: by an acknowledgement, which passes by like any other; or by a reset, which is the end that was missed. Who does not
answer at all keeps his place.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lbctl.core.tables import Tables
from lbctl.dataplane.port import Dataplane, Waiting
from lbctl.errors import LbctlError
from lbctl.network.port import Network
from lbctl.network.tcp import KeepAlive

_log = logging.getLogger(__name__)

SILENT_S = 20.0
AT_ONCE = 200
_WRAP = 1 << 32


class Verifier:
    """Asks a bounded number at each call."""

    def __init__(self, dataplane: Dataplane, network: Network) -> None:
        self._dataplane = dataplane
        self._network = network

    async def ask(self, tables: Tables) -> None:
        """The clients of all backends that are full now."""
        full = [number for number, found in self._dataplane.connections().items() if found.is_full]
        references = [tables.reference(number) for number in full if number in tables.backends]
        if not references:
            return
        try:
            quiet = self._dataplane.quiet(references, idle_s=SILENT_S, limit=AT_ONCE)
            await self._network.send_segments(_questions(quiet))
        except LbctlError as error:
            _log.warning("%s", error)


def _questions(quiet: Sequence[Waiting]) -> list[KeepAlive]:
    return [
        KeepAlive(
            source=waiting.vip,
            source_port=waiting.vip_port,
            destination=waiting.client,
            destination_port=waiting.client_port,
            seq=(waiting.acked - 1) % _WRAP,
            ack=waiting.next,
        )
        for waiting in quiet
    ]
