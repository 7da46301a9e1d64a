"""What each connection may suffer and what it may not, by the steps that were taken, and a sentence for each that suffered
more. Pure: times are arguments (monotonic seconds).

| a connection to a server that …             | may                                                            |
| ------------------------------------------- | -------------------------------------------------------------- |
| is killed, or whose member is halted        | end, and its client must be told                               |
| is cut off                                  | end; its client must be told if the file has the server still  |
| has a link or a MAC that changes, or the    | wait, but neither end nor lose a byte                          |
| director has                                |                                                                |
| suffers nothing of the kind, whatever       | neither end, nor wait for long, nor reach another server, nor  |
| becomes of the file and the daemon          | lose a byte                                                    |

A new connection must succeed if, at every moment of it, its service accepted in the file before and in the file after whatever
step was under way, and no step touched a server of its pool, or the director's cable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from lbctl.lab.chaos.steps import OF_DIRECTORS_PATH, OF_SERVERS, Kind, Step
from lbctl.lab.chaos.world import World

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A connection that is held. ``dialled_s`` is its SYN, ``node`` who answers."""

    number: int
    service: str
    node: str
    dialled_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """Connections to ``node`` (by a member's label of ``labels``, or by any) that were dialled before ``until_s`` may end from
    ``since_s`` on. ``told``: the labels by which their clients must be told; ``None``: by all."""

    node: str
    why: str
    since_s: float
    until_s: float | None = None
    labels: frozenset[str] | None = None
    told: frozenset[str] | None = frozenset()

    def covers(self, session: Session, labels: frozenset[str], *, at_s: float) -> bool:
        """Whether such a connection, by one of these labels, may end now."""
        is_its = session.node == self.node and (self.labels is None or bool(self.labels & labels))
        return is_its and at_s >= self.since_s and (self.until_s is None or session.dialled_s <= self.until_s)


@dataclass(slots=True, kw_only=True)
class Era:
    """A step under way, until everything has settled."""

    step: Step
    began_s: float
    settled_s: float | None = None

    def overlaps(self, since_s: float, until_s: float) -> bool:
        """Whether it was under way at any moment of a time."""
        return self.began_s <= until_s and (self.settled_s is None or since_s <= self.settled_s)


