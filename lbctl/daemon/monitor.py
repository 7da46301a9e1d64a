"""Schedules probes and agents: one task per backend for each, results go to callbacks.

The application check goes through the VIP on the backend, for that is the path that clients use. Only after a failure is
the real address tried, to name the fault.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from lbctl.core.model import Backend, Declaration
from lbctl.core.verdict import AgentReport, AgentSilence, Outcome, ProbeResult
from lbctl.errors import LbctlError
from lbctl.probes.agent import ask_agent
from lbctl.probes.catalogue import probe_for
from lbctl.probes.port import Target
from lbctl.probes.tcp import probe_tcp

_log = logging.getLogger(__name__)

KNOCK_TIMEOUT_S = 1.0
"""How long a failed check's explanation may take: the port either opens on a LAN or it does not."""

OnProbe = Callable[[str, ProbeResult], None]
OnAgent = Callable[[str, AgentReport | AgentSilence], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How the director's probes reach a VIP on one backend: the socket mark of its policy route, and the source address."""

    vip: IPv4Address
    mark: int
    source: IPv4Address


class Monitor:
    """The running tasks. ``watch`` may be called again with another declaration: what did not change runs on."""

    def __init__(self, *, on_probe: OnProbe, on_agent: OnAgent) -> None:
        self._on_probe = on_probe
        self._on_agent = on_agent
        self._tasks: dict[tuple[str, Backend, Route], list[asyncio.Task[None]]] = {}

    def watch(self, declaration: Declaration, routes: Mapping[str, Route]) -> None:
        """Probe these backends, and no others, from now on. ``routes`` by label."""
        wanted = {(backend.label, backend, routes[backend.label]) for backend in declaration.backends()}
        for key in [key for key in self._tasks if key not in wanted]:
            for task in self._tasks.pop(key):
                task.cancel()
        for key in wanted - self._tasks.keys():
            self._tasks[key] = self._start(key[1], key[2])

    def _start(self, backend: Backend, route: Route) -> list[asyncio.Task[None]]:
        async def probe() -> None:
            self._on_probe(backend.label, await probe_backend(backend, route))

        tasks = [asyncio.create_task(_repeat(probe, backend.check.timing.interval_s), name=f"probe {backend.label}")]
        if backend.agent is not None:
            agent = backend.agent
            target = Target(address=backend.address, port=agent.port, timeout_s=agent.timeout_s, source=route.source)

            async def ask() -> None:
                self._on_agent(backend.label, await ask_agent(target))

            tasks.append(asyncio.create_task(_repeat(ask, agent.interval_s), name=f"agent {backend.label}"))
        return tasks

    async def close(self) -> None:
        """Stop all probes; those under way are ended in order."""
        tasks = [task for running in self._tasks.values() for task in running]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _repeat(action: Callable[[], Awaitable[None]], interval_s: float) -> None:
    """Start the action at a fixed rate, the next at once if one took longer than the interval."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        try:
            await action()
        except LbctlError as error:  # the director's own fault: it says nothing of the backend
            _log.error("%s", error)
        due = max(due + interval_s, loop.time())
        await asyncio.sleep(due - loop.time())


async def probe_backend(backend: Backend, route: Route) -> ProbeResult:
    """Probe a backend once through the VIP; after a failure tell what the real address answers."""
    target = Target(
        address=route.vip,
        port=backend.check.port,
        timeout_s=backend.check.timing.timeout_s,
        mark=route.mark,
        source=route.source,
    )
    result = await probe_for(backend.check)(target)
    if result.outcome not in (Outcome.TIMEOUT, Outcome.REFUSED, Outcome.UNREACHABLE):
        return result
    knock = replace(target, timeout_s=min(target.timeout_s, KNOCK_TIMEOUT_S))
    at_vip, at_real = await asyncio.gather(probe_tcp(knock), probe_tcp(replace(knock, address=backend.address, mark=0)))
    return explain(result, at_vip=at_vip, at_real=at_real, backend=backend, vip=route.vip)


def explain(
    failure: ProbeResult, *, at_vip: ProbeResult, at_real: ProbeResult, backend: Backend, vip: IPv4Address
) -> ProbeResult:
    """A failure, in the light of whether the port opens at the VIP and at the real address."""
    if at_vip.outcome.is_alive or not at_real.outcome.is_alive:
        return failure
    where = f"{backend.address}:{backend.check.port} answers at the real address"
    if at_vip.outcome is Outcome.REFUSED:
        detail = f"VIP refused: {where}, but nothing listens on {vip}; bind the server to all addresses"
    else:
        detail = f"VIP not accepted: {where}, but not for {vip}; put {vip} on the backend's loopback"
    return replace(failure, detail=detail)
