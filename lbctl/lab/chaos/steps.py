"""What is done to the director, step by step: drawn from a seed, so that the same seed gives the same run. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from lbctl.lab.chaos import changes
from lbctl.lab.chaos.world import NODES, Fate, Override, World, configuration, first_world

MOST_DEAD = 2
"""So many servers are dead at a time, at most."""
_TRIES = 40
_MEANWHILE = "while no daemon runs"


class Kind(StrEnum):
    """The kinds of steps."""

    CHANGE = "change of the file"
    CONFIRMED = "change by plan, apply and confirm"
    UNCONFIRMED = "change that nobody confirms"
    BAD_FILE = "bad file"
    DRAIN = "drain"
    HALT = "halt"
    ENABLE = "enable"
    CRASH = "daemon killed"
    CRASH_IN_RELOAD = "daemon killed in a reload"
    CRASH_IN_START = "daemon killed in a start"
    RESTART = "restart"
    UPGRADE = "upgrade"
    DISK_FULL = "disk full"
    DIRECTOR_CABLE = "director's cable out and in"
    DIRECTOR_LINK = "director's link down and up"
    DIRECTOR_NIC = "director's NIC anew"
    DIRECTOR_MAC = "director's MAC"
    SERVER_CABLE = "server's cable out and in"
    SERVER_LINK = "server's link down and up"
    SERVER_MAC = "server's MAC, announced"
    SERVER_MAC_SILENT = "server's MAC, silent"
    SERVER_KILLED = "server killed"
    SERVER_CUT = "server cut off"
    SERVER_BACK = "server back"


DECK: dict[Kind, int] = {
    Kind.CHANGE: 16,
    Kind.CONFIRMED: 4,
    Kind.UNCONFIRMED: 3,
    Kind.BAD_FILE: 2,
    Kind.DRAIN: 4,
    Kind.HALT: 2,
    Kind.ENABLE: 4,
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
OF_DIRECTORS_PATH = frozenset({Kind.DIRECTOR_CABLE, Kind.DIRECTOR_LINK, Kind.DIRECTOR_NIC})
OF_SERVERS = frozenset(kind for kind in Kind if kind.name.startswith("SERVER_"))
OF_FILES = frozenset(
    (Kind.CHANGE, Kind.CONFIRMED, Kind.UNCONFIRMED, Kind.CRASH_IN_RELOAD, Kind.UPGRADE, Kind.DISK_FULL)
)
WITHOUT_DAEMON = (OF_SERVERS | {Kind.DIRECTOR_CABLE}) - {Kind.SERVER_CUT}
"""What may happen while no daemon runs, too. (A server that is cut off and back before anybody looks may leave its connections
as they were, or not.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. ``node`` is the server that it concerns, ``label`` the member; ``delay_s`` is when the daemon is killed, or how
    long a link is down; ``text`` is a file that is bad. ``is_absent``: the daemon is killed before, and started after it;
    ``has_crash``: it is killed on the way. ``between`` is what is in force meanwhile, of a change that nobody confirms."""

    number: int
    kind: Kind
    words: str
    before: World
    after: World
    node: str = ""
    label: str = ""
    delay_s: float = 0.0
    text: str = ""
    is_absent: bool = False
    has_crash: bool = False
    between: World | None = None

    def __str__(self) -> str:
        return f"step {self.number}, {self.kind}" + (f": {self.words}" if self.words else "")


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
            return step
    return None


def is_sound(world: World) -> bool:
    """Whether every service has somebody who takes its connections, and nobody is declared for nothing."""
    used = {service.pool for service in world.services.values()}
    dead = sum(fate is not Fate.ALIVE for fate in world.fates.values())
    is_used = used == world.pools.keys() and not any(map(world.has_idle_class, world.pools))
    return is_used and dead <= MOST_DEAD and all(map(world.has_takers, world.pools))


def _attempt(random: Random, world: World, kind: Kind, number: int) -> Step | None:
    step = Step(number=number, kind=kind, words="", before=world, after=world)
    if kind in OF_FILES:
        return _changing(random, step)
    if kind is Kind.BAD_FILE:
        words, text = changes.spoilt(random, configuration(world))
        return _maybe_with_crash(random, replace(step, words=words, text=text))
    if kind in (Kind.DRAIN, Kind.HALT, Kind.ENABLE):
        return _commanding(random, step)
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


def _commanding(random: Random, step: Step) -> Step | None:
    world = step.before
    overridden = sorted(world.overrides)
    free = [f"{pool}/{name}" for pool, name, _ in world.members() if f"{pool}/{name}" not in world.overrides]
    choices = overridden if step.kind is Kind.ENABLE else free
    if not choices:
        return None
    label = random.choice(choices)
    others = {key: word for key, word in world.overrides.items() if key != label}
    word = {Kind.DRAIN: Override.DRAINED, Kind.HALT: Override.HALTED}.get(step.kind)
    after = replace(world, overrides={**others, label: word} if word else others)
    return replace(step, words=label, label=label, node=_node_of(world, label), after=after)


def _of_server(random: Random, step: Step) -> Step | None:
    """Something that happens to a server: the dead come back, everything else happens to the living."""
    world, comes_back = step.before, step.kind is Kind.SERVER_BACK
    choices = [node for node in NODES if (world.fates[node] is not Fate.ALIVE) == comes_back]
    if not choices:
        return None
    node = random.choice(choices)
    fates = {Kind.SERVER_KILLED: Fate.KILLED, Kind.SERVER_CUT: Fate.CUT, Kind.SERVER_BACK: Fate.ALIVE}
    fate = fates.get(step.kind, world.fates[node])
    after = replace(world, fates={**world.fates, node: fate})
    return replace(step, words=node, node=node, after=after, delay_s=round(random.uniform(0.05, 0.7), 3))


def _maybe_absent(random: Random, step: Step) -> Step:
    if step.kind in WITHOUT_DAEMON and random.random() < 0.3:
        return replace(step, words=f"{step.words}, {_MEANWHILE}".removeprefix(", "), is_absent=True)
    return step


def _maybe_with_crash(random: Random, step: Step) -> Step:
    if random.random() < 0.5:
        return replace(step, words=step.words + ", and the daemon killed", has_crash=True)
    return step


def _node_of(world: World, label: str) -> str:
    pool, _, name = label.partition("/")
    return world.pools[pool].members[name].node
