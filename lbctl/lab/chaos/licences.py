"""Which connections a step allows to end, and whose clients must be told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from lbctl.lab.chaos.step import Kind, Step
from lbctl.lab.chaos.succession import may_switch

_ON_ITS_WAY_S = 5.0
"""A client learns a little later what was done to its connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A connection. ``dialled_s`` is its SYN, ``node`` who answers, ``source`` who it comes from, if that matters, and
    ``port`` the client's, 0 if it got none."""

    number: int
    service: str
    node: str
    dialled_s: float
    source: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """Connections to ``node`` (by a member's label of ``labels``, or by any) that were dialled before ``until_s`` may end from
    ``since_s`` on, and before ``over_s``. ``told``: the labels by which their clients must be told; ``None``: by all.
    ``is_open``: it is not known yet who is active after a switch."""

    node: str
    why: str
    since_s: float
    until_s: float | None = None
    over_s: float | None = None
    labels: frozenset[str] | None = None
    told: frozenset[str] | None = frozenset()
    is_open: bool = False

    def covers(self, session: Session, labels: frozenset[str], *, at_s: float) -> bool:
        """Whether such a connection, by one of these labels, may end now."""
        is_its = session.node == self.node and (self.labels is None or bool(self.labels & labels))
        is_now = at_s >= self.since_s and (self.over_s is None or at_s <= self.over_s)
        return is_its and is_now and (self.until_s is None or session.dialled_s <= self.until_s)


def licences(step: Step, *, at_s: float) -> list[Licence]:
    """What a step allows to end."""
    return [*_of_death(step, at_s), *_of_switch(step, at_s)]


def _of_death(step: Step, at_s: float) -> Iterator[Licence]:
    node = step.node
    if step.kind is Kind.SERVER_KILLED:
        yield Licence(node=node, why=f"{node} was killed", since_s=at_s, told=None)
    if step.kind is Kind.SERVER_CUT:
        declared = frozenset(f"{pool}/{name}" for pool, name, member in step.before.members() if member.node == node)
        yield Licence(node=node, why=f"{node} was cut off", since_s=at_s, told=declared)
    if step.kind is Kind.HALT:
        label = frozenset({step.label})
        yield Licence(node=node, why=f"{step.label} was halted", since_s=at_s, labels=label, told=label)


def _of_switch(step: Step, at_s: float) -> Iterator[Licence]:
    """Where one member is active at a time, and another may become it: whoever is not, in the end, is cut off."""
    pools = dict.fromkeys(pool for world in step.worlds() for pool in world.actives)
    switching = [pool for pool in pools if may_switch(step, pool)]
    members = {
        (f"{pool}/{name}", member.node): None
        for world in step.worlds()
        for pool, name, member in world.members()
        if pool in switching
    }
    for label, node in members:
        why = f"another one than {label} became active"
        yield Licence(node=node, why=why, since_s=at_s, labels=frozenset({label}), is_open=True)


def decided(licence: Licence, step: Step, actives: Mapping[str, str], *, at_s: float) -> Licence:
    """It is known now who is active: of each pool, by its name. All others must have been told."""
    if not licence.is_open or licence.labels is None:
        return licence
    (label,) = licence.labels
    pool, _, name = label.partition("/")
    declared = step.after.pools.get(pool)
    if declared and actives.get(pool) == name and declared.members[name].node == licence.node:
        return replace(licence, is_open=False, over_s=at_s + _ON_ITS_WAY_S)
    return replace(licence, is_open=False, told=licence.labels)


def expired(licence: Licence, step: Step, *, at_s: float) -> Licence:
    """Connections that are dialled from now on are protected again, if this step makes the server whole."""
    if licence.until_s is not None or not _ends(licence, step):
        return licence
    return replace(licence, until_s=at_s)


def _ends(licence: Licence, step: Step) -> bool:
    if licence.labels is None:
        return licence.node == step.node and step.kind is Kind.SERVER_BACK
    if step.kind is Kind.ENABLE and step.label in licence.labels:
        return True
    may_be = {f"{pool}/{name}" for world in step.worlds() for pool, names in world.actives.items() for name in names}
    return bool(may_be & licence.labels)
