"""Schedules probes and agents: one task per backend for each, results go to callbacks.

The application check goes through the VIP on the backend, for that is the path that clients use. Only after a failure is
the real address tried, to name the fault; and never so that a verdict would wait for it: a dead backend is found in
``fall`` intervals and one time-out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from zlib import crc32

from lbctl.core.addresses import endpoint
from lbctl.core.model import Address, Backend, Declaration
from lbctl.core.verdict import AgentReport, AgentSilence, Outcome, ProbeResult
from lbctl.errors import LbctlError
from lbctl.probes.agent import ask_agent
from lbctl.probes.catalogue import probe_for
from lbctl.probes.port import Target
from lbctl.probes.tcp import probe_tcp

_log = logging.getLogger(__name__)

KNOCK_TIMEOUT_S = 1.0
"""How long a failed check's explanation may take: the port either opens on a LAN or it does not."""

AT_ONCE = 500
"""The most probes under way: with thousands of backends the time-outs would else count how long the others took. A probe of a
dead one takes its time-out, so that a hundred dead ones delay nobody."""

_NEEDING_EXPLANATION = (Outcome.TIMEOUT, Outcome.REFUSED, Outcome.UNREACHABLE)

OnProbe = Callable[[str, ProbeResult], None]
OnAgent = Callable[[str, AgentReport | AgentSilence], None]
OnFault = Callable[[str, str], None]
Wayfinder = Callable[["Backend", "Route"], Awaitable[None]]
"""Raises `LbctlError` if the probes of a backend do not go to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How the director's probes reach the VIPs on one backend: the socket mark of its policy route, and the source address.
    There is at least one VIP."""

    vips: tuple[Address, ...]
    mark: int
    source: Address | None


_Watched = tuple[Backend, Route]


class Monitor:
    """The running tasks. ``watch`` may be called again with another declaration: what did not change runs on."""

    def __init__(self, *, on_probe: OnProbe, on_agent: OnAgent, on_fault: OnFault, require_ways: Wayfinder) -> None:
        self._on_probe = on_probe
        self._on_agent = on_agent
        self._on_fault = on_fault
        self._require_ways = require_ways
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, tuple[_Watched, list[asyncio.Task[None]]]] = {}

    def watch(self, declaration: Declaration, routes: Mapping[str, Route]) -> None:
        """Probe those of the backends that there are ``routes`` to, by label, and no others from now on."""
        backends = (backend for backend in declaration.backends() if backend.label in routes)
        wanted = {backend.label: (backend, routes[backend.label]) for backend in backends}
        self._end(label for label, (watched, _) in self._tasks.items() if wanted.get(label) != watched)
        for label, watched in wanted.items():
            if label not in self._tasks:
                self._tasks[label] = watched, self._start(*watched)

    def leave_others(self, declaration: Declaration) -> None:
        """Say nothing more of backends that this declaration has not, or not like that: what a probe says that is under way
        would be taken for the word of another server by the same name."""
        declared = {backend.label: (backend,) for backend in declaration.backends()}
        self._end(label for label, (watched, _) in self._tasks.items() if declared.get(label) != watched[:1])

    def _end(self, labels: Iterable[str]) -> None:
        for label in tuple(labels):
            for task in self._tasks.pop(label)[1]:
                task.cancel()

    def _start(self, backend: Backend, route: Route) -> list[asyncio.Task[None]]:
        before: Outcome | None = None

        async def probe() -> None:
            nonlocal before
            try:
                result = await probe_backend(backend, route, before=before)
                await self._require_ways(backend, route)
            except LbctlError as error:  # the director's own fault: it says nothing of the backend
                self._on_fault(backend.label, error.message)
                return
            before = result.outcome
            self._on_probe(backend.label, result)

        repeated = _repeat(probe, backend.check.timing.interval_s, phase=_phase(backend.label), turns=self._turns)
        tasks = [asyncio.create_task(repeated, name=f"probe {backend.label}")]
        if backend.agent is not None:
            agent = backend.agent
            target = Target(address=backend.address, port=agent.port, timeout_s=agent.timeout_s, source=route.source)

            async def ask() -> None:
                self._on_agent(backend.label, await ask_agent(target))

            asked = _repeat(ask, agent.interval_s, phase=_phase(backend.label), turns=self._turns)
            tasks.append(asyncio.create_task(asked, name=f"agent {backend.label}"))
        return tasks

    async def close(self) -> None:
        """Stop all probes; those under way are ended in order."""
        tasks = [task for _, running in self._tasks.values() for task in running]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _repeat(
    action: Callable[[], Awaitable[None]], interval_s: float, *, phase: float, turns: asyncio.Semaphore
) -> None:
    """Start the action at once, then at a fixed rate, the next at once if one took longer than the interval. The second comes
    after a part of the interval already, by which thousands that began together are spread over it."""
    loop = asyncio.get_running_loop()
    due, pause_s = loop.time(), interval_s * phase
    while True:
        try:
            async with turns:
                await action()
        except LbctlError as error:  # an agent that cannot be asked counts as silent before long
            _log.debug("%s", error)
        except Exception:  # a defect of ours must not silently end the watch over a backend
            _log.exception("a probe failed in a way that it should not")
        due, pause_s = max(due + pause_s, loop.time()), interval_s
        await asyncio.sleep(due - loop.time())


