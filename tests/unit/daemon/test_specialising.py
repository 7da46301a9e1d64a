"""The program has the parts that are declared: more before a reload is carried out, fewer after it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lbctl.core.features import Features
from lbctl.core.tables import BackendState
from lbctl.errors import NetworkError
from tests.unit.daemon.rig import LAN, LINK, VIP
from tests.unit.daemon.stage import Stage
from tests.unit.daemon.test_families import MACS, TEXT, VIP6, VLAN20

NOTHING = Features(**dict.fromkeys(("ipv6", "lans", "sources", "limits", "private"), False))
ONLY_FOUR = """\
interfaces:
  eth0: {address: 192.0.2.10/24}
services:
  four: {vip: 192.0.2.100, ports: [104], pool: p4}
pools:
  p4: {kind: other, check: {type: tcp}, backends: {a: {address: 192.0.2.11}}}
"""


@pytest.fixture(autouse=True)
def no_probe_succeeds_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lbctl.daemon.daemon.FIRST_VERDICTS_S", 0.05)


def test_program_is_specialised_before_the_first_write_of_a_reload(tmp_path: Path) -> None:
    stage = Stage(tmp_path, others=(VLAN20,), macs=MACS, text=ONLY_FOUR, features=NOTHING)

    async def scene() -> None:
        assert stage.dataplane.specialised == []
        stage.config.write_text(TEXT)
        await stage.daemon.reload()
        (features,) = stage.dataplane.specialised
        assert features == replace(NOTHING, ipv6=True, lans=True)
        assert VIP6 in stage.dataplane.vips
        stage.config.write_text(ONLY_FOUR)
        await stage.daemon.reload()  # what is taken out of the file is still in the tables
        assert stage.dataplane.specialised == [features]

    asyncio.run(stage.play(scene))


def test_program_is_reduced_once_nothing_needs_the_rest(tmp_path: Path) -> None:
    stage = Stage(tmp_path, macs=MACS, text=ONLY_FOUR, features=Features())

    async def scene() -> None:
        assert stage.dataplane.specialised == []
        await stage.daemon.reload()
        assert stage.dataplane.specialised == [NOTHING]

    asyncio.run(stage.play(scene))


def test_backend_that_dies_while_the_program_is_compiled_is_replaced_at_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, others=(VLAN20,), macs=MACS, text=ONLY_FOUR, features=NOTHING)
    is_compiled = threading.Event()

    def compile_slowly(features: Features) -> None:
        assert is_compiled.wait(30)

    async def scene() -> None:
        stage.dataplane.specialise = compile_slowly  # type: ignore[method-assign]
        stage.config.write_text(TEXT)
        reloading = asyncio.create_task(stage.daemon.reload())
        try:
            stage.network.move_neighbour(LINK.ifindex, IPv4Address("192.0.2.11"), None)
            (backend,) = stage.dataplane.backends
            await stage.eventually(lambda: stage.dataplane.backends[backend].mac is not None)
            await stage.eventually(lambda: stage.status().pools[0].backends[0].state == "unresolved")
            await stage.eventually(lambda: stage.dataplane.backends[backend].state is BackendState.DOWN)
            assert not reloading.done()
        finally:
            is_compiled.set()
        await reloading
        assert VIP6 in stage.dataplane.vips

    asyncio.run(stage.play(scene))


def test_program_that_cannot_be_specialised_leaves_all_as_it_was(tmp_path: Path) -> None:
    stage = Stage(tmp_path, others=(VLAN20,), macs=MACS, text=ONLY_FOUR, features=NOTHING)

    def refuse(features: Features) -> None:
        raise NetworkError("the verifier refuses")

    async def scene() -> None:
        stage.dataplane.specialise = refuse  # type: ignore[method-assign]
        stage.config.write_text(TEXT)
        with pytest.raises(NetworkError, match="verifier"):
            await stage.daemon.reload()
        assert stage.dataplane.vips == {VIP: LAN}
        assert [each.name for each in stage.status().services] == ["four"]

    asyncio.run(stage.play(scene))
