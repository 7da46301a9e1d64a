"""Whom the watch asks in which round when there are many, over a packet socket that is only written to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface

import pytest

from lbctl.core.model import Address
from lbctl.network import arp, watch
from lbctl.network.port import Link

OWN, THEIRS = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
LINK = Link(ifindex=2, name="eth0", mac=OWN, addresses=(IPv4Interface("10.0.0.1/8"),), is_up=True, mtu=1500)
SHORT_S = 0.001
MANY = 1_000


class Wire:
    """In place of the packet socket: whoever is not in ``silent`` answers before the next round."""

    def __init__(self) -> None:
        self.asked: list[Address] = []
        self.silent: set[Address] = set()
        self._answers: list[bytes] = []

    def send(self, frame: bytes) -> None:
        question = arp.parse(frame)
        assert question is not None
        self.asked.append(question.target)
        if question.target not in self.silent:
            answer = arp.ArpPacket(
                operation=arp.REPLY, sender_mac=THEIRS, sender=question.target, target=question.sender
            )
            self._answers.append(arp.build(answer))

    def recv(self, _: int) -> bytes:
        if not self._answers:
            raise BlockingIOError
        return self._answers.pop(0)

    def setsockopt(self, *_: int) -> None: ...

    def close(self) -> None: ...


class Rounds:
    """A watch over neighbours 10.1.0.0 and on. ``by_round`` has whom it asked in each of so many rounds."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.silent: list[Address] = []
        self.by_round: list[list[Address]] = []

    async def play(self, neighbours: int, *, rounds: int) -> None:
        watching = watch.NeighbourWatch(
            link=lambda: LINK, interval_s=SHORT_S, on_silence=self._fell_silent, on_news=self._nothing
        )
        for number in range(neighbours):
            watching.add(IPv4Address("10.1.0.0") + number)
        while len(self.by_round) < rounds:
            await asyncio.sleep(SHORT_S)
            if self.wire.asked:
                self.by_round.append(self.wire.asked[:])
                self.wire.asked.clear()
        await watching.close()

    async def _fell_silent(self, address: Address) -> None:
        self.silent.append(address)

    async def _nothing(self, *_: object) -> None: ...


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rounds]:
    wire = Wire()
    monkeypatch.setattr(watch, "open_socket", lambda *_, **__: wire)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_reader", lambda *_: None)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "remove_reader", lambda *_: None)
    yield Rounds(wire)


def test_neighbours_that_are_few_are_all_asked_in_every_round(rounds: Rounds) -> None:
    asyncio.run(rounds.play(watch.AT_ONCE, rounds=4))
    assert all(len(set(asked)) == watch.AT_ONCE for asked in rounds.by_round)


def test_neighbours_that_are_many_take_turns_and_nobody_is_left_out(rounds: Rounds) -> None:
    asyncio.run(rounds.play(MANY, rounds=8))
    assert max(map(len, rounds.by_round)) <= watch.AT_ONCE * 2, "more than those of two rounds between two looks"
    asked = Counter(address for each in rounds.by_round for address in each)
    assert len(asked) == MANY
    assert max(asked.values()) - min(asked.values()) <= 1
    assert not rounds.silent


def test_neighbour_that_owes_an_answer_is_asked_in_every_round_among_thousands(rounds: Rounds) -> None:
    dead = IPv4Address("10.1.0.7")
    rounds.wire.silent = {dead}
    asyncio.run(rounds.play(MANY, rounds=14))
    missed = [number for number, asked in enumerate(rounds.by_round[:2]) if dead not in asked]
    assert not missed, "it was asked as seldom as those who answer"
    assert rounds.silent == [dead]


def test_neighbours_that_are_dead_by_the_hundred_do_not_keep_the_others_from_being_asked(rounds: Rounds) -> None:
    everybody = [IPv4Address("10.1.0.0") + number for number in range(MANY)]
    rounds.wire.silent = set(everybody[:500])
    asyncio.run(rounds.play(MANY, rounds=16))
    asked = {address for each in rounds.by_round for address in each}
    assert asked == set(everybody)