@dataclass(slots=True)
class Ledger:
    """Takes in what was done and what the clients saw."""

    world: World
    live: dict[int, Session] = field(default_factory=dict)
    eras: list[Era] = field(default_factory=list)
    licences: list[Licence] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    fates: Counter[str] = field(default_factory=Counter)
    visits: Counter[str] = field(default_factory=Counter)
    _labels: dict[int, frozenset[str]] = field(default_factory=dict)
    _opened_s: dict[int, float] = field(default_factory=dict)

    def begin(self, step: Step, *, at_s: float) -> None:
        """A step is about to be taken."""
        self.eras.append(Era(step=step, began_s=at_s))
        self.licences = [_expired(licence, step, at_s) for licence in self.licences] + licences(step, at_s=at_s)

    def settle(self, *, at_s: float) -> None:
        """It was taken, and everything is as it should be again."""
        era = self.eras[-1]
        era.settled_s, self.world = at_s, era.step.after

    def open(self, session: Session, *, at_s: float) -> None:
        """A connection was answered for the first time."""
        self.live[session.number] = session
        self._labels[session.number], self._opened_s[session.number] = self._labels_of(session, at_s), at_s

    def end(self, number: int, end: End, *, at_s: float, words: str = "") -> None:
        """A connection is no more."""
        session = self.live.pop(number)
        if end is End.RETIRED:
            self.fates["kept to their end"] += 1
        elif end not in (End.GARBLED, End.MOVED) and self.licence(session, at_s=at_s):
            self.fates["may end, never told" if end is End.SILENT else "may end, and told"] += 1
        else:
            self.fates["broken"] += 1
            self.breaches.append(f"{self._named(session)} is {end}{words and f': {words}'}; {self._now(at_s)}")

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
            self.breaches.append(f"{told}; {self._now(at_s)}")

    def waited(self, number: int, *, asked_s: float, answered_s: float) -> None:
        """An answer took long."""
        session = self.live.get(number)
        if session is None:
            return
        took_s = answered_s - asked_s
        allowed_s = LONGEST_WAIT_S if self._is_path_touched(session.node, asked_s, answered_s) else USUAL_WAIT_S
        if took_s > allowed_s:
            told = f"{self._named(session)} waited {took_s:.1f} s for an answer"
            self.breaches.append(f"{told}; {self._now(answered_s)}")

    def visited(self, service: str, *, dialled_s: float, ended_s: float, fault: str) -> None:
        """A new connection was tried; ``fault`` is empty if it was answered."""
        if not fault:
            self.visits["succeeded"] += 1
        elif not self.must_accept(service, dialled_s, ended_s):
            self.visits["failed, and might"] += 1
        else:
            self.visits["failed"] += 1
            told = f"a new connection to {service} failed after {ended_s - dialled_s:.1f} s ({fault})"
            self.breaches.append(f"{told} though a server was there; {self._now(ended_s)}")

    def must_accept(self, service: str, since_s: float, until_s: float) -> bool:
        """Whether a new connection that took from then to then had to succeed."""
        eras = list(self._eras(since_s, until_s))
        if any(_disturbs_dialling(era.step, service) for era in eras):
            return False
        return all(world.accepts(service) for world in self._worlds(since_s, until_s))

    def _is_path_touched(self, node: str, since_s: float, until_s: float) -> bool:
        return any(_touches_path(era.step, node) for era in self._eras(since_s, until_s))

    def _eras(self, since_s: float, until_s: float) -> Iterator[Era]:
        return (era for era in self.eras if era.overlaps(since_s, until_s))

    def _worlds(self, since_s: float, until_s: float) -> Iterator[World]:
        """Every world that there was at some moment of that time."""
        steps = [era.step for era in self._eras(since_s, until_s)]
        for step in steps:
            yield from (step.before, step.between or step.after, step.after)
        if not steps:
            yield next((era.step.before for era in self.eras if era.began_s > until_s), self.world)

    def _labels_of(self, session: Session, until_s: float) -> frozenset[str]:
        """By which members it may have come to its server: one, unless the file was being changed."""
        return frozenset(
            f"{pool}/{name}"
            for world in self._worlds(session.dialled_s, until_s)
            for pool, name, member in world.members()
            if member.node == session.node
            and session.service in world.services
            and world.services[session.service].pool == pool
        )

    def _named(self, session: Session) -> str:
        labels = " or ".join(sorted(self._labels[session.number]))
        return f"connection {session.number} to {session.service} ({session.node}, as {labels})"

    def _now(self, at_s: float) -> str:
        era = next((era for era in reversed(self.eras) if era.began_s <= at_s), None)
        if era is None:
            return "no step was taken yet"
        return f"{at_s - era.began_s:.1f} s into {era.step}"


def licences(step: Step, *, at_s: float) -> list[Licence]:
    """What a step allows to end."""
    node = step.node
    if step.kind is Kind.SERVER_KILLED:
        return [Licence(node=node, why=f"{node} was killed", since_s=at_s, told=None)]
    if step.kind is Kind.SERVER_CUT:
        declared = frozenset(f"{pool}/{name}" for pool, name, member in step.before.members() if member.node == node)
        return [Licence(node=node, why=f"{node} was cut off", since_s=at_s, told=declared)]
    if step.kind is Kind.HALT:
        label = frozenset({step.label})
        return [Licence(node=node, why=f"{step.label} was halted", since_s=at_s, labels=label, told=label)]
    return []


def _expired(licence: Licence, step: Step, at_s: float) -> Licence:
    """Connections that are dialled from now on are protected again, if this step makes the server whole."""
    if licence.until_s is not None or licence.node != step.node:
        return licence
    is_over = step.kind is (Kind.SERVER_BACK if licence.labels is None else Kind.ENABLE)
    is_its = licence.labels is None or step.label in licence.labels
    return replace(licence, until_s=at_s) if is_over and is_its else licence


def _disturbs_dialling(step: Step, service: str) -> bool:
    """Whether a new connection may fail meanwhile."""
    if step.kind in OF_DIRECTORS_PATH:
        return True
    if step.kind not in OF_SERVERS | {Kind.HALT} or step.kind in (Kind.SERVER_MAC, Kind.SERVER_MAC_SILENT):
        return False
    rows = (world.services.get(service) for world in (step.before, step.after))
    pools = {row.pool for row in rows if row}
    return any(member.node == step.node and pool in pools for pool, _, member in step.before.members())


def _touches_path(step: Step, node: str) -> bool:
    """Whether an answer may take longer meanwhile."""
    if step.kind in OF_DIRECTORS_PATH | {Kind.DIRECTOR_MAC}:
        return True
    return step.kind in OF_SERVERS and step.node == node
