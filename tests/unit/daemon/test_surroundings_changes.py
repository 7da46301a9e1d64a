"""Of neighbours and probe paths only what is not as it was is touched; all of it, where the kernel may have dropped some."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

import pytest

from lbctl.config.loader import parse
from lbctl.core.model import Address, Declaration
from lbctl.daemon.surroundings import Surroundings
from lbctl.errors import LbctlError, NetworkError
from lbctl.network.fake import FakeNetwork
from lbctl.network.port import MARKS, LinkChanged, PathsTouched, ProbePath
from tests.unit.daemon.rig import LINK, declared, file

LINKS = {LINK.name: LINK}
A, B, C = (IPv4Address(f"192.0.2.{last}") for last in (11, 12, 13))
A_FEW_THOUSAND = 8_000


class Telling(FakeNetwork):
    """Notes what it is asked for; fails for whom it ``refuses``."""

    def __init__(self) -> None:
        super().__init__([LINK])
        self.managed_now: list[Address] = []
        self.released_now: list[Address] = []
        self.paths_now: list[tuple[str, int]] = []
        self.refuses: Address | None = None
        self.has_no_time = False

    async def manage_neighbours(self, ifindex: int, addresses: Sequence[Address]) -> None:
        if self.refuses in addresses:
            raise NetworkError("no buffer space available")
        self.managed_now += addresses
        await super().manage_neighbours(ifindex, addresses)

    async def release_neighbours(self, ifindex: int, addresses: Sequence[Address]) -> None:
        self.released_now += addresses
        await super().release_neighbours(ifindex, addresses)

    async def set_probe_paths(self, paths: frozenset[ProbePath]) -> Mapping[int, LbctlError]:
        self.paths_now.append(("all", len(paths)))
        if self.has_no_time:
            raise NetworkError("interrupted")
        return await super().set_probe_paths(paths)

    async def change_probe_paths(
        self, *, before: frozenset[ProbePath], after: frozenset[ProbePath], kept: Collection[int]
    ) -> Mapping[int, LbctlError]:
        self.paths_now.append(("some", len(after)))
        return await super().change_probe_paths(before=before, after=after, kept=kept)

    async def has_probe_paths(self, paths: frozenset[ProbePath], *, up: Collection[int]) -> bool:
        self.paths_now.append(("looked for", len(paths)))
        return await super().has_probe_paths(paths, up=up)

    def forget(self) -> None:
        for told in (self.managed_now, self.released_now, self.paths_now):
            told.clear()


class Scene:
    """Surroundings that were settled for backends a and b."""

    def __init__(self) -> None:
        self.network = Telling()
        self.surroundings = Surroundings(self.network)

    async def settle(self, declaration: Declaration, *, is_known: bool = True, anew: bool = False) -> bool:
        lingering: dict[Address, str] | None = {} if is_known else None
        are_new = await self.surroundings.manage_neighbours(declaration, LINKS, lingering=lingering, anew=anew)
        await self.surroundings.set_probe_paths(declaration, LINKS, anew=anew)
        return are_new


def played(scene: Callable[[Scene], Awaitable[None]]) -> None:
    async def play() -> None:
        made = Scene()
        assert await made.settle(declared("a", "b"))
        assert made.network.managed_now == [A, B] and made.network.paths_now == [("all", 2)]
        made.network.forget()
        await scene(made)

    asyncio.run(play())


def test_settled_again_touches_nothing() -> None:
    async def scene(made: Scene) -> None:
        assert not await made.settle(declared("a", "b weight=10"))
        assert not (made.network.managed_now or made.network.released_now or made.network.paths_now)

    played(scene)


def test_settled_for_another_backend_touches_that_one() -> None:
    async def scene(made: Scene) -> None:
        assert await made.settle(declared("a", "b", "c"))
        assert (made.network.managed_now, made.network.released_now) == ([C], [])
        assert made.network.paths_now[0] == ("some", 1)

    played(scene)


def test_settled_without_a_backend_lets_go_of_that_one() -> None:
    async def scene(made: Scene) -> None:
        assert not await made.settle(declared("a"))
        assert (made.network.managed_now, made.network.released_now) == ([], [B])
        assert set(await made.network.owned_neighbours(LINK.ifindex)) == {A}

    played(scene)


def test_address_of_a_removed_backend_that_another_has_is_kept() -> None:
    async def scene(made: Scene) -> None:
        assert not await made.settle(declared("a", "z address=192.0.2.12"))
        assert (made.network.managed_now, made.network.released_now) == ([], [])

    played(scene)


def test_settled_without_knowing_who_lingers_lets_go_of_nobody_until_that_is_known() -> None:
    async def scene(made: Scene) -> None:
        await made.settle(declared("a"), is_known=False)
        assert not made.network.released_now
        await made.settle(declared("a"))
        assert made.network.released_now == [B]

    played(scene)


def test_settled_anew_touches_all() -> None:
    """The kernel may have dropped entries and routes, as it does when a link goes down."""

    async def scene(made: Scene) -> None:
        assert await made.settle(declared("a", "b"), anew=True)
        assert made.network.managed_now == [A, B] and made.network.paths_now == [("all", 2)]

    played(scene)


def test_interface_made_anew_has_its_neighbours_managed_again() -> None:
    async def scene(made: Scene) -> None:
        link = replace(LINK, ifindex=9)
        made.network.push(LinkChanged(ifindex=link.ifindex, link=link))
        await made.surroundings.manage_neighbours(declared("a", "b"), {link.name: link}, lingering={})
        assert made.network.managed_now == [A, B]

    played(scene)


def test_neighbours_of_an_interface_that_left_the_file_are_let_go_of_also_when_another_changed_meanwhile() -> None:
    other = replace(LINK, ifindex=4, name="eth1", addresses=(IPv4Interface("198.51.100.10/24"),))
    both = parse(
        file("a", "b", "c address=198.51.100.11").replace("10/24}", "10/24}\n  eth1: {address: 198.51.100.10/24}"),
        source="lbctl.yaml",
    )

    async def scene(made: Scene) -> None:
        made.network.push(LinkChanged(ifindex=other.ifindex, link=other))
        await made.surroundings.manage_neighbours(both, {**LINKS, other.name: other}, lingering={})
        assert await made.network.owned_neighbours(other.ifindex)
        await made.settle(declared("a", "b"), anew=True)
        assert not await made.network.owned_neighbours(other.ifindex)

    played(scene)


def renamed(declaration: Declaration, turn: int) -> Declaration:
    """Many backends, all of other names at each turn."""
    (pool,) = declaration.pools
    backends = tuple(replace(pool.backends[0], name=f"{turn}-{number}") for number in range(A_FEW_THOUSAND))
    return replace(declaration, pools=(replace(pool, backends=backends),))


def test_marks_are_not_used_up_by_backends_that_are_gone() -> None:
    async def scene(made: Scene) -> None:
        for turn in range(2 + len(MARKS) // A_FEW_THOUSAND):
            await made.surroundings.set_probe_paths(renamed(declared("a"), turn), LINKS)
        marks = {path.mark for path in made.network.paths}
        assert len(marks) == A_FEW_THOUSAND
        assert all(mark in MARKS for mark in marks)

    played(scene)


def test_backend_for_which_no_mark_is_left_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lbctl.daemon.surroundings.MARKS", MARKS[:2])

    async def scene(made: Scene) -> None:
        with pytest.raises(NetworkError, match="no mark is left for probes of p/c"):
            await made.settle(declared("a", "b", "c"))

    played(scene)


def test_settled_after_a_failure_is_complete() -> None:
    async def scene(made: Scene) -> None:
        made.network.refuses = B
        with pytest.raises(NetworkError):
            await made.settle(declared("a", "b"), anew=True)
        made.network.refuses = None
        made.network.forget()
        await made.settle(declared("a", "b"))
        assert made.network.managed_now == [A, B]

    played(scene)


def test_path_that_somebody_deleted_is_found_missing_once_it_is_told() -> None:
    async def scene(made: Scene) -> None:
        made.network.paths = frozenset(path for path in made.network.paths if path.via != A)
        assert not await made.surroundings.lacks_probe_paths(LINKS)
        for event in (PathsTouched(made.surroundings.mark("p/a")), PathsTouched()):
            made.surroundings.touched(event)
            assert await made.surroundings.lacks_probe_paths(LINKS)
        await made.settle(declared("a", "b"), anew=True)
        made.surroundings.touched(event)
        assert not await made.surroundings.lacks_probe_paths(LINKS)

    played(scene)


def test_paths_are_not_looked_through_for_what_a_change_deleted_itself() -> None:
    """There may be 10,000."""

    async def scene(made: Scene) -> None:
        mark = made.surroundings.mark("p/b")
        await made.settle(declared("a"))
        made.surroundings.touched(PathsTouched(mark))
        made.network.forget()
        assert not await made.surroundings.lacks_probe_paths(LINKS)
        assert not made.network.paths_now

    played(scene)


def test_paths_that_could_not_be_put_back_are_missing_still() -> None:
    async def scene(made: Scene) -> None:
        made.network.paths, made.network.has_no_time = frozenset(), True
        made.surroundings.touched(PathsTouched())
        assert await made.surroundings.lacks_probe_paths(LINKS)
        with pytest.raises(NetworkError):
            await made.settle(declared("a", "b"), anew=True)
        assert await made.surroundings.lacks_probe_paths(LINKS)

    played(scene)


def test_path_that_somebody_deleted_is_found_missing_beside_one_that_is_refused() -> None:
    async def scene(made: Scene) -> None:
        made.network.no_ways.add(B)
        await made.settle(declared("a", "b"), anew=True)
        made.surroundings.touched(PathsTouched(made.surroundings.mark("p/a")))
        assert not await made.surroundings.lacks_probe_paths(LINKS)
        made.network.paths = frozenset()
        made.surroundings.touched(PathsTouched(made.surroundings.mark("p/a")))
        assert await made.surroundings.lacks_probe_paths(LINKS)

    played(scene)
