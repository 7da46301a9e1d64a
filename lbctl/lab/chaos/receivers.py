"""Where only one server may receive at a time: what the clients were answered tells whether two did. Pure.

Whatever was done to director and servers: if a server has answered on a connection, and another one then received something,
the first one must not receive anything more on that connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A server had a message: it was sent at one time, and its answer arrived at the other (monotonic seconds)."""

    number: int
    """The connection's."""
    service: str
    node: str
    asked_s: float
    answered_s: float


@dataclass(slots=True, kw_only=True)
class _Talk:
    service: str
    node: str
    began_s: float
    taken_over_s: float | None = None
    """When another server had received something that was sent after this connection's first answer."""
    successor: str = ""


@dataclass(slots=True)
class Receivers:
    """Takes in every answer, in the order in which they arrived; ``heard`` so many."""

    heard: int = 0
    talks: dict[int, _Talk] = field(default_factory=dict)

    def answered(self, answer: Answer) -> str | None:
        """What is wrong about an answer, if anything is."""
        self.heard += 1
        talk = self.talks.setdefault(answer.number, _began(answer))
        for other in self.talks.values():
            _note(other, answer)
        if talk.taken_over_s is None or answer.asked_s <= talk.taken_over_s:
            return None
        late_s = answer.asked_s - talk.taken_over_s
        return f"{talk.node} received on connection {answer.number} {late_s:.3f} s after {talk.successor} did"

    def ended(self, number: int) -> None:
        """A connection is no more."""
        self.talks.pop(number, None)


def _began(answer: Answer) -> _Talk:
    return _Talk(service=answer.service, node=answer.node, began_s=answer.answered_s)


def _note(talk: _Talk, answer: Answer) -> None:
    is_other = talk.service == answer.service and talk.node != answer.node
    if is_other and talk.taken_over_s is None and answer.asked_s > talk.began_s:
        talk.taken_over_s, talk.successor = answer.answered_s, answer.node
