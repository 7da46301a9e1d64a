"""`KernelNetwork` against a real kernel: policy routes of the probes to hundreds of backends, of which some may be refused."""

from __future__ import annotations

import asyncio
import ctypes
import platform
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from lbctl.errors import SystemRequirementError
from lbctl.network.kernel import KernelNetwork
from lbctl.network.policy import Rule, decode_rule
from lbctl.network.port import ProbePath
from tests.netns.network_rig import (
    Director,
    Family,
    address,
    counts,
    director,
    family,
    hosts,
    peer,
    started,
    stopped,
    subscribed_to_routes,
)
from tests.netns.ns_helpers import Host

__all__ = ["address", "director", "family", "hosts", "peer"]  # fixtures

MANY = 250
_SYS_SETRESUID = {"x86_64": 117, "aarch64": 147}[platform.machine()]
_NOBODY = 65_534


def many_paths(director: Director, address: str, family: Family, *, count: int = MANY) -> list[ProbePath]:
    """More than one system call takes."""
    return [director.path(mark, address, family.vip) for mark in range(1, count + 1)]


def test_probe_paths_by_the_hundred_are_set_found_again_and_removed(
    director: Director, address: str, family: Family
) -> None:
    paths = many_paths(director, address, family)
    director.set_paths(*paths)
    assert counts(director, family) == (MANY, 2 * MANY)
    second = started(director.host)
    try:
        with closing(director.host.call(subscribed_to_routes)) as listener:
            second.set_paths(*paths)
            director.host.run("ip route add 198.51.100.0/24 via 10.77.0.2")
            assert bytes([198, 51, 100, 0]) in listener.recv(4096), "nothing of it is written anew"
        second.set_paths(paths[-1])
        assert counts(second, family) == (1, 2)
    finally:
        stopped(second)


def test_probe_path_that_is_refused_among_hundreds_is_named_and_keeps_none_back(
    director: Director, hosts: tuple[Host, ...], address: str, family: Family
) -> None:
    wrong = replace(director.path(MANY + 1, family.of(hosts[2]), family.vip), ifindex=4711)
    refused = director.set_paths(*many_paths(director, address, family), wrong)
    said = f"cannot set the route to {family.vip} via {wrong.via} of the probes: No such device"
    assert {mark: error.message for mark, error in refused.items()} == {wrong.mark: said}
    assert counts(director, family) == (MANY, 2 * MANY + 1), "all but that one, which is unreachable"
    assert director.set_paths(*many_paths(director, address, family)) == {}
    assert counts(director, family) == (MANY, 2 * MANY)


def test_probe_path_that_was_missed_while_somebody_else_deleted_a_rule_is_not_there_twice(
    director: Director, address: str, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel goes on with its dump by the number of rules that it told."""
    ip, paths = f"ip {family.option}", many_paths(director, address, family, count=1_000)
    before = director.host.run(f"{ip} rule")
    director.host.run(f"{ip} rule add fwmark 0x33 table 100 priority 90")
    director.set_paths(*paths)
    read = list[Rule | None]()

    def and_meanwhile(told: bytes) -> Rule | None:
        if not read:
            director.host.run(f"{ip} rule del priority 90")
        read.append(decode_rule(told))
        return read[-1]

    monkeypatch.setattr("lbctl.network.paths.decode_rule", and_meanwhile)
    director.set_paths(*paths)
    assert sum(1 for rule in read if rule and rule.table) == len(paths) - 1, "one was missed"
    assert counts(director, family)[0] == len(paths)
    director.set_paths()
    assert director.host.run(f"{ip} rule") == before


def test_loop_turns_while_hundreds_of_probe_paths_are_set(director: Director, address: str, family: Family) -> None:
    async def turns_while(work: Coroutine[Any, Any, object]) -> int:
        task, turns = asyncio.create_task(work), 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        await task
        return turns

    paths = frozenset(many_paths(director, address, family))
    turns = director.loop.run(turns_while(director.network.set_probe_paths(paths)))
    assert turns >= 2 * MANY // 100, "one at least for each hundred of the routes"


def test_probe_paths_without_permission_are_refused_in_words(director: Director, address: str, family: Family) -> None:
    def set_as_nobody() -> None:
        assert ctypes.CDLL(None).syscall(_SYS_SETRESUID, *3 * [_NOBODY]) == 0  # of this thread alone
        asyncio.run(KernelNetwork().set_probe_paths(frozenset(many_paths(director, address, family))))

    with pytest.raises(SystemRequirementError, match="Operation not permitted") as caught:
        director.host.call(set_as_nobody)
    assert "CAP_NET_ADMIN" in str(caught.value.hint)
    assert counts(director, family) == (0, 0)
