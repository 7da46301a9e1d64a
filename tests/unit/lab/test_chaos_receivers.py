"""Of two servers that are active one after the other, the first receives nothing more once the second has."""

from __future__ import annotations

import pytest

from lbctl.lab.chaos.chronicle import Chronicle
from lbctl.lab.chaos.ledger import Ledger
from lbctl.lab.chaos.receivers import Answer, Receivers
from lbctl.lab.chaos.world import first_world


def answer(number: int, node: str, asked_s: float, *, service: str = "feed", took_s: float = 0.1) -> Answer:
    return Answer(number=number, service=service, node=node, asked_s=asked_s, answered_s=asked_s + took_s)


def judged(*answers: Answer) -> list[str]:
    receivers = Receivers()
    return [words for each in answers if (words := receivers.answered(each))]


@pytest.mark.parametrize(
    "answers",
    [
        (answer(1, "a", 1), answer(1, "a", 2), answer(2, "b", 3)),
        (answer(1, "a", 1), answer(2, "b", 2), answer(3, "a", 3), answer(3, "a", 4)),
        (answer(1, "a", 1), answer(2, "b", 2, service="other"), answer(1, "a", 3)),
        (answer(1, "a", 1), answer(2, "b", 2), answer(1, "a", 2.05)),
        (answer(1, "a", 1), answer(2, "b", 1.05), answer(1, "a", 3)),
    ],
    ids=["one after the other", "and back", "of another service", "on its way already", "begun at once"],
)
def test_servers_that_receive_one_after_the_other_are_well(answers: tuple[Answer, ...]) -> None:
    assert judged(*answers) == []


def test_server_that_receives_after_another_one_did_is_told() -> None:
    told = judged(answer(1, "a", 1), answer(2, "b", 2), answer(1, "a", 3))
    assert told == ["a received on connection 1 0.900 s after b did"]


def test_server_that_was_active_again_meanwhile_may_not_go_on_with_what_was_before() -> None:
    told = judged(answer(1, "a", 1), answer(2, "b", 2), answer(3, "a", 3), answer(1, "a", 4))
    assert told == ["a received on connection 1 1.900 s after b did"]


def test_connection_that_has_ended_is_forgotten() -> None:
    receivers = Receivers()
    receivers.answered(answer(1, "a", 1))
    receivers.ended(1)
    assert receivers.talks == {}


def test_ledger_tells_of_two_receivers() -> None:
    ledger = Ledger(Chronicle(first_world()))
    for each in (answer(1, "backend2", 1), answer(2, "backend5", 2), answer(1, "backend2", 3)):
        ledger.answered(each)
    assert ledger.breaches == ["backend2 received on connection 1 0.900 s after backend5 did; no step was taken yet"]
