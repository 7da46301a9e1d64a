"""Tells the clients of a backend that died: those that send learn it from the program, those that only wait from here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from lbctl.core.plan import SetBackend, Step
from lbctl.core.tables import BackendState, reference
from lbctl.dataplane.port import Dataplane, Waiting
from lbctl.errors import LbctlError
from lbctl.network.port import Network
from lbctl.network.tcp import Reset

_log = logging.getLogger(__name__)


class Resetter:
    """Works in the background, one task for each occasion."""

    def __init__(self, dataplane: Dataplane, network: Network) -> None:
        self._dataplane = dataplane
        self._network = network
        self._tasks: set[asyncio.Task[None]] = set()

    def carried_out(self, steps: Iterable[Step]) -> None:
        """These steps were written to the kernel: reset the clients of the backends that died by them."""
        dead = [died for step in steps if (died := _died(step)) is not None]
        if dead:
            task = asyncio.create_task(self._reset(dead))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reset(self, references: list[int]) -> None:
        try:
            waiting = await asyncio.to_thread(self._dataplane.give_up, references)
            told = await self._network.send_resets([_reset_of(client) for client in waiting])
        except LbctlError as error:
            _log.error("%s", error)
            return
        if waiting:
            _log.warning("%d of %d clients of dead backends were sent a reset", told, len(waiting))

    async def settle(self) -> None:
        """Wait until everybody was told who is being told now."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _died(step: Step) -> int | None:
    """The reference in the flows of the backend that this step declares dead, if it does."""
    if not isinstance(step, SetBackend) or step.before is None or step.after is None:
        return None
    has_died = step.after.state is BackendState.DEAD and step.before.state is not BackendState.DEAD
    return reference(step.backend_id, step.after.generation) if has_died else None


def _reset_of(client: Waiting) -> Reset:
    return Reset(
        source=client.vip,
        source_port=client.vip_port,
        destination=client.client,
        destination_port=client.client_port,
        seq=client.acked,
    )
