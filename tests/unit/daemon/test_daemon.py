"""The daemon on fakes: what it does when interfaces change, when a reload fails, when an address is taken."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lbctl.core.tables import Lan
from lbctl.core.targets import named
from lbctl.errors import LbctlError, NetworkError
from lbctl.network.port import LinkChanged, ProbePath
from tests.unit.daemon.rig import LINK, OTHER_VIP, VIP, file
from tests.unit.daemon.stage import Stage

STRANGER = bytes.fromhex("0200000000ff")


@pytest.fixture(autouse=True)
def no_probe_succeeds_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The director's address is nobody's on this machine, so the first verdicts are not worth waiting for."""
    monkeypatch.setattr("lbctl.daemon.daemon.FIRST_VERDICTS_S", 0.05)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_interface_with_unreadable_links_keeps_its_program_and_its_vips(stage: Stage) -> None:
    async def scene() -> None:
        stage.network.trouble = "read the interfaces: Device or resource busy"
        stage.network.push(LinkChanged(ifindex=LINK.ifindex, link=replace(LINK, mtu=9000)))
        await stage.eventually(lambda: stage.status().daemon.last_error is not None)
        assert (set(stage.dataplane.attachments), set(stage.dataplane.vips)) == ({LINK.ifindex}, {VIP})
        stage.network.trouble = ""
        await stage.eventually(lambda: stage.status().daemon.last_error is None)
        assert (set(stage.dataplane.attachments), set(stage.dataplane.vips)) == ({LINK.ifindex}, {VIP})

    asyncio.run(stage.play(scene))


def test_interface_made_anew_is_attached_and_its_vip_announced_again(stage: Stage) -> None:
    async def scene() -> None:
        await stage.eventually(lambda: ("eth0", VIP) in stage.network.announcements)
        stage.network.push(LinkChanged(ifindex=LINK.ifindex, link=None))
        await stage.eventually(lambda: not stage.dataplane.vips)
        stage.network.announcements.clear()
        stage.network.push(LinkChanged(ifindex=7, link=replace(LINK, ifindex=7)))
        await stage.eventually(lambda: stage.dataplane.vips == {VIP: Lan(7)} and 7 in stage.dataplane.attachments)
        await stage.eventually(lambda: ("eth0", VIP) in stage.network.announcements)

    asyncio.run(stage.play(scene))


def test_vip_of_an_interface_that_is_down_waits_for_the_duplicate_address_probe(tmp_path: Path) -> None:
    stage = Stage(tmp_path, link=replace(LINK, is_up=False))

    async def scene() -> None:
        assert not stage.dataplane.vips
        assert stage.status().services[0].state == "unchecked"
        stage.network.duplicates[VIP] = STRANGER
        stage.network.push(LinkChanged(ifindex=LINK.ifindex, link=LINK))
        await stage.eventually(lambda: stage.status().services[0].state == "refused")
        assert not stage.dataplane.vips
        assert not stage.network.announcements

    asyncio.run(stage.play(scene))


def test_reload_that_fails_in_the_network_changes_nothing(stage: Stage) -> None:
    async def scene() -> None:
        before = stage.dataplane.read()
        stage.config.write_text(file("a", "b", "c", vips=(OTHER_VIP,)))
        stage.network.set_probe_paths = _refuse  # type: ignore[method-assign]
        with pytest.raises(LbctlError):
            await stage.daemon.reload()
        assert stage.status().daemon.config_error is not None
        del stage.network.set_probe_paths
        await stage.daemon.operator.drain(named("p/a"))  # whatever comes next is carried out on the old file
        assert set(stage.dataplane.vips) == set(before.vips) == {VIP}
        assert {service.vip for service in stage.status().services} == {VIP}

    asyncio.run(stage.play(scene))


async def _refuse(paths: frozenset[ProbePath]) -> Mapping[int, LbctlError]:
    raise NetworkError("set the policy routes of the probes: Network is down")


def test_reload_that_adds_a_taken_vip_refuses_just_that(stage: Stage) -> None:
    async def scene() -> None:
        stage.network.duplicates[OTHER_VIP] = STRANGER
        stage.config.write_text(file("a", "b", vips=(VIP, OTHER_VIP)))
        await stage.daemon.reload()
        states = {service.vip: service.state for service in stage.status().services}
        assert states == {VIP: "no backend", OTHER_VIP: "refused"}  # nobody listens here
        assert set(stage.dataplane.vips) == {VIP}

    asyncio.run(stage.play(scene))


def test_interface_that_lost_the_declared_address_is_told_and_so_are_the_probes_that_cease(stage: Stage) -> None:
    async def scene() -> None:
        assert stage.status().daemon.warnings == ()
        stage.network.push(LinkChanged(ifindex=LINK.ifindex, link=replace(LINK, addresses=())))
        await stage.eventually(lambda: "no IPv4 address" in "".join(stage.status().daemon.warnings))
        await stage.eventually(
            lambda: all(
                backend.reason.startswith("not probed any more: ") for backend in stage.status().pools[0].backends
            )
        )

    asyncio.run(stage.play(scene))


def test_program_that_somebody_took_off_is_attached_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lbctl.daemon.daemon.RECHECK_INTERVAL_S", 0.05)

    async def scene() -> None:
        stage.dataplane.attachments.clear()
        await stage.eventually(lambda: LINK.ifindex in stage.dataplane.attachments)

    asyncio.run(stage.play(scene))


def test_reload_of_a_pipe_is_refused_at_once(stage: Stage) -> None:
    async def scene() -> None:
        stage.config.unlink()
        os.mkfifo(stage.config)
        with pytest.raises(LbctlError, match="not a regular one"):
            await stage.daemon.reload()

    asyncio.run(stage.play(scene))
