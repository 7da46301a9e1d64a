"""Acting on news: at once, then a rest in which more of them become one. The clock is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from lbctl.daemon.pacing import REST, REST_AT_MOST_S, RETRY_S, whenever
from lbctl.errors import KernelError, LbctlError
from tests.unit.daemon.hurried import Hurried


class Worker:
    """Acts on news, which takes so long each time. ``began`` has when, ``faults`` what failed."""

    def __init__(self, loop: Hurried, *, takes_s: float, failures: int = 0) -> None:
        self.loop, self.takes_s, self.failures = loop, takes_s, failures
        self.news, self.changing = asyncio.Event(), asyncio.Lock()
        self.began: list[float] = []
        self.faults: list[LbctlError] = []

    async def act(self) -> None:
        assert self.changing.locked()
        self.began.append(self.loop.time())
        self.loop.skip(self.takes_s)
        if len(self.began) <= self.failures:
            raise KernelError("the map is full")

    async def play(self, scene: Callable[[Worker], Awaitable[None]]) -> None:
        working = asyncio.create_task(whenever(self.news, self.act, changing=self.changing, failed=self.faults.append))
        await asyncio.sleep(0)
        await scene(self)
        await asyncio.sleep(10)
        working.cancel()


def played(scene: Callable[[Worker], Awaitable[None]], *, takes_s: float, failures: int = 0) -> Worker:
    """The worker after a scene, and after it had time for all of it."""
    loop = Hurried()

    async def play() -> Worker:
        worker = Worker(loop, takes_s=takes_s, failures=failures)
        await worker.play(scene)
        return worker

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(play())


async def one_then_many(worker: Worker) -> None:
    worker.news.set()
    await asyncio.sleep(0.001)
    for _ in range(20):
        worker.news.set()
        await asyncio.sleep(0.001)


def test_first_news_are_acted_on_at_once_and_those_in_the_rest_become_one() -> None:
    worker = played(one_then_many, takes_s=0.1)
    assert worker.began == pytest.approx([0.0, 0.1 + REST * 0.1])


def test_rest_is_short_where_acting_is() -> None:
    """As with a few backends: what matters does not wait for it."""
    worker = played(one_then_many, takes_s=0.001)
    assert len(worker.began) >= 4
    assert max(b - a for a, b in zip(worker.began, worker.began[1:], strict=False)) < 0.01


def test_rest_is_never_long() -> None:
    worker = played(one_then_many, takes_s=3.0)
    assert worker.began == pytest.approx([0.0, 3.0 + REST_AT_MOST_S])


def test_rest_is_not_in_the_way_of_whoever_changes_something() -> None:
    """An operator's word, or a new configuration, is carried out meanwhile."""
    waited: list[float] = []

    async def scene(worker: Worker) -> None:
        worker.news.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert worker.began
        before = worker.loop.time()
        async with worker.changing:
            waited.append(worker.loop.time() - before)

    played(scene, takes_s=0.1)
    assert waited == [0.0]


def test_failure_is_told_and_tried_again_until_it_succeeds() -> None:
    async def scene(worker: Worker) -> None:
        worker.news.set()

    worker = played(scene, takes_s=0.0, failures=2)
    assert worker.began == pytest.approx([0.0, RETRY_S, 2 * RETRY_S])
    assert [fault.message for fault in worker.faults] == ["the map is full"] * 2
