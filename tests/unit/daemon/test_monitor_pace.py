"""When the monitor probes whom: few at once, thousands spread over the interval, not all at a time. The clock is the test's."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from ipaddress import IPv4Address

import pytest

from lbctl.core.model import Backend, CheckTiming, Declaration, Pool, PoolKind, TcpCheck
from lbctl.core.verdict import ProbeResult
from lbctl.daemon import monitor
from lbctl.daemon.monitor import AT_ONCE, Monitor, Route
from lbctl.daemon.surroundings import Surroundings
from lbctl.network.fake import FakeNetwork
from tests.unit.daemon.hurried import Hurried
from tests.unit.daemon.rig import HEALTHY, VIP

INTERVAL_S = 60.0
MANY = 3_000


def declared(count: int) -> Declaration:
    check = TcpCheck(port=104, timing=CheckTiming(interval_s=INTERVAL_S))
    backends = tuple(
        Backend(pool="p", name=f"b{n}", address=IPv4Address("10.1.0.0") + n, interface="eth0", weight=100, check=check)
        for n in range(count)
    )
    pool = Pool(name="p", kind=PoolKind.OTHER, storage=None, backends=backends)
    return Declaration(interfaces=(), services=(), pools=(pool,))


class Probes:
    """What took the place of the probe. Each takes so long; those that a test holds up, for ever."""

    def __init__(self, *, takes_s: float) -> None:
        self.takes_s = takes_s
        self.begun: Mapping[str, list[float]] = defaultdict(list)
        self.under_way = self.most = 0

    async def __call__(self, backend: Backend, *_: object, **__: object) -> ProbeResult:
        self.begun[backend.label].append(asyncio.get_running_loop().time())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(self.takes_s)
        self.under_way -= 1
        return HEALTHY


def watched(count: int, *, takes_s: float, for_s: float, monkeypatch: pytest.MonkeyPatch) -> Probes:
    """So many backends are watched for so long."""
    probes, declaration = Probes(takes_s=takes_s), declared(count)
    monkeypatch.setattr(monitor, "probe_backend", probes)
    routes = {backend.label: Route(vips=(VIP,), mark=1, source=None) for backend in declaration.backends()}

    async def watch() -> None:
        watching = Monitor(
            on_probe=lambda *_: None,
            on_agent=lambda *_: None,
            on_fault=lambda *_: None,
            require_ways=Surroundings(FakeNetwork()).require_ways,
        )
        watching.watch(declaration, routes)
        await asyncio.sleep(for_s)
        await watching.close()

    with asyncio.Runner(loop_factory=Hurried) as runner:
        runner.run(watch())
    return probes


def test_monitor_few_backends_are_all_probed_at_once_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = watched(3, takes_s=1.0, for_s=0.5, monkeypatch=monkeypatch)
    assert list(probes.begun.values()) == [[0.0]] * 3


def test_monitor_probes_at_a_fixed_rate_after_a_first_part_of_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    for times in watched(3, takes_s=1.0, for_s=5 * INTERVAL_S, monkeypatch=monkeypatch).begun.values():
        first, second, *others = times
        assert first <= second <= first + INTERVAL_S
        assert others == pytest.approx([second + INTERVAL_S * (1 + n) for n in range(len(others))])


def test_monitor_thousands_are_spread_over_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = watched(MANY, takes_s=0.001, for_s=2.5 * INTERVAL_S, monkeypatch=monkeypatch)
    assert all(times[0] < 1.0 for times in probes.begun.values())
    tenths = [0] * 10
    for times in probes.begun.values():
        tenths[int(times[1] / INTERVAL_S * 10) % 10] += 1
    assert max(tenths) < 1.3 * MANY / 10 and min(tenths) > 0.7 * MANY / 10, tenths


def test_monitor_no_more_than_so_many_probes_are_under_way_and_nobody_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probes = watched(MANY, takes_s=1.0, for_s=MANY / AT_ONCE + 0.5, monkeypatch=monkeypatch)
    assert probes.most == AT_ONCE
    assert len(probes.begun) == MANY


def test_monitor_a_hundred_that_hang_delay_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than the most that may be under way."""

    class Hanging(Probes):
        async def __call__(self, backend: Backend, *others: object, **more: object) -> ProbeResult:
            if int(backend.name[1:]) < 100:
                await asyncio.sleep(1000 * INTERVAL_S)
            return await super().__call__(backend, *others, **more)

    monkeypatch.setattr("tests.unit.daemon.test_monitor_pace.Probes", Hanging)
    probes = watched(300, takes_s=0.001, for_s=0.5, monkeypatch=monkeypatch)
    assert len(probes.begun) == 200
