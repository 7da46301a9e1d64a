"""What is done to the director, step by step: drawn from a seed, so that the same seed gives the same run. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from lbctl.lab.chaos import changes, verbs
from lbctl.lab.chaos.document import configuration
from lbctl.lab.chaos.step import OF_FILES, OF_SERVERS, WITHOUT_DAEMON, Kind, Step
from lbctl.lab.chaos.succession import succeeded
from lbctl.lab.chaos.world import NODES, Fate, World, first_world

MOST_DEAD = 2
"""So many servers are dead at a time, at most."""
_TRIES = 40
_MEANWHILE = "while no daemon runs"


DECK: dict[Kind, int] = {
    Kind.CHANGE: 16,
    Kind.CONFIRMED: 4,
    Kind.UNCONFIRMED: 3,
    Kind.BAD_FILE: 2,
    Kind.DRAIN: 4,
    Kind.HALT: 2,
    Kind.ENABLE: 5,
    Kind.ACTIVATE: 3,
    Kind.WEIGHT: 5,
    Kind.ASSIGN: 3,
    Kind.UNASSIGN: 1,
    Kind.CRASH: 4,
    Kind.CRASH_IN_RELOAD: 6,
    Kind.CRASH_IN_START: 3,
    Kind.RESTART: 2,
    Kind.UPGRADE: 3,
    Kind.DISK_FULL: 2,
    Kind.DIRECTOR_CABLE: 2,
    Kind.DIRECTOR_LINK: 2,
    Kind.DIRECTOR_NIC: 2,
    Kind.DIRECTOR_MAC: 2,
    Kind.SERVER_CABLE: 2,
    Kind.SERVER_LINK: 2,
    Kind.SERVER_MAC: 3,
    Kind.SERVER_MAC_SILENT: 3,
    Kind.SERVER_KILLED: 3,
    Kind.SERVER_CUT: 3,
    Kind.SERVER_BACK: 5,
}
"""How many of each kind are in a deck, which is shuffled and played to its end before the next."""


def steps(seed: int, count: int) -> Iterator[Step]:
    """So many steps. Each leaves every declared service with somebody who takes new connections."""
    random, world, deck = Random(seed), first_world(), list[Kind]()
    for number in range(1, count + 1):
        step = _next(random, world, deck, number)
        yield step
        world = step.after


def _next(random: Random, world: World, deck: list[Kind], number: int) -> Step:
    """The first card that can be played now; those before it wait."""
    while True:
        for place, kind in enumerate(deck):
            step = _drawn(random, world, kind, number)
            if step is not None:
                del deck[place]
                return step
        fresh = [kind for kind, times in DECK.items() for _ in range(times)]
        random.shuffle(fresh)
        deck.extend(fresh)


def _drawn(random: Random, world: World, kind: Kind, number: int) -> Step | None:
    """A step of that kind which leaves a sound world, if there is one."""
    for _ in range(_TRIES):
        step = _attempt(random, world, kind, number)
        if step is not None and is_sound(step.after):
            return succeeded(step)
    return None


def is_sound(world: World) -> bool:
    """Whether every service has somebody who takes its connections, and nobody is declared for nothing."""
    used = {service.pool for service in world.services.values()}
    dead = sum(fate is not Fate.ALIVE for fate in world.fates.values())
    is_used = used == world.pools.keys() and not any(map(world.has_idle_class, world.pools))
    can_be = is_used and all(map(world.is_declarable, world.pools))
    return can_be and dead <= MOST_DEAD and all(map(world.has_takers, world.pools))


def _attempt(random: Random, world: World, kind: Kind, number: int) -> Step | None:
    step = Step(number=number, kind=kind, words="", before=world, after=world)
    if kind in OF_FILES:
        return _changing(random, step)
    if kind is Kind.BAD_FILE:
        words, text = changes.spoilt(random, configuration(world))
        return _maybe_with_crash(random, replace(step, words=words, text=text))
    if kind in verbs.DRAWN:
        said = verbs.DRAWN[kind](random, step)
        return _maybe_with_crash(random, said) if said else None
    if kind in OF_SERVERS:
        concerning = _of_server(random, step)
        return _maybe_absent(random, concerning) if concerning else None
    return _maybe_absent(random, replace(step, delay_s=round(random.uniform(0.05, 1.2), 3)))


def _changing(random: Random, step: Step) -> Step | None:
    """A change of the file; an upgrade is to another set of features."""
    drawn = changes.drawn(random, step.before, only_features=step.kind is Kind.UPGRADE)
    if drawn is None:
        return None
    words, after = drawn
    delay_s = round(random.uniform(0, 2.0 if random.random() < 0.3 else 0.25), 3)
    changed = replace(step, words=words, after=after, between=after, delay_s=delay_s)
    if step.kind is not Kind.UNCONFIRMED:
        return changed
    return _maybe_with_crash(random, replace(changed, after=step.before)) if is_sound(after) else None


def _of_server(random: Random, step: Step) -> Step | None:
    """Something that happens to a server: the dead come back, everything else happens to the living."""
    world, comes_back = step.before, step.kind is Kind.SERVER_BACK
    choices = [node for node in NODES if (world.fates[node] is not Fate.ALIVE) == comes_back]
    if not choices:
        return None
    node = _preferred(random, world, choices)
    fates = {Kind.SERVER_KILLED: Fate.KILLED, Kind.SERVER_CUT: Fate.CUT, Kind.SERVER_BACK: Fate.ALIVE}
    fate = fates.get(step.kind, world.fates[node])
    after = replace(world, fates={**world.fates, node: fate})
    return replace(step, words=node, node=node, after=after, delay_s=round(random.uniform(0.05, 0.7), 3))


def _preferred(random: Random, world: World, nodes: list[str]) -> str:
    """Now and then a server on which more depends than on others."""
    active = [node for node in verbs.active_nodes(world) if node in nodes]
    return random.choice(active if active and random.random() < 0.3 else nodes)


def _maybe_absent(random: Random, step: Step) -> Step:
    if step.kind in WITHOUT_DAEMON and random.random() < 0.3:
        return replace(step, words=f"{step.words}, {_MEANWHILE}".removeprefix(", "), is_absent=True)
    return step


def _maybe_with_crash(random: Random, step: Step) -> Step:
    if random.random() < (0.2 if step.kind in verbs.DRAWN else 0.5):
        return replace(step, words=step.words + ", and the daemon killed", has_crash=True)
    return step
