"""What each connection may suffer and what it may not, by the steps that were taken, and a sentence for each that suffered
more. Pure: times are arguments (monotonic seconds).

| a connection to a server that …             | may                                                            |
| ------------------------------------------- | -------------------------------------------------------------- |
| is killed, or whose member is halted        | end, and its client must be told                               |
| is cut off                                  | end; its client must be told if the file has the server still  |
| is active alone, until another one is (by a | end, and its client must be told                               |
| drain, weight 0, an operator's word, …)     |                                                                |
| has a link or a MAC that changes, or the    | wait, but neither end nor lose a byte                          |
| director has                                |                                                                |
| suffers nothing of the kind, whatever       | neither end, nor wait for long, nor reach another server, nor  |
| becomes of the file and the daemon          | lose a byte                                                    |

A new connection must succeed if, at every moment of it, its service accepted in the file before and in the file after
whatever step was under way, and no step touched a server of its pool, or the director's cable, or who is active, or
who holds what its source sends (if that one takes no connections, it must fail). It must reach somebody who takes its
service's connections then: the active one, and the source's own. (It may come from the ports of an earlier one of
which the director does not know that it is over, for only its server said so, past the director: then that one's
server is its, too.) Of two that are to be active one after the other, the first receives nothing more once the second
has received something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lbctl.lab.chaos.chronicle import Chronicle
from lbctl.lab.chaos.licences import Licence, Session, decided, expired, licences
from lbctl.lab.chaos.receivers import Answer, Receivers
from lbctl.lab.chaos.step import Step
from lbctl.lab.chaos.world import FEED, OWN_POOLS, VAULT

USUAL_WAIT_S = 10.0
"""No answer may take longer if nothing happened to the path: the machine may be busy."""
LONGEST_WAIT_S = 35.0
"""Nor longer than this if something did: TCP tries again after twice the time each time."""


class End(StrEnum):
    """How a connection ended, as its client saw it."""

    RETIRED = "retired"
    """By the client, in order."""
    RESET = "reset"
    CLOSED = "closed"
    SILENT = "silent"
    """No answer, and the client gave up."""
    GARBLED = "garbled"
    """Not the bytes that were sent."""
    MOVED = "moved"
    """Another server answered."""


@dataclass(slots=True)
class Ledger:
    """Takes in what was done and what the clients saw."""

    chronicle: Chronicle
    live: dict[int, Session] = field(default_factory=dict)
    licences: list[Licence] = field(default_factory=list)
    receivers: Receivers = field(default_factory=Receivers)
    breaches: list[str] = field(default_factory=list)
    fates: Counter[str] = field(default_factory=Counter)
    visits: Counter[str] = field(default_factory=Counter)
    _labels: dict[int, frozenset[str]] = field(default_factory=dict)
    _opened_s: dict[int, float] = field(default_factory=dict)
    _formers: dict[tuple[str, int], str] = field(default_factory=dict)

    def begin(self, step: Step, *, at_s: float) -> None:
        """A step is about to be taken."""
        self.chronicle.begin(step, at_s=at_s)
        valid = (each for each in self.licences if each.over_s is None or each.over_s >= at_s)
        self.licences = [expired(licence, step, at_s=at_s) for licence in valid] + licences(step, at_s=at_s)

    def look(self, *, actives: Mapping[str, str], holders: Mapping[str, str], at_s: float) -> None:
        """All is as it should be again: the director's tables tell who is active now, and who holds what of which source."""
        self.chronicle.look(actives=actives, holders=holders)
        if self.chronicle.eras:
            step = self.chronicle.eras[-1].step
            self.licences = [decided(licence, step, actives, at_s=at_s) for licence in self.licences]

    def settle(self, *, at_s: float) -> None:
        """And everybody was told who must be."""
        self.chronicle.settle(at_s=at_s)

    def open(self, session: Session, *, at_s: float) -> None:
        """A connection was answered for the first time."""
        self.live[session.number] = session
        self._labels[session.number], self._opened_s[session.number] = self._labels_of(session, at_s), at_s
        self._reached(session, at_s=at_s)

    def answered(self, answer: Answer) -> None:
        """A message was answered by one of whom only one may receive at a time."""
        words = self.receivers.answered(answer)
        if words:
            self.breaches.append(f"{words}; {self.chronicle.now(answer.answered_s)}")

    def end(self, number: int, end: End, *, at_s: float, words: str = "") -> None:
        """A connection is no more."""
        session = self.live.pop(number)
        self.receivers.ended(number)
        if end is End.RETIRED:
            self.fates["kept to their end"] += 1
        elif end not in (End.GARBLED, End.MOVED) and self.licence(session, at_s=at_s):
            self.fates["may end, never told" if end is End.SILENT else "may end, and told"] += 1
        else:
            self.fates["broken"] += 1
            told = f"{self._named(session)} is {end}{words and f': {words}'}"
            self.breaches.append(f"{told}; {self.chronicle.now(at_s)}")

    def licence(self, session: Session, *, at_s: float) -> Licence | None:
        """By what a connection may end now, if by anything."""
        labels = self._labels[session.number]
        return next((each for each in self.licences if each.covers(session, labels, at_s=at_s)), None)

    def untold(self, *, at_s: float) -> tuple[Session, ...]:
        """The connections whose clients must be told, and were not yet."""
        return tuple(session for session in self.live.values() if self._must_be_told(session, at_s))

    def _must_be_told(self, session: Session, at_s: float) -> bool:
        labels = self._labels[session.number]
        fatal = [licence for licence in self.licences if licence.covers(session, labels, at_s=at_s)]
        opened_s = self._opened_s[
            session.number
        ]  # one that was dialled before its server was back, and got through, lives
        ended = [each for each in fatal if each.until_s is None or opened_s <= each.until_s]
        return any(licence.told is None or labels <= licence.told for licence in ended)

    def never_told(self, sessions: Iterable[Session], *, within_s: float, at_s: float) -> None:
        """These clients were not told in time."""
        for session in sessions:
            why = self.licence(session, at_s=at_s)
            told = f"{self._named(session)} was not told within {within_s:g} s that {why.why if why else '?'}"
            self.breaches.append(f"{told}; {self.chronicle.now(at_s)}")

    def waited(self, number: int, *, asked_s: float, answered_s: float) -> None:
        """An answer took long."""
        session = self.live.get(number)
        if session is None:
            return
        took_s = answered_s - asked_s
        allowed_s = (
            LONGEST_WAIT_S if self.chronicle.is_path_touched(session.node, asked_s, answered_s) else USUAL_WAIT_S
        )
        if took_s > allowed_s:
            told = f"{self._named(session)} waited {took_s:.1f} s for an answer"
            self.breaches.append(f"{told}; {self.chronicle.now(answered_s)}")

    def visited(self, visit: Session, *, ended_s: float, fault: str) -> None:
        """A new connection was tried; ``fault`` is empty if it was answered."""
        self.receivers.ended(visit.number)
        if not fault:
            self.visits["succeeded"] += 1
            self._reached(visit, at_s=ended_s)
        elif not self.chronicle.must_accept(visit.service, visit.source, visit.dialled_s, ended_s):
            self.visits["failed, and might"] += 1
        else:
            self.visits["failed"] += 1
            told = f"{_tried(visit)} failed after {ended_s - visit.dialled_s:.1f} s ({fault})"
            self.breaches.append(f"{told} though a server was there; {self.chronicle.now(ended_s)}")

    def _reached(self, session: Session, *, at_s: float) -> None:
        """A new connection was answered: by whom it should?"""
        service, source, dialled_s = session.service, session.source, session.dialled_s
        allowed = self.chronicle.reachable(service, source, dialled_s, at_s)
        former, has_own = self._formers.get((service, session.port)), OWN_POOLS.get(service) in (FEED, VAULT)
        self._formers[service, session.port] = session.node
        if session.node not in allowed and session.port and session.node == former and not has_own:
            self.visits["by the ports of another"] += 1
        elif session.node not in allowed:
            right = " or ".join(sorted(allowed)) or "nobody"
            told = f"{_tried(session)} was answered by {session.node}, not by {right}"
            self.breaches.append(f"{told}; {self.chronicle.now(at_s)}")
        self.chronicle.learn(service, source, session.node, since_s=dialled_s, until_s=at_s)

    def _labels_of(self, session: Session, until_s: float) -> frozenset[str]:
        """By which members it may have come to its server: one, unless the file was being changed."""
        return frozenset(
            f"{pool}/{name}"
            for world in self.chronicle.worlds(session.dialled_s, until_s)
            for pool, name, member in world.members()
            if member.node == session.node
            and session.service in world.services
            and world.services[session.service].pool == pool
        )

    def _named(self, session: Session) -> str:
        labels = " or ".join(sorted(self._labels[session.number]))
        return f"connection {session.number} to {session.service} ({session.node}, as {labels})"


def _tried(visit: Session) -> str:
    return f"a new connection to {visit.service}" + (f" by {visit.source}" if visit.source else "")