def _phase(label: str) -> float:
    """From 0 to 1, the same for a backend always."""
    return crc32(label.encode()) / (1 << 32)


async def probe_backend(backend: Backend, route: Route, *, before: Outcome | None) -> ProbeResult:
    """Probe a backend once, through each of its VIPs in turn; the first failure decides."""
    first, *others = route.vips
    result = await _probe_vip(first, backend, route, before=before)
    for vip in others:
        if not result.outcome.is_alive:
            return result
        another = await _probe_vip(vip, backend, route, before=before)
        result = result if another.outcome.is_alive else another
    return result


async def _probe_vip(vip: Address, backend: Backend, route: Route, *, before: Outcome | None) -> ProbeResult:
    """Probe a backend once through a VIP; tell a failure together with what the real address answers.

    ``before`` is the outcome of the probe before this one. After a failure the fault is looked for while the probe runs, so
    that this takes no longer than the time-out, and the failure that takes the backend down has its reason. The first
    failure of a healthy one is told as it is; with the very first probe (``None``) there is time to look afterwards.
    """
    target = Target(
        address=vip,
        port=backend.check.port,
        timeout_s=backend.check.timing.timeout_s,
        mark=route.mark,
        source=route.source,
    )
    check = probe_for(backend.check)
    if before is None or before.is_alive:
        result = await check(target)
        if before is not None or result.outcome not in _NEEDING_EXPLANATION:
            return result
        at_vip, at_real = await _knock(backend, target)
    else:
        result, (at_vip, at_real) = await asyncio.gather(check(target), _knock(backend, target))
    return explain(result, at_vip=at_vip, at_real=at_real, backend=backend, vip=vip)


async def _knock(backend: Backend, target: Target) -> tuple[ProbeResult, ProbeResult]:
    """Whether the port opens at the VIP, and whether at the real address."""
    knock = replace(target, timeout_s=min(target.timeout_s, KNOCK_TIMEOUT_S))
    return await asyncio.gather(probe_tcp(knock), probe_tcp(replace(knock, address=backend.address, mark=0)))


def explain(
    failure: ProbeResult, *, at_vip: ProbeResult, at_real: ProbeResult, backend: Backend, vip: Address
) -> ProbeResult:
    """A failure, in the light of whether the port opens at the VIP and at the real address. Other results stay as they
    are. A server that answers there is alive: that the VIP is unreachable may be the director's own fault, and is no evidence
    that its connections are dead."""
    if failure.outcome not in _NEEDING_EXPLANATION or at_vip.outcome.is_alive or not at_real.outcome.is_alive:
        return failure
    where = f"{endpoint(backend.address, backend.check.port)} answers at the real address"
    if at_vip.outcome is Outcome.REFUSED:
        detail = f"VIP refused: {where}, but nothing listens on {vip}; bind the server to all addresses"
    else:
        detail = f"VIP not accepted: {where}, but not for {vip}; put {vip} on the backend's loopback"
    outcome = Outcome.TIMEOUT if failure.outcome is Outcome.UNREACHABLE else failure.outcome
    return replace(failure, outcome=outcome, detail=detail)
