"""Probes that end while a change is made: what one says is of the server that it asked, and of no other of the same name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from lbctl.core.health import Status
from lbctl.core.model import Address, Backend
from lbctl.core.verdict import ProbeResult
from lbctl.daemon import monitor
from lbctl.daemon.monitor import Route
from lbctl.errors import LbctlError
from tests.unit.daemon.office import FIRST, Office
from tests.unit.daemon.rig import HEALTHY, REFUSED

pytestmark = pytest.mark.usefixtures("short_waits")
HERE, THERE = IPv4Address("192.0.2.12"), IPv4Address("192.0.2.99")
MOVED = FIRST.replace(str(HERE), str(THERE))
"""Backend b has another address."""


class Probes:
    """Each waits until its server may answer."""

    def __init__(self, results: dict[Address, ProbeResult]) -> None:
        self._results = results
        self._may_answer = {address: asyncio.Event() for address in results}

    async def probe(self, backend: Backend, route: Route, **_: object) -> ProbeResult:
        if backend.address not in self._results:
            await asyncio.Event().wait()
        await self._may_answer[backend.address].wait()
        self._may_answer[backend.address].clear()
        return self._results[backend.address]

    async def answer(self, address: Address) -> None:
        """The probe that waits ends, and what it found is told."""
        self._may_answer[address].set()
        for _ in range(20):
            await asyncio.sleep(0)


def ends_meanwhile(office: Office, probes: Probes, address: Address, *, change: int) -> None:
    """The probe of this address ends while the probe paths are changed for the so-many-th time."""
    change_paths, left = office.network.change_probe_paths, change

    async def and_meanwhile(**paths: Any) -> Mapping[int, LbctlError]:
        nonlocal left
        left -= 1
        if not left:
            await probes.answer(address)
        return await change_paths(**paths)

    office.network.change_probe_paths = and_meanwhile  # type: ignore[method-assign]


def test_probe_of_the_former_server_says_nothing_of_the_one_that_has_its_name_now(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would have new connections before anybody asked it."""
    probes = Probes({HERE: HEALTHY})
    monkeypatch.setattr(monitor, "probe_backend", probes.probe)

    async def scene() -> None:
        ends_meanwhile(office, probes, HERE, change=1)
        await office.apply(MOVED)
        assert office.daemon._reconciler.observed.members["p/b"].health.status is Status.UNKNOWN

    office.act(scene)


def test_probe_of_a_server_that_was_only_tried_says_nothing_of_the_one_that_has_its_name_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose connections would be reset, should the other one refuse."""
    office = Office(tmp_path, text=FIRST.replace("rise: 2", "rise: 2, fall: 1"))
    probes = Probes({HERE: HEALTHY, THERE: REFUSED})
    monkeypatch.setattr(monitor, "probe_backend", probes.probe)

    async def scene() -> None:
        await probes.answer(HERE)
        ends_meanwhile(office, probes, THERE, change=2)
        (office.state / "history" / "000002.next").mkdir()
        with pytest.raises(LbctlError, match="history cannot be written"):
            await office.apply(office.config.read_text().replace(str(HERE), str(THERE)))
        health = office.daemon._reconciler.observed.members["p/b"].health
        assert (health.status, health.last_result) == (Status.UP, HEALTHY)

    office.act(scene)
