"""Paths for probes that the kernel refuses, on fakes: whoever cannot be reached is told, and nobody else is kept waiting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lbctl.core.model import Backend
from lbctl.core.verdict import ProbeResult
from lbctl.daemon import monitor
from lbctl.errors import NetworkError
from lbctl.network.port import LinkChanged
from tests.unit.daemon.office import FIRST, Office
from tests.unit.daemon.rig import HEALTHY, IFINDEX, LINK, VIP, file

B = IPv4Address("192.0.2.12")


@pytest.fixture(autouse=True)
def probed(monkeypatch: pytest.MonkeyPatch, short_waits: None) -> Iterator[set[str]]:
    """The names of those that were; all are healthy."""
    names = set[str]()

    async def probe(backend: Backend, *_: object, **__: object) -> ProbeResult:
        names.add(backend.name)
        return HEALTHY

    monkeypatch.setattr(monitor, "probe_backend", probe)
    monkeypatch.setattr("lbctl.daemon.daemon.RECHECK_INTERVAL_S", 0.05)
    yield names


@pytest.fixture
def refused(tmp_path: Path) -> Office:
    """No path leads to b."""
    office = Office(tmp_path, text=FIRST)
    office.network.no_ways.add(B)
    return office


def reasons(office: Office) -> dict[str, str]:
    return {backend.name: backend.reason for backend in office.status().pools[0].backends}


def test_start_goes_on_with_those_that_can_be_probed_and_tells_of_the_other(refused: Office, probed: set[str]) -> None:
    async def scene() -> None:
        await refused.eventually(lambda: refused.status().services[0].state == "active")
        assert refused.dataplane.attachments.keys() == {IFINDEX}
        assert reasons(refused)["b"] == f"not probed any more: no way to {B}; before that: not probed yet"
        assert probed == {"a"}

    refused.act(scene)


def test_path_that_was_refused_is_tried_again(refused: Office, probed: set[str]) -> None:
    async def scene() -> None:
        refused.network.no_ways.clear()
        await refused.eventually(lambda: reasons(refused)["b"] == HEALTHY.detail)

    refused.act(scene)


def test_interface_that_changes_is_seen_to_although_a_path_is_refused(refused: Office, probed: set[str]) -> None:
    async def scene() -> None:
        another = replace(LINK, mac=bytes.fromhex("02000000000f"))
        refused.network.announcements.clear()
        refused.network.push(LinkChanged(ifindex=IFINDEX, link=another))
        await refused.eventually(lambda: ("eth0", VIP) in refused.network.announcements)
        assert probed == {"a"}

    refused.act(scene)


def test_change_to_a_backend_that_cannot_be_probed_is_refused(refused: Office, probed: set[str]) -> None:
    async def scene() -> None:
        await refused.apply(file("a"))
        with pytest.raises(NetworkError, match=f"no way to {B}"):
            await refused.apply(FIRST)
        assert [backend.name for backend in refused.status().pools[0].backends] == ["a"]
        await refused.apply(file("a weight=50"))

    refused.act(scene)


def test_change_beside_a_backend_that_could_not_be_probed_before_is_none_of_its_business(refused: Office) -> None:
    async def scene() -> None:
        await refused.apply(file("a weight=50", "b"))
        assert reasons(refused)["b"].startswith("not probed any more")

    refused.act(scene)
