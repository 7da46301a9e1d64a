"""Tells the clients of a backend that died or was halted: those that send learn it from the program, those that only wait from
here. A server that was halted, and lives, is told as well."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TypeGuard

from lbctl.core.plan import SetBackend, Step
from lbctl.core.tables import BackendState, Tables, reference
from lbctl.daemon.surroundings import Surroundings
from lbctl.dataplane.port import Dataplane, Waiting
from lbctl.errors import LbctlError
from lbctl.network.tcp import Reset

_log = logging.getLogger(__name__)


class Resetter:
    """Works in the background, one task for each occasion."""

    def __init__(
        self, dataplane: Dataplane, surroundings: Surroundings, *, label_of: Callable[[int], str | None]
    ) -> None:
        """``label_of`` a reference is the declared backend that it means, if there is one."""
        self._dataplane = dataplane
        self._surroundings = surroundings
        self._label_of = label_of
        self._tasks: set[asyncio.Task[None]] = set()

    def carried_out(self, steps: Iterable[Step]) -> None:
        """These steps were written to the kernel: reset the connections of the backends that died or were halted by them."""
        self._begin({reference(s.backend_id, s.after.generation): s.after.state for s in steps if _ends(s) and s.after})

    def catch_up(self, tables: Tables, found: Iterable[int]) -> None:
        """These references have open connections, as a sweep found. They ought to have none if they are dead or halted: a
        daemon was killed before it told them, or a connection was made in that very moment."""
        rows = {tables.reference(number): row.state for number, row in tables.backends.items() if row.state in _ENDED}
        self._begin({ref: rows[ref] for ref in found if ref in rows})

    def _begin(self, ended: Mapping[int, BackendState]) -> None:
        if ended:
            task = asyncio.create_task(self._reset(ended))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reset(self, ended: Mapping[int, BackendState]) -> None:
        labels = {ref: self._label_of(ref) for ref, state in ended.items() if state is BackendState.HALTED}
        marks = {ref: self._surroundings.mark(label) for ref, label in labels.items() if label}
        try:
            waiting = await asyncio.to_thread(self._dataplane.give_up, list(ended))
            told = await self._surroundings.network.send_segments([_to_client(end) for end in waiting])
            to_servers = [_to_server(end, mark) for end in waiting if (mark := marks.get(end.backend))]
            servers_told = await self._surroundings.network.send_segments(to_servers)
        except LbctlError as error:
            _log.error("%s", error)
            return
        if waiting:
            _log.warning(
                "%d connections of dead or halted backends ended: %d resets to clients, %d to servers",
                len(waiting),
                told,
                servers_told,
            )

    async def settle(self) -> None:
        """Wait until everybody was told who is being told now."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


_ENDED = (BackendState.DEAD, BackendState.HALTED)


def _ends(step: Step) -> TypeGuard[SetBackend]:
    """Whether a backend that may have connections dies or is halted by this step."""
    if not isinstance(step, SetBackend) or step.before is None or step.after is None:
        return False
    return step.after.state in _ENDED and step.before.state not in _ENDED


def _to_client(end: Waiting) -> Reset:
    """In the name of the VIP."""
    return Reset(
        source=end.vip,
        source_port=end.vip_port,
        destination=end.client,
        destination_port=end.client_port,
        seq=end.acked,
    )


def _to_server(end: Waiting, mark: int) -> Reset:
    """In the name of the client."""
    return Reset(
        source=end.client,
        source_port=end.client_port,
        destination=end.vip,
        destination_port=end.vip_port,
        seq=end.next,
        mark=mark,
    )
