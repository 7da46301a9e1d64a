"""What else happens while a change is made, on fakes: nobody takes a file that is only being tried for the one in force."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future, wait
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fastapi.routing import APIRoute

from lbctl.core.features import Features, features_of
from lbctl.core.model import Address, Declaration
from lbctl.core.tables import Lan
from lbctl.core.targets import named
from lbctl.daemon.api import make_api
from lbctl.daemon.changes.history import digest
from lbctl.daemon.models import Status
from lbctl.daemon.operating import Operator
from lbctl.daemon.surroundings import Claims
from lbctl.dataplane.port import IdleLimits
from lbctl.errors import LbctlError, UsageError
from lbctl.network.port import Link, LinkChanged
from tests.unit.daemon.desk import CT
from tests.unit.daemon.office import FIRST, SECOND, Office
from tests.unit.daemon.rig import LAN, LINK, OTHER_VIP, VIP, file

Answer = TypeVar("Answer")
ANOTHER_MAC = replace(LINK, mac=bytes.fromhex("02000000000f"))
PRIVATE = """\
  q:
    kind: archive
    storage: private
    check: {type: tcp}
    backends: {x: {address: 192.0.2.31}, y: {address: 192.0.2.32}}
"""
ETH1 = replace(LINK, ifindex=4, name="eth1", addresses=(IPv4Interface("10.9.0.10/24"),))
CHANGED = LinkChanged(ifindex=LINK.ifindex, link=ANOTHER_MAC)


pytestmark = pytest.mark.usefixtures("short_waits")


def test_mac_that_changes_while_the_compiler_works_for_an_apply_is_not_taken_back(office: Office) -> None:
    """Else the program would leave all frames to the kernel, and no event would ever mend that."""
    specialise = office.dataplane.specialise

    def and_meanwhile(features: Features) -> None:
        office.network.push(CHANGED)
        specialise(features)

    async def scene() -> None:
        office.dataplane.specialise = and_meanwhile  # type: ignore[method-assign]
        office.daemon._specialiser.features = features_of(office.start.declaration)
        await office.apply(FIRST.replace("pool: p}", "pool: p, allow: [192.0.2.0/24]}"))
        assert office.dataplane.specialised
        assert office.dataplane.interfaces[LAN].mac == ANOTHER_MAC.mac
        await office.eventually(lambda: not office.daemon._has_link_news.is_set())
        assert office.dataplane.interfaces[LAN].mac == ANOTHER_MAC.mac

    office.act(scene)


def test_mac_that_an_apply_sees_before_its_event_is_announced(office: Office) -> None:
    """Clients would go on sending to the former one."""
    links, announce = office.surroundings.links, office.network.announce
    looks, announced = 0, set[tuple[bytes, Address]]()

    async def look(declaration: Declaration) -> Mapping[str, Link]:
        nonlocal looks
        looks += 1
        if looks == 2:  # the one that counts
            office.network.push(CHANGED)
        return await links(declaration)

    async def note(link: Link, vip: Address) -> None:
        announced.add((link.mac, vip))
        await announce(link, vip)

    async def scene() -> None:
        office.surroundings.links = look  # type: ignore[method-assign]
        office.network.announce = note  # type: ignore[method-assign]
        await office.apply(FIRST.replace("a: {", "a: {weight: 50, "))
        await office.eventually(lambda: (ANOTHER_MAC.mac, VIP) in announced)

    office.act(scene)


def test_mac_that_changes_on_an_interface_that_an_apply_is_about_to_add_is_not_missed(office: Office) -> None:
    find = office.surroundings.find_duplicates

    async def and_meanwhile(*where: Any) -> Claims:
        office.network.push(LinkChanged(ifindex=ETH1.ifindex, link=replace(ETH1, mac=ANOTHER_MAC.mac)))
        await office.eventually(office.network._queue.empty)  # the event was heard
        return await find(*where)

    async def scene() -> None:
        office.network.links[ETH1.ifindex] = ETH1
        office.surroundings.find_duplicates = and_meanwhile  # type: ignore[assignment,method-assign]
        await office.apply(SECOND.replace("10/24}", "10/24}\n  eth1: {address: 10.9.0.10/24}"))
        await office.eventually(lambda: office.dataplane.interfaces[Lan(ETH1.ifindex)].mac == ANOTHER_MAC.mac)

    office.act(scene)


async def tried(office: Office, text: str, meanwhile: Callable[[], object]) -> None:
    """An apply that comes to nothing; right before that something happens, in another thread."""
    memory = office.daemon.applier._memory

    def refuses(*_: object, **__: object) -> None:
        meanwhile()
        raise LbctlError("the disk is full")

    memory.begin = refuses  # type: ignore[assignment,method-assign]
    with pytest.raises(LbctlError, match="disk is full"):
        await office.apply(text)
    del memory.begin


def test_sweep_while_a_file_is_tried_ends_no_flow_by_its_idle_limits(office: Office) -> None:
    reconciler, meanwhile = office.daemon._reconciler, list[IdleLimits]()

    async def scene() -> None:
        before, shorter = reconciler.idle_limits(), FIRST.replace("pool: p}", "pool: p, idle_timeout: 60s}")
        await tried(office, shorter, lambda: meanwhile.append(reconciler.idle_limits()))
        assert [*meanwhile, reconciler.idle_limits()] == [before, before]
        await office.apply(shorter)
        assert set(reconciler.idle_limits().open_s.values()) == {60}

    office.act(scene)


async def answered(office: Office, text: str, question: Coroutine[Any, Any, Answer]) -> Answer:
    """What is asked while an apply comes to nothing."""
    loop, asked = asyncio.get_running_loop(), list[Future[Answer]]()

    def ask() -> None:
        asked.append(asyncio.run_coroutine_threadsafe(question, loop))
        wait(asked, timeout=0.2)  # unless it waits for the end of the apply, it is answered at once

    await tried(office, text, ask)
    return await asyncio.wrap_future(asked[0])


def test_mac_that_changes_on_an_interface_that_the_file_tried_does_not_have_is_known_afterwards(tmp_path: Path) -> None:
    with_both = SECOND.replace("10/24}", "10/24}\n  eth1: {address: 10.9.0.10/24}")
    office = Office(tmp_path, text=with_both, others=(ETH1,))
    another = LinkChanged(ifindex=ETH1.ifindex, link=replace(ETH1, mac=ANOTHER_MAC.mac))

    async def scene() -> None:
        async def push() -> None:
            office.network.push(another)
            await asyncio.sleep(0)

        await answered(office, SECOND, push())
        await office.eventually(lambda: office.dataplane.interfaces[Lan(ETH1.ifindex)].mac == ANOTHER_MAC.mac)

    office.act(scene)


def test_backend_that_is_waited_for_is_not_told_as_removed_by_a_file_that_is_only_tried(office: Office) -> None:
    async def scene() -> None:
        found = await answered(office, file("a"), office.daemon.operator.target(named("p/b")))
        assert [row.name for row in found.backends] == ["b"]

    office.act(scene)


def test_plan_is_against_what_is_in_force_and_not_against_a_file_that_is_only_tried(office: Office) -> None:
    """An apply of what was planned would be accepted: on top of the same text."""

    async def scene() -> None:
        report = await answered(office, SECOND, office.daemon.planner.plan(SECOND, source="x"))
        assert (report.base, report.is_empty) == (digest(FIRST), False)

    office.act(scene)


async def status_of(office: Office) -> Status:
    """As the API tells it."""
    routes = make_api(office.daemon.operator, office.daemon.audit).routes
    endpoint = next(route.endpoint for route in routes if isinstance(route, APIRoute) and route.path == "/v1/status")
    found = await endpoint()
    assert isinstance(found, Status)
    return found


def test_status_tells_what_is_in_force_and_not_a_file_that_is_only_tried(office: Office) -> None:
    async def scene() -> None:
        found = await answered(office, file("c", vips=(OTHER_VIP,)), status_of(office))
        assert ([service.vip for service in found.services], found.removed) == ([VIP], ())
        assert [backend.name for backend in found.pools[0].backends] == ["a", "b"]

    office.act(scene)


def test_status_does_not_wait_forever_for_a_change_that_hangs(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lbctl.daemon.operating.SETTLED_S", 0.01)

    async def scene() -> None:
        async with office.daemon._changing:
            assert (await status_of(office)).services

    office.act(scene)


WORDS: Mapping[str, Callable[[Operator], Awaitable[str]]] = {
    "activate": lambda operator: operator.activate("p/b"),
    "assign": lambda operator: operator.assign("q", CT, "x"),
    "unassign": lambda operator: operator.unassign("q", CT),
}


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_word_on_what_is_removed_meanwhile_is_refused(
    tmp_path: Path, word: Callable[[Operator], Awaitable[str]]
) -> None:
    """It waits for the change that is under way; then the file that is in force by then counts."""
    with_both = file("a", "b", keys="policy: failover") + PRIVATE
    with_both = with_both.replace("services:\n", "services:\n  t: {vip: 192.0.2.102, ports: [104], pool: q}\n")
    office = Office(tmp_path, text=with_both)

    async def scene() -> None:
        find, asked = office.surroundings.find_duplicates, list[asyncio.Task[str]]()

        async def and_meanwhile(*where: Any) -> Claims:
            asked.append(asyncio.create_task(word(office.daemon.operator)))  # type: ignore[arg-type]
            await asyncio.sleep(0)  # it is asked
            return await find(*where)

        office.surroundings.find_duplicates = and_meanwhile  # type: ignore[method-assign, assignment]
        await office.apply(file("a", "c", keys="policy: failover"))
        with pytest.raises(UsageError):
            await asked[0]

    office.act(scene)
