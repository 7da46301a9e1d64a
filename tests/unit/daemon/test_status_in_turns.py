"""A status of thousands of backends takes a while: meanwhile others have their turns, and it is of one moment all the same."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lbctl.config.loader import parse
from lbctl.core.model import Pool
from lbctl.daemon.models import PoolStatus, Status
from lbctl.daemon.reports.pools import PoolReport
from tests.unit.daemon.desk import Desk

POOLS = 20


def declares(pools: int) -> str:
    """As many, each with a service and a backend of its own."""
    vips, servers = IPv4Address("192.0.2.100"), IPv4Address("192.0.2.11")
    services = "".join(f"  s{n}: {{vip: {vips + n}, ports: [104], pool: p{n}}}\n" for n in range(pools))
    checked = "kind: other, check: {type: tcp}"
    members = "".join(f"  p{n}: {{{checked}, backends: {{a: {{address: {servers + n}}}}}}}\n" for n in range(pools))
    return f"interfaces:\n  eth0: {{address: 192.0.2.10/24}}\nservices:\n{services}pools:\n{members}"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, parse(declares(POOLS), source="lbctl.yaml"))


def test_others_have_a_turn_after_each_pool(desk: Desk) -> None:
    async def turns_meanwhile() -> int:
        looking, turns = asyncio.create_task(desk.operator.status()), 0
        while not looking.done():
            await asyncio.sleep(0)
            turns += 1
        assert len(looking.result().pools) == POOLS
        return turns

    assert asyncio.run(turns_meanwhile()) >= POOLS


@pytest.mark.parametrize("changes", [1, 1_000], ids=["once", "always"])
def test_tables_that_change_meanwhile_are_told_of_as_they_are_then(
    desk: Desk, changes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pool of a file that is over."""
    report, left = PoolReport.pool, changes

    def and_meanwhile(self: PoolReport, pool: Pool) -> PoolStatus:
        nonlocal left
        if left:
            left -= 1
            declaration = parse(declares(POOLS - 1 - left % 2), source="lbctl.yaml")
            asyncio.get_running_loop().call_soon(lambda: desk.reconciler.declare(declaration, now=desk.rig.now))
        return report(self, pool)

    monkeypatch.setattr(PoolReport, "pool", and_meanwhile)

    async def look() -> tuple[Status, int]:
        found = await desk.operator.status()
        return found, len(desk.reconciler.declaration.pools)

    found, declared = asyncio.run(look())
    assert len(found.services) == len(found.pools) == declared < POOLS
